// SPDX-License-Identifier: Apache-2.0
// Lock-order validator, after Linux lockdep (Documentation/locking/
// lockdep-design): locks fall into classes; every "B taken while A is held"
// becomes an edge A → B; an edge that closes a cycle is reported with both
// chains before anybody ever deadlocks. Waiting for anything else than a lock
// (for a work item, for memory, for a fault to be served) is a pseudo lock in
// the same graph. Active in debug and test builds (UZSWAP_DEBUG); costs nothing
// otherwise.
//
// Threads: any. Signals: blocked while a lock is held (rule F4). Fixed tables,
// no allocation. A report dies unless SetReportHandler says otherwise.
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

// For the lock that keeps CPUs (or what stands for them) from coming and going.
// Shared by all who need it, as in the kernel.
inline constinit LockClass cpu_hotplug_class{"cpu_hotplug_lock"};

namespace lockdep {

inline constexpr int kMaxClasses = 256;
inline constexpr int kMaxEdges = 2048;
// The seed report of 2018 (z3fold) is a thread with more than 48 locks; ours
// must never hold more than four. Pseudo locks have a stack of their own.
inline constexpr int kMaxHeld = 4;
inline constexpr int kMaxPseudoHeld = 8;

#ifdef UZSWAP_DEBUG
// Where something was taken: the line, and the address to which the function
// that contains it returns (a backtrace of two that needs no frame pointers).
// Used as a default argument, Current() speaks of the caller, and so does its
// return address. (std::source_location would do the same, but is missing from
// clang 14.)
struct Site {
  const char* file = nullptr;
  const char* function = nullptr;
  const void* caller = nullptr;
  uint64_t line = 0;

  static constexpr Site Current(
      const char* file = __builtin_FILE(),
      const char* function = __builtin_FUNCTION(),
      const void* caller = __builtin_return_address(0),
      unsigned line = __builtin_LINE()) {
    return {.file = file, .function = function, .caller = caller, .line = line};
  }
};

// ---- locks: called by base/mutex.h ----------------------------------------

// Before waiting for an exclusive / shared lock; after winning a trylock
// (which cannot deadlock, so no edge leads to it); before releasing.
void Acquire(LockClass& lock_class, const void* lock,
             const Site& site = Site::Current());
void AcquireShared(LockClass& lock_class, const void* lock,
                   const Site& site = Site::Current());
void AcquireTry(LockClass& lock_class, const void* lock,
                const Site& site = Site::Current());
void Release(LockClass& lock_class, const void* lock,
             const Site& site = Site::Current());
// Reports unless this thread holds it.
void AssertHeld(LockClass& lock_class, const void* lock,
                const Site& site = Site::Current());
// Around sleeping for a lock, or for the completion of a class (lock is then
// null): only for the watchdog.
void WaitBegin(LockClass& lock_class, const void* lock,
               const Site& site = Site::Current());
void WaitEnd();

// ---- pseudo locks: not counted against kMaxHeld ---------------------------

// The kernel's lock_map_acquire: "from here on this thread may not wait for
// anybody who needs lock_class".
void PseudoAcquire(LockClass& lock_class, const Site& site = Site::Current());
void PseudoRelease(LockClass& lock_class, const Site& site = Site::Current());

// fs_reclaim. MightReclaim: memory is allocated here and might have to be
// reclaimed first. Silent inside reclaim, which never reclaims for itself.
void MightReclaim(const Site& site = Site::Current());
void ReclaimBegin(const Site& site = Site::Current());
void ReclaimEnd(const Site& site = Site::Current());
bool InReclaim();

// Like irq-safe and irq-unsafe. MightFault: a managed page may be touched here.
// A lock that is taken while a fault is served (between FaultBegin and
// FaultEnd), or that must be held to take such a lock, may never be held at
// MightFault, whichever was seen first. Nor may a fault happen in a fault.
void MightFault(const Site& site = Site::Current());
void FaultBegin(const Site& site = Site::Current());
void FaultEnd(const Site& site = Site::Current());

// A work item runs between Begin and End; CompletionWait waits for its end.
void WorkBegin(LockClass& completion, const Site& site = Site::Current());
void WorkEnd(LockClass& completion, const Site& site = Site::Current());
void CompletionWait(LockClass& completion, const Site& site = Site::Current());

// ---- threads and reports --------------------------------------------------

// Locks held by this thread, without pseudo locks.
int HeldCount();
// The most that any thread of this process (or, after a fork, of its ancestors)
// has ever held at a time, without pseudo locks.
int MostHeld();
// In the child after fork: this thread holds nothing (order graph is kept).
void ResetThread();

// text is laid out as the kernel's reports are; summary is one line. After a
// class name stand two marks in braces, for faults and for reclaim: '-' taken
// inside, '+' held where one may begin, '.' neither.
struct Report {
  const char* summary;
  const char* text;
};
// The default prints text and dies with summary. One that returns lets the
// thread go on; the bad edge is not added. Locks that it takes are not checked.
using ReportHandler = void (*)(const Report& report);
ReportHandler SetReportHandler(ReportHandler handler);
#else
struct Site {
  static constexpr Site Current() { return {}; }
};
inline void Acquire(LockClass&, const void*, Site = {}) {}
inline void AcquireShared(LockClass&, const void*, Site = {}) {}
inline void AcquireTry(LockClass&, const void*, Site = {}) {}
inline void Release(LockClass&, const void*, Site = {}) {}
inline void AssertHeld(LockClass&, const void*, Site = {}) {}
inline void WaitBegin(LockClass&, const void*, Site = {}) {}
inline void WaitEnd() {}
inline void PseudoAcquire(LockClass&, Site = {}) {}
inline void PseudoRelease(LockClass&, Site = {}) {}
inline void MightReclaim(Site = {}) {}
inline void ReclaimBegin(Site = {}) {}
inline void ReclaimEnd(Site = {}) {}
inline bool InReclaim() { return false; }
inline void MightFault(Site = {}) {}
inline void FaultBegin(Site = {}) {}
inline void FaultEnd(Site = {}) {}
inline void WorkBegin(LockClass&, Site = {}) {}
inline void WorkEnd(LockClass&, Site = {}) {}
inline void CompletionWait(LockClass&, Site = {}) {}
inline int HeldCount() { return 0; }
inline int MostHeld() { return 0; }
inline void ResetThread() {}
#endif

}  // namespace lockdep
}  // namespace uzswap

#endif  // UZSWAP_BASE_LOCKDEP_H_
