// SPDX-License-Identifier: Apache-2.0
// A pager for the unit tests: an unpinned page of it cannot be accessed at all,
// so that a pin that is missing shows as the EFAULT of a real system call.
// Included by one source file of an executable: it defines kPager.
#ifndef UZSWAP_PRELOAD_FAKE_PAGER_TEST_SUPPORT_H_
#define UZSWAP_PRELOAD_FAKE_PAGER_TEST_SUPPORT_H_

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "preload/pager_ops.h"
#include "preload/syscall_frame.h"

namespace uzswap::preload::testing {

inline constexpr uint64_t kPage = 4096;

struct FakePager {
  struct Page {
    int pins = 0;
  };
  std::map<uint64_t, Page> pages;
  // As they were asked for, in order.
  std::vector<std::pair<uint64_t, uint64_t>> pinned;
  std::vector<int> descriptors;
  std::vector<std::string> calls;  // VM calls, as text
  bool in_saving_vectors = false;
  bool refuse_unmanage = false;
  int slow_pins = 0;

  void Access(uint64_t page, int prot) {
    if (mprotect(reinterpret_cast<void*>(page), kPage, prot) != 0) abort();
  }
  // New managed memory, absent.
  uint64_t Manage(uint64_t bytes) {
    void* p = mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    const auto base = reinterpret_cast<uint64_t>(p);
    munmap(reinterpret_cast<char*>(p) + bytes, kPage);  // a hole behind it
    for (uint64_t at = 0; at < bytes; at += kPage) pages[base + at];
    mprotect(p, bytes, PROT_NONE);
    return base;
  }
  void Forget() {
    for (auto& [page, state] : pages) {
      munmap(reinterpret_cast<void*>(page), kPage);
    }
    *this = FakePager{};
  }
  int TotalPins() const {
    int total = 0;
    for (const auto& [page, state] : pages) total += state.pins;
    return total;
  }
  bool IsPinned(uint64_t address, uint64_t bytes = 1) const {
    for (uint64_t at = address & ~(kPage - 1); at < address + bytes;
         at += kPage) {
      const auto it = pages.find(at);
      if (it == pages.end() || it->second.pins == 0) return false;
    }
    return true;
  }
  template <typename F>
  bool Each(const void* address, uint64_t bytes, F f) {
    const auto first = reinterpret_cast<uint64_t>(address) & ~(kPage - 1);
    const uint64_t end = reinterpret_cast<uint64_t>(address) + bytes;
    bool any = false;
    for (auto it = pages.lower_bound(first);
         it != pages.end() && it->first < end; ++it) {
      any = true;
      f(it->first, it->second);
    }
    return any;
  }
  // Reads and writes whatever the pins say.
  void Put(uint64_t address, const void* from, size_t bytes) {
    Touch(address, bytes,
          [&] { memcpy(reinterpret_cast<void*>(address), from, bytes); });
  }
  template <typename T>
  void Put(uint64_t address, const T& value) {
    Put(address, &value, sizeof(value));
  }
  template <typename T>
  T Get(uint64_t address) {
    T value;
    Touch(address, sizeof(T),
          [&] { memcpy(&value, reinterpret_cast<void*>(address), sizeof(T)); });
    return value;
  }
  template <typename F>
  void Touch(uint64_t address, uint64_t bytes, F f) {
    const void* p = reinterpret_cast<void*>(address);
    Each(p, bytes, [this](uint64_t page, Page&) {
      Access(page, PROT_READ | PROT_WRITE);
    });
    f();
    Each(p, bytes, [this](uint64_t page, Page& state) {
      if (state.pins == 0) Access(page, PROT_NONE);
    });
  }
  void Note(const char* name, uint64_t a, uint64_t b, uint64_t c) {
    char text[120];
    snprintf(text, sizeof(text), "%s%s %lx %lx %lx",
             in_saving_vectors ? "" : "UNSAVED ", name, a, b, c);
    calls.emplace_back(text);
  }
};

inline FakePager fake;

inline uint64_t Number(const void* p) { return reinterpret_cast<uint64_t>(p); }

inline int FakeIsManaged(const void* p, size_t n) {
  return fake.Each(p, n, [](uint64_t, FakePager::Page&) {}) ? 1 : 0;
}

inline int FakePin(const void* p, size_t n) {
  fake.pinned.emplace_back(Number(p), n);
  fake.Each(p, n, [](uint64_t page, FakePager::Page& state) {
    if (state.pins++ == 0) fake.Access(page, PROT_READ | PROT_WRITE);
  });
  return 1;
}

inline int FakePinSlowly(const void* p, size_t n) {
  ++fake.slow_pins;
  return FakePin(p, n);
}

inline int FakePinResident(const void* p, size_t n) {
  bool absent = false;
  fake.Each(p, n, [&absent](uint64_t, FakePager::Page& state) {
    absent = absent || state.pins == 0;
  });
  if (absent) return -EAGAIN;
  FakePin(p, n);
  return 0;
}

inline void FakeUnpin(const void* p, size_t n) {
  fake.Each(p, n, [](uint64_t page, FakePager::Page& state) {
    if (--state.pins < 0) abort();
    if (state.pins == 0) fake.Access(page, PROT_NONE);
  });
}

inline int64_t FakeSaving(int64_t (*fn)(void*), void* argument) {
  fake.in_saving_vectors = true;
  const int64_t r = fn(argument);
  fake.in_saving_vectors = false;
  return r;
}

inline int FakeManage(void* p, size_t n) {
  fake.Note("manage", Number(p), n, 0);
  return 0;
}

inline int FakeUnmanage(void* p, size_t n) {
  fake.Note("unmanage", Number(p), n, 0);
  if (fake.refuse_unmanage) return -ENOMEM;
  fake.Each(p, n, [](uint64_t page, FakePager::Page&) {
    fake.Access(page, PROT_READ | PROT_WRITE);
  });
  fake.pages.erase(fake.pages.lower_bound(Number(p)),
                   fake.pages.lower_bound(Number(p) + n));
  return 0;
}

inline long FakeMmap(void* p, size_t n, int prot, int flags, int fd,
                     long offset, int manage) {
  fake.Note("mmap", Number(p), n, static_cast<uint64_t>(manage));
  const void* r = mmap(p, n, prot, flags, fd, offset);
  return r == MAP_FAILED ? -errno : static_cast<long>(Number(r));
}

inline long FakeMunmap(void* p, size_t n) {
  fake.Note("munmap", Number(p), n, 0);
  return syscall(SYS_munmap, p, n) < 0 ? -errno : 0;
}

inline long FakeMprotect(void* p, size_t n, int prot) {
  fake.Note("mprotect", Number(p), n, static_cast<uint64_t>(prot));
  return 0;
}

inline long FakeMremap(void* p, size_t, size_t n, int flags, void*) {
  fake.Note("mremap", Number(p), n, static_cast<uint64_t>(flags));
  return 0;
}

inline long FakeMadvise(void* p, size_t n, int advice) {
  fake.Note("madvise", Number(p), n, static_cast<uint64_t>(advice));
  return advice > 200 ? -EINVAL : 0;
}

inline long FakeBrk(void* p) {
  fake.Note("brk", Number(p), 0, 0);
  return static_cast<long>(Number(p));
}

inline size_t FakeDescriptors(int* fds, size_t capacity) {
  const size_t n = std::min(capacity, fake.descriptors.size());
  for (size_t i = 0; i < n; ++i) fds[i] = fake.descriptors[i];
  return n;
}

inline SyscallFrame Call(long number, uint64_t a = 0, uint64_t b = 0,
                         uint64_t c = 0, uint64_t d = 0, uint64_t e = 0,
                         uint64_t f = 0) {
  SyscallFrame frame{};
  frame.rax = static_cast<uint64_t>(number);
  frame.rdi = a;
  frame.rsi = b;
  frame.rdx = c;
  frame.r10 = d;
  frame.r8 = e;
  frame.r9 = f;
  return frame;
}

}  // namespace uzswap::preload::testing

namespace uzswap::preload {

const PagerOps kPager = {
    .is_managed = testing::FakeIsManaged,
    .pin_resident = testing::FakePinResident,
    .pin = testing::FakePinSlowly,
    .unpin = testing::FakeUnpin,
    .saving_vectors = testing::FakeSaving,
    .manage = testing::FakeManage,
    .unmanage = testing::FakeUnmanage,
    .mmap = testing::FakeMmap,
    .munmap = testing::FakeMunmap,
    .mprotect = testing::FakeMprotect,
    .mremap = testing::FakeMremap,
    .madvise = testing::FakeMadvise,
    .brk = testing::FakeBrk,
    .descriptors = testing::FakeDescriptors,
};

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_FAKE_PAGER_TEST_SUPPORT_H_
