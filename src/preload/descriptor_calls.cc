// SPDX-License-Identifier: Apache-2.0
// Programs close descriptors that they did not open ("everything from 3 up").
// uzswap's must survive that: to the program they are not open.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <span>

#include "base/check.h"
#include "base/mutex.h"
#include "base/os.h"
#include "base/own_descriptors.h"
#include "preload/handlers.h"
#include "preload/pager_ops.h"

namespace uzswap::preload {
namespace {

constexpr size_t kMost = UZSWAP_DESCRIPTORS;
constexpr int kNone = -1;

// Slots hold a descriptor or kNone; `lowest` is the least of them (INT_MAX:
// none), so that most calls are decided by one comparison. Written under
// hidden_mutex, read without a lock: a descriptor that stays hidden keeps its
// slot, so that no reader misses it, and `epoch` comes last, so that whoever
// finds it current finds the descriptors too.
struct Hidden {
  std::atomic<uint32_t> epoch{0};  // of own_descriptors_epoch
  std::atomic<int> lowest{INT_MAX};
  std::atomic<int> slot[kMost];  // stored + 1, so that 0 is "none"
};
constinit Hidden hidden;
constinit LockClass hidden_class{"hidden descriptors"};
constinit Mutex hidden_mutex{hidden_class};  // taken with signals blocked only

void RefreshIfChanged() {
  if (hidden.epoch.load(std::memory_order_acquire) !=
      own_descriptors_epoch.load(std::memory_order_acquire)) [[unlikely]] {
    RefreshDescriptors();
  }
}

int At(size_t i) { return hidden.slot[i].load(std::memory_order_relaxed) - 1; }

bool IsHidden(uint64_t descriptor) {
  RefreshIfChanged();
  const auto fd = static_cast<int>(descriptor);  // the kernel looks at an int
  if (fd < hidden.lowest.load(std::memory_order_relaxed)) return false;
  for (size_t i = 0; i < kMost; ++i) {
    if (At(i) == fd) return true;
  }
  return false;
}

// The lowest hidden descriptor at or above `first`; UINT_MAX: none.
unsigned NextHidden(unsigned first) {
  unsigned next = UINT_MAX;
  for (size_t i = 0; i < kMost; ++i) {
    const int fd = At(i);
    if (fd != kNone && static_cast<unsigned>(fd) >= first) {
      next = std::min(next, static_cast<unsigned>(fd));
    }
  }
  return next;
}

void FindLowest() UZSWAP_REQUIRES(hidden_mutex) {
  const unsigned lowest = NextHidden(0);
  hidden.lowest.store(lowest == UINT_MAX ? INT_MAX : static_cast<int>(lowest),
                      std::memory_order_relaxed);
}

void HideInsteadOf(std::span<const int> fds) UZSWAP_REQUIRES(hidden_mutex) {
  for (auto& slot : hidden.slot) {
    const int fd = slot.load(std::memory_order_relaxed) - 1;
    if (std::find(fds.begin(), fds.end(), fd) == fds.end()) {
      slot.store(0, std::memory_order_relaxed);
    }
  }
  for (const int fd : fds) {
    std::atomic<int>* place = nullptr;
    for (auto& slot : hidden.slot) {
      const int held = slot.load(std::memory_order_relaxed) - 1;
      if (held == fd || (held == kNone && place == nullptr)) place = &slot;
      if (held == fd) break;
    }
    place->store(fd + 1, std::memory_order_relaxed);
  }
  FindLowest();
}

int64_t CloseRange(const SyscallFrame& frame) {
  RefreshIfChanged();
  auto first = static_cast<unsigned>(frame.rdi);
  const auto last = static_cast<unsigned>(frame.rsi);
  auto flags = static_cast<unsigned>(frame.rdx);
  constexpr unsigned kKnown = CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC;
  const auto raw = [&flags](unsigned from, unsigned to) {
    return os::Syscall(SYS_close_range, from, to, flags);
  };
  // Ours are closed on exec in any case; what is wrong the kernel shall say.
  if (first > last || (flags & ~kKnown) != 0 ||
      (flags & CLOSE_RANGE_CLOEXEC) != 0 || NextHidden(first) > last) {
    return raw(first, last);
  }
  if ((flags & CLOSE_RANGE_UNSHARE) != 0) {
    // Once, before the first piece, over a range that holds no descriptor: the
    // kernel need not copy those that it would close, and one piece less than
    // everything would make it forget the later ones.
    const int64_t r = raw(UINT_MAX, UINT_MAX);
    if (r < 0) return r;
    flags &= ~unsigned{CLOSE_RANGE_UNSHARE};
  }
  for (;;) {
    const unsigned stop = NextHidden(first);
    if (stop > last) return raw(first, last);
    if (stop > first) {
      const int64_t r = raw(first, stop - 1);
      if (r < 0) return r;
    }
    if (stop == last) return 0;
    first = stop + 1;
  }
}

}  // namespace

bool DescriptorCall(const SyscallFrame& frame, int64_t* result) {
  constexpr int64_t kIoPgetevents = 333;
  switch (frame.number()) {
    case SYS_dup2:
    case SYS_dup3:
      // As a target they are beyond what the program may open.
      if (!IsHidden(frame.rdi) && !IsHidden(frame.rsi)) return false;
      *result = -EBADF;
      return true;
    case SYS_close:
    case SYS_dup:
    case SYS_fcntl:
    // Bytes written to uzswap's backing file would be somebody's page.
    case SYS_read:
    case SYS_write:
    case SYS_readv:
    case SYS_writev:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_preadv:
    case SYS_pwritev:
    case SYS_preadv2:
    case SYS_pwritev2:
    case SYS_lseek:
    case SYS_ioctl:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_flock:
    case SYS_sendfile:
    case SYS_fstat:
      if (!IsHidden(frame.rdi)) return false;
      *result = -EBADF;
      return true;
    case SYS_close_range:
      *result = CloseRange(frame);
      return true;
    case SYS_io_uring_setup:
    case SYS_io_uring_enter:
    case SYS_io_uring_register:
    case SYS_io_setup:
    case SYS_io_destroy:
    case SYS_io_submit:
    case SYS_io_cancel:
    case SYS_io_getevents:
    case kIoPgetevents:
      *result = -ENOSYS;
      return true;
    default:
      return false;
  }
}

void RefreshDescriptors() {
  const uint64_t mask = os::BlockSignals();
  {
    ScopedLock lock(hidden_mutex);
    // Read first: a change after this is one to look for again.
    const uint32_t epoch =
        own_descriptors_epoch.load(std::memory_order_acquire);
    int fds[kMost];
    const size_t count = kPager.descriptors(fds, kMost);
    CHECK(count <= kMost);
    HideInsteadOf({fds, count});
    hidden.epoch.store(epoch, std::memory_order_release);
  }
  os::RestoreSignals(mask);
}

void RefreshDescriptorsInChild() {
  hidden_mutex.ResetInChild();
  RefreshDescriptors();
}

}  // namespace uzswap::preload
