// SPDX-License-Identifier: Apache-2.0
// What the pager's tests share: a process with uzswap open and a SIGBUS handler
// as an embedding program would install it, and page contents that name their
// page and version, so that any mix-up shows.
#ifndef UZSWAP_TESTS_PAGER_FIXTURE_H_
#define UZSWAP_TESTS_PAGER_FIXTURE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uzswap/tree.h>
#include <uzswap/uzswap.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "api/instance.h"

namespace pager_test {

// ThreadSanitizer's shadow grows with every page that is touched and counts as
// memory of the process: content can be tested under it, figures cannot.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kExactMemory = false;
#else
inline constexpr bool kExactMemory = true;
#endif

inline constexpr size_t kPage = 4096;
inline constexpr size_t kMiB = size_t{1} << 20;

// RssAnon + RssShmem, in bytes.
inline uint64_t RssBytes() {
  FILE* f = fopen("/proc/self/status", "r");
  char line[256];
  uint64_t sum = 0;
  while (fgets(line, sizeof(line), f) != nullptr) {
    unsigned long long kb;
    if (sscanf(line, "RssAnon: %llu", &kb) == 1) sum += kb;
    if (sscanf(line, "RssShmem: %llu", &kb) == 1) sum += kb;
  }
  fclose(f);
  return sum * 1024;
}

inline void OnBus(int, siginfo_t* info, void* context) {
  const auto* uc = static_cast<const ucontext_t*>(context);
  const int wrote = (uc->uc_mcontext.gregs[REG_ERR] & 2) != 0;
  if (uzswap_handle_fault(info->si_addr, wrote) == 0) return;
  char text[80];
  const int n = snprintf(text, sizeof(text),
                         "bus error at %p is not uzswap's\n", info->si_addr);
  (void)!write(2, text, static_cast<size_t>(n));
  abort();
}

// Not sigaction(2) of libc: sanitizers put signals off in theirs.
inline void InstallHandler() {
  struct {
    void (*handler)(int, siginfo_t*, void*);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
  } action = {OnBus, SA_SIGINFO | SA_ONSTACK | 0x04000000, nullptr,
              ~uint64_t{0}};
  // libc's restorer, taken from an action that it installs for us.
  struct sigaction probe = {};
  probe.sa_handler = SIG_IGN;
  struct sigaction old = {};
  sigaction(SIGURG, &probe, &old);
  struct {
    void* handler;
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
  } raw = {};
  syscall(SYS_rt_sigaction, SIGURG, nullptr, &raw, 8);
  action.restorer = raw.restorer;
  sigaction(SIGURG, &old, nullptr);
  if (syscall(SYS_rt_sigaction, SIGBUS, &action, nullptr, 8) != 0) abort();
}

// Each thread that touches managed memory has one.
class AlternateStack {
 public:
  AlternateStack() {
    memory_ = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {};
    stack.ss_sp = memory_;
    stack.ss_size = kBytes;
    sigaltstack(&stack, &old_);
  }
  ~AlternateStack() {
    sigaltstack(&old_, nullptr);
    munmap(memory_, kBytes);
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  static constexpr size_t kBytes = 256 * 1024;
  void* memory_;
  stack_t old_ = {};
};

inline uint64_t Mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x7fb5d329728ea185ull;
  x ^= x >> 27;
  x *= 0x81dadef4bc2dd44dull;
  return x ^ x >> 33;
}

// A page whose every word says which page and version it is; about a quarter
// of it is noise, so that it compresses like ordinary data.
inline uint64_t WordOf(uint64_t page, uint64_t version, size_t i) {
  const uint64_t name = page << 20 ^ version;
  return i % 4 == 0 ? Mix(name + i) : name;
}
inline void FillPage(void* at, uint64_t page, uint64_t version) {
  auto* words = static_cast<volatile uint64_t*>(at);
  for (size_t i = 0; i < kPage / 8; ++i) words[i] = WordOf(page, version, i);
}
inline bool PageIs(const void* at, uint64_t page, uint64_t version) {
  auto* words = static_cast<const volatile uint64_t*>(at);
  for (size_t i = 0; i < kPage / 8; ++i) {
    if (words[i] != WordOf(page, version, i)) return false;
  }
  return true;
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() { return Mix(state_ += 0x9e3779b97f4a7c15ull); }
  uint64_t Below(uint64_t n) { return Next() % n; }

 private:
  uint64_t state_;
};

// Room for the shadow as well, which is two and a half times what is touched
// and stays: for tests that touch at most four times the room, and take for
// ever when nothing can be kept.
inline constexpr uint64_t WithShadow(uint64_t room) {
  return room * (kExactMemory ? 1 : 1 + 4 * 5 / 2);
}

// Opens uzswap with `room` bytes more than the process holds now. The room must
// include what the engine itself needs.
struct Options {
  uzswap_evict_method method = UZSWAP_EVICT_AUTO;
  uint64_t room = 16 * kMiB;
  const char* backing = nullptr;
  uzswap_tree* tree = nullptr;  // the limit is shared with forked children
};
inline uint64_t OpenUzswap(const Options& options) {
  uzswap_config config = {};
  config.struct_size = sizeof(config);
  config.memory_limit = RssBytes() + options.room;
  config.tree = options.tree;
  if (options.tree != nullptr) {
    options.tree->limit = config.memory_limit / kPage;
  }
  config.evict = options.method;
  config.backing = options.backing;
  char why[512];
  const int r = uzswap_open(&config, why, sizeof(why));
  if (r != 0) {
    fprintf(stderr, "uzswap_open: %d: %s\n", r, why);
    abort();
  }
  return config.memory_limit;
}

// A table for a limit that forked children share, as `uzswap run` makes it; but
// nobody measures what they share.
inline uzswap_tree* NewTree() {
  void* const at = mmap(nullptr, sizeof(uzswap_tree), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) abort();
  auto* const tree = static_cast<uzswap_tree*>(at);
  tree->capacity = UZSWAP_TREE_MEMBERS;
  return tree;
}

inline char* MapManaged(size_t bytes, int prot = PROT_READ | PROT_WRITE) {
  const long r =
      uzswap_mmap(nullptr, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 1);
  if (r < 0 && r > -4096) {
    fprintf(stderr, "uzswap_mmap: %ld\n", r);
    abort();
  }
  return reinterpret_cast<char*>(r);
}

inline uzswap_stats Stats() {
  uzswap_stats stats;
  uzswap_get_stats(&stats);
  return stats;
}

// Dies at the first broken invariant of the pager or the engine.
inline void CheckInvariants() {
  uzswap::Instance* i = uzswap::GetInstance();
  if (i != nullptr) i->pager.CheckInvariants();
}

// One open instance for each test.
class PagerTest : public testing::TestWithParam<uzswap_evict_method> {
 protected:
  void SetUp() override { InstallHandler(); }
  void TearDown() override {
    CheckInvariants();
    uzswap_close();
  }

  void Open(const Options& options) { limit_ = OpenUzswap(options); }
  uint64_t limit_ = 0;

 private:
  AlternateStack stack_;
};

inline std::string MethodName(
    const testing::TestParamInfo<uzswap_evict_method>& info) {
  return info.param == UZSWAP_EVICT_WP     ? "wp"
         : info.param == UZSWAP_EVICT_MOVE ? "move"
                                           : "auto";
}

// Calls f in a thread with an alternate stack.
template <typename F>
std::thread Spawn(F f) {
  return std::thread([f] {
    AlternateStack stack;
    f();
  });
}

}  // namespace pager_test

#endif  // UZSWAP_TESTS_PAGER_FIXTURE_H_
