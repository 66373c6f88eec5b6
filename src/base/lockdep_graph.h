// SPDX-License-Identifier: Apache-2.0
// The order graph of lockdep: which class was ever taken while which was held,
// and where that was first seen. It never has a cycle: an edge that would close
// one is refused. Fixed tables; debug builds only.
#ifndef UZSWAP_BASE_LOCKDEP_GRAPH_H_
#define UZSWAP_BASE_LOCKDEP_GRAPH_H_

#include "base/lockdep.h"
#include "base/lockdep_held.h"

#ifdef UZSWAP_DEBUG
namespace uzswap::lockdep {

// outer was held when inner was taken.
struct Edge {
  HeldLock outer;
  HeldLock inner;
};

// The way from the first class to the last along recorded edges.
struct Path {
  int length = 0;  // 0: there is none
  uint8_t ids[kMaxClasses];
};
static_assert(kMaxClasses <= 256);

extern constinit LockClass reclaim_class;
extern constinit LockClass fault_class;

namespace graph {

// Gives the class its number if it has none yet; -1 when there are no more.
int IdOf(LockClass& lock_class);
// REQUIRES: id was given.
LockClass& ClassOf(int id);

enum class Added { kOk, kCycle, kFull };
// kCycle: path is the recorded way from inner to outer, and nothing is added.
Added Add(const HeldLock& outer, const HeldLock& inner, Path& path);

// True if the edge was recorded; edge (may be null) is then where.
bool Find(const LockClass& outer, const LockClass& inner, Edge* edge);

// In the child after fork.
void ResetLock();

}  // namespace graph

// An address of code as addr2line wants it: relative to where this program or
// library is loaded.
uint64_t CodeOffset(const void* address);

// Reports of this thread: they build the text and call the handler.
void ReportCycle(const HeldLocks& held, const HeldLock& wanted,
                 const HeldLock& outer, const Path& path);
void ReportRecursion(const HeldLocks& held, const HeldLock& wanted,
                     const HeldLock& first, const char* what);
// Everything else: "<what>: <class>; held: …".
void ReportUse(const HeldLocks& held, const HeldLock& wanted, const char* title,
               const char* what);
// This thread is in a report handler; nothing is checked meanwhile.
bool Reporting();
void ResetReports();

}  // namespace uzswap::lockdep
#endif  // UZSWAP_DEBUG

#endif  // UZSWAP_BASE_LOCKDEP_GRAPH_H_
