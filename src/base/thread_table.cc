// SPDX-License-Identifier: Apache-2.0
#include "base/thread_table.h"

#include <sys/syscall.h>

#include <cerrno>

#include "base/os.h"

namespace uzswap::thread_table {
namespace {

constinit ThreadRecord records[kCapacity] = {};
constinit __thread ThreadRecord* self = nullptr;
constinit __thread ThreadRecord unlisted = {};

void Clear(ThreadRecord& record) {
  record.depth.store(0, std::memory_order_relaxed);
  record.progress.fetch_add(1, std::memory_order_relaxed);
#ifdef UZSWAP_DEBUG
  record.locks.Clear();
#endif
}

bool Take(ThreadRecord& record, int from, int to) {
  if (!record.tid.compare_exchange_strong(from, to,
                                          std::memory_order_acquire)) {
    return false;
  }
  Clear(record);
  return true;
}

// Asks the whole system, not this process: a child of vfork shares our table.
bool Dead(int tid) { return os::Syscall(SYS_tkill, tid, 0) == -ESRCH; }

ThreadRecord* Claim() {
  const int tid = os::ThreadId();
  // Left behind by a thread that had the same number.
  for (ThreadRecord& record : records) {
    if (record.tid.load(std::memory_order_relaxed) == tid) {
      Clear(record);
      return &record;
    }
  }
  for (ThreadRecord& record : records) {
    if (record.tid.load(std::memory_order_relaxed) == 0 &&
        Take(record, 0, tid)) {
      return &record;
    }
  }
  for (ThreadRecord& record : records) {
    const int old = record.tid.load(std::memory_order_relaxed);
    if (old != 0 && Dead(old) && Take(record, old, tid)) return &record;
  }
  return &unlisted;
}

}  // namespace

ThreadRecord& Self() {
  if (self == nullptr) [[unlikely]]
    self = Claim();
  return *self;
}

void Leave() {
  if (self == nullptr) return;
  Clear(*self);
  self->tid.store(0, std::memory_order_release);
  self = nullptr;
}

ThreadRecord& At(unsigned index) { return records[index]; }

void ResetInChild() {
  const int pid = os::ProcessId();
  for (ThreadRecord& record : records) {
    const int tid = record.tid.load(std::memory_order_relaxed);
    if (tid == 0 || &record == self) continue;
    // A table that is reset while it is in use keeps what is alive.
    if (os::Syscall(SYS_tgkill, pid, tid, 0) != -ESRCH) continue;
    Clear(record);
    record.tid.store(0, std::memory_order_release);
  }
  if (self != nullptr && self != &unlisted) {
    self->tid.store(os::ThreadId(), std::memory_order_relaxed);
  }
}

}  // namespace uzswap::thread_table
