// SPDX-License-Identifier: Apache-2.0
#include "base/watchdog.h"

#include "base/check.h"

namespace uzswap {
namespace {

// True if the thread is in an operation and has not moved for limit_ns.
bool Stuck(ThreadRecord& record, uint64_t now_ns, uint64_t limit_ns) {
  const uint64_t progress = record.progress.load(std::memory_order_relaxed);
  // Outside of operations the clock does not run.
  if (record.depth.load(std::memory_order_acquire) == 0 ||
      progress != record.seen_progress) {
    record.seen_progress = progress;
    record.seen_ns = now_ns;
    return false;
  }
  return now_ns - record.seen_ns >= limit_ns;
}

void PrintOperations(const ThreadRecord& record, uint64_t now_ns) {
  Line line;
  line << "watchdog: thread " << record.tid.load(std::memory_order_relaxed)
       << " has made no progress for " << (now_ns - record.seen_ns) / 1000000
       << " ms in ";
  uint32_t n = record.depth.load(std::memory_order_acquire);
  if (n > ThreadRecord::kMaxOperations) n = ThreadRecord::kMaxOperations;
  for (uint32_t i = n; i > 0; --i) {
    const char* operation =
        record.operations[i - 1].load(std::memory_order_relaxed);
    line << operation << (i > 1 ? " in " : "");
  }
  Log(line);
}

#ifdef UZSWAP_DEBUG
using lockdep::HeldLock;

bool Same(const HeldLock& a, const HeldLock& b) {
  return a.lock_class == b.lock_class && a.lock == b.lock;
}

bool WaitsFor(const ThreadRecord& record, const HeldLock& held) {
  return Same(record.locks.waiting.Get(), held);
}

void PrintHolders(const HeldLock& wanted) {
  for (unsigned i = 0; i < thread_table::kCapacity; ++i) {
    const ThreadRecord& record = thread_table::At(i);
    const int tid = record.tid.load(std::memory_order_relaxed);
    if (tid == 0) continue;
    for (int j = 0; j < record.locks.Count(); ++j) {
      const HeldLock held = record.locks.entries[j].Get();
      if (!Same(held, wanted) || WaitsFor(record, held)) continue;
      Line line;
      line << "  which thread " << tid << " holds: ";
      lockdep::Describe(line, held);
      Log(line);
    }
  }
}

void PrintLocks(const ThreadRecord& record) {
  const HeldLock waiting = record.locks.waiting.Get();
  for (int i = 0; i < record.locks.Count(); ++i) {
    const HeldLock held = record.locks.entries[i].Get();
    if (held.lock_class == nullptr || Same(held, waiting)) continue;
    Line line;
    line << "  it holds: ";
    lockdep::Describe(line, held);
    Log(line);
  }
  if (waiting.lock_class == nullptr) return;
  Line line;
  line << "  it waits for: ";
  lockdep::Describe(line, waiting);
  Log(line);
  PrintHolders(waiting);
}
#else
void PrintLocks(const ThreadRecord&) {}
#endif

}  // namespace

int Watchdog::Check(uint64_t now_ns, uint64_t limit_ns) {
  int stuck = 0;
  for (unsigned i = 0; i < thread_table::kCapacity; ++i) {
    ThreadRecord& record = thread_table::At(i);
    if (record.tid.load(std::memory_order_acquire) == 0) continue;
    if (!Stuck(record, now_ns, limit_ns)) continue;
    ++stuck;
    PrintOperations(record, now_ns);
    PrintLocks(record);
  }
  return stuck;
}

}  // namespace uzswap
