// SPDX-License-Identifier: Apache-2.0
// Futex locks with Clang thread-safety annotations and lock classes.
//
// They are usable in signal handlers as long as rule F4 of docs/design.md is
// kept: every path that takes one runs with signals blocked, so a thread never
// meets its own lock. A lock belongs to a LockClass (as in Linux
// lockdep: one class for all locks of one kind); in debug builds lockdep.h
// records the order of classes and dies on an inversion.
#ifndef UZSWAP_BASE_MUTEX_H_
#define UZSWAP_BASE_MUTEX_H_

#include <atomic>
#include <cstdint>

#include "base/lockdep.h"
#include "base/thread_annotations.h"

namespace uzswap {

class UZSWAP_CAPABILITY("mutex") Mutex {
 public:
  explicit constexpr Mutex(LockClass& lock_class) : class_(&lock_class) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock(lockdep::Site site = lockdep::Site::Current()) UZSWAP_ACQUIRE() {
    lockdep::Acquire(*class_, this, site);
    uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      LockSlow();
    }
  }
  bool TryLock(lockdep::Site site = lockdep::Site::Current())
      UZSWAP_TRY_ACQUIRE(true) {
    uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
      return false;
    }
    lockdep::AcquireTry(*class_, this, site);
    return true;
  }
  void Unlock() UZSWAP_RELEASE() {
    lockdep::Release(*class_, this);
    if (word_.exchange(0, std::memory_order_release) == 2) WakeOne();
  }
  // By this thread (a debug check, not a decision).
  void AssertHeld(lockdep::Site site = lockdep::Site::Current()) const
      UZSWAP_ASSERT_CAPABILITY() {
    DCHECK(word_.load(std::memory_order_relaxed) != 0);
    lockdep::AssertHeld(*class_, this, site);
  }
  // In the child after fork, where the thread that held it does not exist.
  void ResetInChild() { word_.store(0, std::memory_order_relaxed); }

 private:
  void LockSlow();
  void WakeOne();

  std::atomic<uint32_t> word_{0};  // 0 free, 1 held, 2 held with waiters
  LockClass* class_;
};

// Many readers or one writer; a waiting writer stops new readers, so a reader
// must never take the same lock again.
class UZSWAP_CAPABILITY("rwlock") RwLock {
 public:
  explicit constexpr RwLock(LockClass& lock_class) : class_(&lock_class) {}
  RwLock(const RwLock&) = delete;
  RwLock& operator=(const RwLock&) = delete;

  void LockShared(lockdep::Site site = lockdep::Site::Current())
      UZSWAP_ACQUIRE_SHARED() {
    lockdep::AcquireShared(*class_, this, site);
    uint32_t word = word_.load(std::memory_order_relaxed);
    if ((word & (kWriter | kWaiting)) != 0 ||
        !word_.compare_exchange_strong(word, word + 1,
                                       std::memory_order_acquire)) {
      LockSharedSlow();
    }
  }
  void UnlockShared() UZSWAP_RELEASE_SHARED();
  void Lock(lockdep::Site site = lockdep::Site::Current()) UZSWAP_ACQUIRE() {
    lockdep::Acquire(*class_, this, site);
    uint32_t free = 0;
    if (!word_.compare_exchange_strong(free, kWriter,
                                       std::memory_order_acquire)) {
      LockSlow();
    }
  }
  void Unlock() UZSWAP_RELEASE();
  // By this thread, exclusively (a debug check, not a decision).
  void AssertHeld(lockdep::Site site = lockdep::Site::Current()) const
      UZSWAP_ASSERT_CAPABILITY() {
    DCHECK((word_.load(std::memory_order_relaxed) & kWriter) != 0);
    lockdep::AssertHeld(*class_, this, site);
  }
  void ResetInChild() { word_.store(0, std::memory_order_relaxed); }

 private:
  void LockSharedSlow();
  void LockSlow();

  static constexpr uint32_t kWriter = 0x80000000;   // held exclusively
  static constexpr uint32_t kWaiting = 0x40000000;  // a writer waits
  std::atomic<uint32_t> word_{0};                   // flags | reader count
  LockClass* class_;
};

class UZSWAP_SCOPED_CAPABILITY ScopedLock {
 public:
  explicit ScopedLock(Mutex& mutex,
                      lockdep::Site site = lockdep::Site::Current())
      UZSWAP_ACQUIRE(mutex)
      : mutex_(mutex) {
    mutex_.Lock(site);
  }
  ~ScopedLock() UZSWAP_RELEASE() { mutex_.Unlock(); }
  ScopedLock(const ScopedLock&) = delete;
  ScopedLock& operator=(const ScopedLock&) = delete;

 private:
  Mutex& mutex_;
};

class UZSWAP_SCOPED_CAPABILITY ScopedSharedLock {
 public:
  explicit ScopedSharedLock(RwLock& lock,
                            lockdep::Site site = lockdep::Site::Current())
      UZSWAP_ACQUIRE_SHARED(lock)
      : lock_(lock) {
    lock_.LockShared(site);
  }
  ~ScopedSharedLock() UZSWAP_RELEASE() { lock_.UnlockShared(); }
  ScopedSharedLock(const ScopedSharedLock&) = delete;
  ScopedSharedLock& operator=(const ScopedSharedLock&) = delete;

 private:
  RwLock& lock_;
};

class UZSWAP_SCOPED_CAPABILITY ScopedExclusiveLock {
 public:
  explicit ScopedExclusiveLock(RwLock& lock,
                               lockdep::Site site = lockdep::Site::Current())
      UZSWAP_ACQUIRE(lock)
      : lock_(lock) {
    lock_.Lock(site);
  }
  ~ScopedExclusiveLock() UZSWAP_RELEASE() { lock_.Unlock(); }
  ScopedExclusiveLock(const ScopedExclusiveLock&) = delete;
  ScopedExclusiveLock& operator=(const ScopedExclusiveLock&) = delete;

 private:
  RwLock& lock_;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_MUTEX_H_
