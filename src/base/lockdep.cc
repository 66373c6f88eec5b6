// SPDX-License-Identifier: Apache-2.0
// What each thread holds, and the checks that are made when it takes more. A
// pseudo lock is in the graph as any other; only nobody ever waits for it.
#include "base/lockdep.h"

#ifdef UZSWAP_DEBUG

#include "base/lockdep_graph.h"
#include "base/lockdep_held.h"
#include "base/thread_table.h"

// The linker's name for where this program or library is loaded.
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start[];

namespace uzswap::lockdep {
namespace {

constinit std::atomic<int> most_held{0};

HeldLocks& Held() { return thread_table::Self().locks; }

constexpr char kBug[] = "BUG: bad use of a lock";

// Edges from all that is held, not only from the innermost lock: a trylock in
// between would otherwise hide what was taken before it.
void AddEdges(const HeldLocks& held, const HeldLock& wanted) {
  for (int i = 0; i < held.Count(); ++i) {
    const HeldLock outer = held.entries[i].Get();
    Path path;
    switch (graph::Add(outer, wanted, path)) {
      case graph::Added::kOk:
        break;
      case graph::Added::kCycle:
        return ReportCycle(held, wanted, outer, path);
      case graph::Added::kFull:
        return ReportUse(held, wanted, kBug, "too many lock dependencies");
    }
  }
}

void Push(HeldLocks& held, const HeldLock& wanted) {
  const bool pseudo = wanted.mode == Mode::kPseudo;
  const int real = held.RealCount();
  if (!pseudo && real == kMaxHeld) {
    ReportUse(held, wanted, "BUG: lock depth exceeded",
              "too many locks held by one thread when taking");
  } else if (pseudo && held.Count() - real == kMaxPseudoHeld) {
    ReportUse(held, wanted, "BUG: lock depth exceeded",
              "too many pseudo locks held by one thread when taking");
  }
  if (held.Count() < HeldLocks::kCapacity) held.Push(wanted);
  if (pseudo) return;
  int most = most_held.load(std::memory_order_relaxed);
  while (real + 1 > most && !most_held.compare_exchange_weak(
                                most, real + 1, std::memory_order_relaxed)) {
  }
}

void CheckRecursion(const HeldLocks& held, const HeldLock& wanted) {
  for (int i = 0; i < held.Count(); ++i) {
    const HeldLock first = held.entries[i].Get();
    if (wanted.lock != nullptr && first.lock == wanted.lock) {
      ReportRecursion(held, wanted, first, "lock taken again by its holder");
      return;
    }
    if (first.lock_class == wanted.lock_class) {
      ReportRecursion(held, wanted, first,
                      wanted.mode == Mode::kPseudo ? "waiting for itself"
                                                   : "two locks of one class");
      return;
    }
  }
}

// False if the class cannot be checked.
bool CheckClass(const HeldLocks& held, const HeldLock& wanted) {
  if (graph::IdOf(*wanted.lock_class) >= 0) return true;
  ReportUse(held, wanted, kBug, "too many lock classes");
  return false;
}

void Check(const HeldLocks& held, const HeldLock& wanted) {
  CheckRecursion(held, wanted);
  if (CheckClass(held, wanted)) AddEdges(held, wanted);
}

// Shared and exclusive make no difference to the order: a waiting writer stops
// new readers, so a reader can wait for a reader.
void Take(const HeldLock& wanted) {
  if (Reporting()) return;
  HeldLocks& held = Held();
  Check(held, wanted);
  Push(held, wanted);
}

void Drop(const HeldLock& wanted) {
  if (Reporting()) return;
  HeldLocks& held = Held();
  const int i = held.Find(*wanted.lock_class, wanted.lock);
  if (i < 0) {
    ReportUse(held, wanted, "WARNING: bad unlock balance detected",
              "lock released by a thread without it");
    return;
  }
  held.Remove(i);
}

HeldLock Pseudo(LockClass& lock_class, const Site& site) {
  return {.lock_class = &lock_class, .mode = Mode::kPseudo, .site = site};
}

// Acquired and released at once: nothing is held, but the order is known.
void Touch(LockClass& lock_class, const Site& site) {
  if (!Reporting()) Check(Held(), Pseudo(lock_class, site));
}

}  // namespace

uint64_t CodeOffset(const void* address) {
  return reinterpret_cast<uintptr_t>(address) -
         reinterpret_cast<uintptr_t>(__ehdr_start);
}

int HeldLocks::RealCount() const {
  int real = 0;
  for (int i = 0; i < Count(); ++i) {
    if (entries[i].Get().mode != Mode::kPseudo) ++real;
  }
  return real;
}

int HeldLocks::Find(const LockClass& lock_class, const void* lock) const {
  for (int i = Count() - 1; i >= 0; --i) {
    const HeldLock held = entries[i].Get();
    if (held.lock == lock && held.lock_class == &lock_class) return i;
  }
  return -1;
}

void HeldLocks::Push(const HeldLock& held) {
  const int n = Count();
  entries[n].Set(held);
  count.store(n + 1, std::memory_order_release);
}

void HeldLocks::Remove(int index) {
  const int n = Count();
  for (int i = index; i + 1 < n; ++i) entries[i].Set(entries[i + 1].Get());
  count.store(n - 1, std::memory_order_release);
}

void HeldLocks::Clear() {
  count.store(0, std::memory_order_release);
  waiting.Set({});
}

void Acquire(LockClass& lock_class, const void* lock, const Site& site) {
  Take({.lock_class = &lock_class,
        .lock = lock,
        .mode = Mode::kExclusive,
        .site = site});
}

void AcquireShared(LockClass& lock_class, const void* lock, const Site& site) {
  Take({.lock_class = &lock_class,
        .lock = lock,
        .mode = Mode::kShared,
        .site = site});
}

void AcquireTry(LockClass& lock_class, const void* lock, const Site& site) {
  if (Reporting()) return;
  const HeldLock won{.lock_class = &lock_class,
                     .lock = lock,
                     .mode = Mode::kTry,
                     .site = site};
  HeldLocks& held = Held();
  CheckClass(held, won);
  Push(held, won);
}

void Release(LockClass& lock_class, const void* lock, const Site& site) {
  Drop({.lock_class = &lock_class, .lock = lock, .site = site});
}

void AssertHeld(LockClass& lock_class, const void* lock, const Site& site) {
  if (Reporting() || Held().Find(lock_class, lock) >= 0) return;
  ReportUse(Held(), {.lock_class = &lock_class, .lock = lock, .site = site},
            kBug, "not held by this thread");
}

void WaitBegin(LockClass& lock_class, const void* lock, const Site& site) {
  HeldLocks& held = Held();
  HeldLock wanted = Pseudo(lock_class, site);
  // A lock is entered before it is waited for, with a better site.
  const int i = lock == nullptr ? -1 : held.Find(lock_class, lock);
  if (i >= 0) wanted = held.entries[i].Get();
  held.waiting.Set(wanted);
}

void WaitEnd() { Held().waiting.Set({}); }

void PseudoAcquire(LockClass& lock_class, const Site& site) {
  Take(Pseudo(lock_class, site));
}

void PseudoRelease(LockClass& lock_class, const Site& site) {
  Drop(Pseudo(lock_class, site));
}

void MightReclaim(const Site& site) {
  if (!InReclaim()) Touch(reclaim_class, site);
}
void ReclaimBegin(const Site& site) { PseudoAcquire(reclaim_class, site); }
void ReclaimEnd(const Site& site) { PseudoRelease(reclaim_class, site); }
bool InReclaim() { return Held().Find(reclaim_class, nullptr) >= 0; }

void MightFault(const Site& site) { Touch(fault_class, site); }
void FaultBegin(const Site& site) { PseudoAcquire(fault_class, site); }
void FaultEnd(const Site& site) { PseudoRelease(fault_class, site); }

void WorkBegin(LockClass& completion, const Site& site) {
  PseudoAcquire(completion, site);
}
void WorkEnd(LockClass& completion, const Site& site) {
  PseudoRelease(completion, site);
}
void CompletionWait(LockClass& completion, const Site& site) {
  Touch(completion, site);
}

int HeldCount() { return Held().RealCount(); }
int MostHeld() { return most_held.load(std::memory_order_relaxed); }

void ResetThread() {
  graph::ResetLock();
  ResetReports();
  thread_table::ResetInChild();
  Held().Clear();
}

}  // namespace uzswap::lockdep

#endif  // UZSWAP_DEBUG
