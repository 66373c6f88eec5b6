// SPDX-License-Identifier: Apache-2.0
#include "base/mutex.h"

#include "base/os.h"

namespace uzswap {
namespace {

// Critical sections here are shorter than a futex round trip (about 2 µs), so
// a short spin usually wins; it is bounded because the holder may be preempted.
constexpr int kSpins = 100;

}  // namespace

void Mutex::LockSlow() {
  for (int i = 0; i < kSpins; ++i) {
    os::Pause();
    uint32_t free = 0;
    if (word_.load(std::memory_order_relaxed) == 0 &&
        word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      return;
    }
  }
  lockdep::WaitBegin(*class_, this);
  while (word_.exchange(2, std::memory_order_acquire) != 0) {
    os::FutexWait(&word_, 2, -1).Ignore();  // every wake-up looks again
  }
  lockdep::WaitEnd();
}

void Mutex::WakeOne() { os::FutexWake(&word_, 1); }

void RwLock::LockSharedSlow() {
  for (int spins = 0;; ++spins) {
    uint32_t word = word_.load(std::memory_order_relaxed);
    if ((word & (kWriter | kWaiting)) == 0) {
      if (word_.compare_exchange_weak(word, word + 1,
                                      std::memory_order_acquire)) {
        return;
      }
    } else if (spins < kSpins) {
      os::Pause();
    } else {
      lockdep::WaitBegin(*class_, this);
      os::FutexWait(&word_, word, -1).Ignore();  // looks again
      lockdep::WaitEnd();
    }
  }
}

void RwLock::UnlockShared() {
  lockdep::Release(*class_, this);
  const uint32_t before = word_.fetch_sub(1, std::memory_order_release);
  DCHECK((before & ~(kWriter | kWaiting)) > 0);
  if (before == (kWaiting | 1)) os::FutexWake(&word_, 1 << 30);
}

void RwLock::LockSlow() {
  for (int spins = 0;; ++spins) {
    uint32_t word = word_.load(std::memory_order_relaxed);
    if ((word & ~kWaiting) == 0) {
      // Dropping kWaiting here is safe: another waiting writer sets it again
      // when it looks, and Unlock wakes everybody.
      if (word_.compare_exchange_weak(word, kWriter,
                                      std::memory_order_acquire)) {
        return;
      }
      continue;
    }
    if ((word & kWaiting) == 0) {
      if (!word_.compare_exchange_weak(word, word | kWaiting,
                                       std::memory_order_relaxed)) {
        continue;
      }
      word |= kWaiting;
    }
    if (spins < kSpins) {
      os::Pause();
    } else {
      lockdep::WaitBegin(*class_, this);
      os::FutexWait(&word_, word, -1).Ignore();  // looks again
      lockdep::WaitEnd();
    }
  }
}

void RwLock::Unlock() {
  lockdep::Release(*class_, this);
  word_.store(0, std::memory_order_release);
  os::FutexWake(&word_, 1 << 30);
}

}  // namespace uzswap
