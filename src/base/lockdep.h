// SPDX-License-Identifier: Apache-2.0
// Lock-order validator, after Linux lockdep (Documentation/locking/
// lockdep-design): locks fall into classes; every "B taken while A is held"
// becomes an edge A → B; an edge that closes a cycle is reported with both
// chains before anybody ever deadlocks, and the process dies. Active in debug
// and test builds (UZSWAP_DEBUG); costs nothing otherwise.
//
// Allocation-free: at most kMaxClasses classes (a bit matrix) and
// kMaxHeld locks held by one thread.
#ifndef UZSWAP_BASE_LOCKDEP_H_
#define UZSWAP_BASE_LOCKDEP_H_

#include <atomic>
#include <cstdint>

#include "base/check.h"

namespace uzswap {

// One static object per kind of lock; it must never go away. Its number is
// given at first use.
struct LockClass {
  const char* name;
  std::atomic<int> id{-1};
};

namespace lockdep {

inline constexpr int kMaxClasses = 64;
// The seed report of 2018 (z3fold) is a thread with more than 48 locks; ours
// must never hold more than four.
inline constexpr int kMaxHeld = 4;

#ifdef UZSWAP_DEBUG
// Before waiting for an exclusive / shared lock; after winning a trylock
// (which cannot deadlock, so it adds no edge to itself); before releasing.
void Acquire(LockClass& lock_class, const void* lock);
void AcquireShared(LockClass& lock_class, const void* lock);
void AcquireTry(LockClass& lock_class, const void* lock);
void Release(LockClass& lock_class, const void* lock);
// "A managed page may be touched here": dies if this thread holds any lock.
void MightFault();
int HeldCount();
// In the child after fork: this thread holds nothing (order graph is kept).
void ResetThread();
#else
inline void Acquire(LockClass&, const void*) {}
inline void AcquireShared(LockClass&, const void*) {}
inline void AcquireTry(LockClass&, const void*) {}
inline void Release(LockClass&, const void*) {}
inline void MightFault() {}
inline int HeldCount() { return 0; }
inline void ResetThread() {}
#endif

}  // namespace lockdep
}  // namespace uzswap

#endif  // UZSWAP_BASE_LOCKDEP_H_
