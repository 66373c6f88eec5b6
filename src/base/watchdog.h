// SPDX-License-Identifier: Apache-2.0
// Finds threads that hang, as the kernel's hung-task detector does: threads say
// which operation they are in; one that has been in it without any progress for
// too long is named, and in debug builds also what it holds, what it waits for,
// and who has that. Begin and End cost a few nanoseconds when the watchdog is
// active (with UZSWAP_DEBUG, or when Enable was called), else one load.
//
// Threads: any; Check by one at a time. Nothing here waits, locks or allocates.
#ifndef UZSWAP_BASE_WATCHDOG_H_
#define UZSWAP_BASE_WATCHDOG_H_

#include <atomic>
#include <cstdint>

#include "base/thread_table.h"

namespace uzswap {

class Watchdog {
 public:
  static void Enable() { active_.store(true, std::memory_order_relaxed); }
  static bool active() { return active_.load(std::memory_order_relaxed); }

  // operation: a static string. Operations nest; the innermost four at most are
  // named.
  static void Begin(const char* operation) {
    if (!active()) return;
    ThreadRecord& record = thread_table::Self();
    const uint32_t depth = record.depth.load(std::memory_order_relaxed);
    if (depth < ThreadRecord::kMaxOperations) {
      record.operations[depth].store(operation, std::memory_order_relaxed);
    }
    record.depth.store(depth + 1, std::memory_order_release);
    Progress(record);
  }
  static void End() {
    if (!active()) return;
    ThreadRecord& record = thread_table::Self();
    const uint32_t depth = record.depth.load(std::memory_order_relaxed);
    // 0: it was enabled between Begin and End.
    if (depth > 0) record.depth.store(depth - 1, std::memory_order_release);
    Progress(record);
  }
  // Inside a long operation that goes on.
  static void Step() {
    if (active()) Progress(thread_table::Self());
  }

  // Prints every thread that is in an operation and has made no progress for
  // limit_ns or longer, on descriptor 2, and returns how many there are.
  // now_ns: any clock, the same in every call. A thread is watched from the
  // first call that sees it in an operation, so call this several times within
  // the limit.
  static int Check(uint64_t now_ns, uint64_t limit_ns);

  // In the child after fork: the other threads do not exist.
  static void ChildAfterFork() { thread_table::ResetInChild(); }

 private:
  static void Progress(ThreadRecord& record) {
    record.progress.store(record.progress.load(std::memory_order_relaxed) + 1,
                          std::memory_order_relaxed);
  }

#ifdef UZSWAP_DEBUG
  static constexpr bool kActiveAtStart = true;
#else
  static constexpr bool kActiveAtStart = false;
#endif
  static constinit inline std::atomic<bool> active_{kActiveAtStart};
};

// Begin and End of a scope.
class WatchdogScope {
 public:
  explicit WatchdogScope(const char* operation) { Watchdog::Begin(operation); }
  ~WatchdogScope() { Watchdog::End(); }
  WatchdogScope(const WatchdogScope&) = delete;
  WatchdogScope& operator=(const WatchdogScope&) = delete;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_WATCHDOG_H_
