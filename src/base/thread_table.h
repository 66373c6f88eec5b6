// SPDX-License-Identifier: Apache-2.0
// A fixed table of this process's threads, so that one thread can read what the
// others are doing: the operation each is in (watchdog.h) and, in debug builds,
// the locks it holds (lockdep.h). A thread gets its record at first use. Nobody
// tells us when a thread of the program ends, so records of dead threads are
// taken over when the table is full.
//
// Threads and signals: any, at any time; nothing here waits or allocates.
#ifndef UZSWAP_BASE_THREAD_TABLE_H_
#define UZSWAP_BASE_THREAD_TABLE_H_

#include <atomic>
#include <cstdint>

#include "base/lockdep_held.h"

namespace uzswap {

// Written by its thread alone, except where it says otherwise; read by all.
// All-zero bytes are a valid, free record.
struct ThreadRecord {
  static constexpr uint32_t kMaxOperations = 4;

  std::atomic<int> tid{0};  // 0: free
  // Nested operations, outermost first; depth counts those that do not fit too.
  std::atomic<uint32_t> depth{0};
  std::atomic<const char*> operations[kMaxOperations] = {};
  std::atomic<uint64_t> progress{0};  // changes at each begin, end, step
  // The watchdog's: since when it has seen this progress.
  uint64_t seen_progress = 0;
  uint64_t seen_ns = 0;
#ifdef UZSWAP_DEBUG
  lockdep::HeldLocks locks;
#endif
};

namespace thread_table {

inline constexpr unsigned kCapacity = 512;

// The record of this thread. When there is none left it is one that only this
// thread can see.
ThreadRecord& Self();
// The thread ends; it may do without, at the price of a slower Self for others.
void Leave();
// Some record of the table; free if its tid is 0.
ThreadRecord& At(unsigned index);
// In the child after fork: its other threads do not exist.
void ResetInChild();

}  // namespace thread_table
}  // namespace uzswap

#endif  // UZSWAP_BASE_THREAD_TABLE_H_
