// SPDX-License-Identifier: Apache-2.0
// fork: the child inherits page tables and our tables, but no userfaultfd of
// its own: until it has one, evicted pages would read as zeros.
#include "base/lockdep.h"
#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {

void Pager::PrepareFork() {
  core_.map_lock.Lock();
  // Staging memory is private: a frame moved back after the fork would be the
  // child's copy. And what the two share cannot be moved, so staging ends here.
  staging_.BringAllBack();
  forked_ = true;
  core_.zswap->PrepareFork();
}

void Pager::ParentAfterFork() {
  core_.zswap->ParentAfterFork();
  core_.map_lock.Unlock();
}

Status Pager::ChildAfterFork() {
  lockdep::ResetThread();
  core_.map_lock.ResetInChild();
  core_.blocks.ResetInChild();
  core_.bounce.ResetInChild();
  prefetcher_.ResetInChild();
  staging_.ResetInChild();
  core_.counters.Reset();
  start_ns_ = os::MonotonicNs();
  start_cycles_ = os::Cycles();
  const Status stored = core_.zswap->ChildAfterFork();
  // The old descriptors speak of the parent's memory.
  core_.uffd.Close();
  core_.budget.Close();
  UZSWAP_RETURN_IF_ERROR(core_.uffd.Open());
  UZSWAP_RETURN_IF_ERROR(core_.budget.Open());
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    UZSWAP_RETURN_IF_ERROR(
        core_.uffd.Register(range.start, range.end - range.start));
    ClearPins(range.start, range.end);
  }
  core_.budget.ResetPeaks();
  core_.budget.Measure();
  return stored;
}

// The system calls that had pinned pages are the parent's.
void Pager::ClearPins(uint64_t start, uint64_t end) {
  for (uint64_t at = start / kPageSize; at < end / kPageSize;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next = (unit + 1) * ManagedMap::kUnitPages;
    for (; core_.managed.Touched(unit) && at < next && at < end / kPageSize;
         ++at) {
      core_.word(Slot{at}).ClearPins();
    }
    at = next;
  }
}

}  // namespace uzswap
