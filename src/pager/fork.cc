// SPDX-License-Identifier: Apache-2.0
// fork: the child inherits page tables and our tables, but no userfaultfd of
// its own: until it has one, evicted pages would read as zeros.
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/lockdep.h"
#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// A process with less has nothing to give (1 MiB of tables and stacks, and the
// pages that are never taken from anybody).
constexpr PageCount kWorthKeeping = 2048;
// Tables and stacks, of both.
constexpr PageCount kWrittenAtOnce = 256;

uint64_t NowMs() { return os::MonotonicNs() / 1000000; }

// While one of these lives the process may have as many descriptors as its
// privileges allow. REQUIRES: there is one thread, as in a forked child.
class RoomForDescriptors {
 public:
  RoomForDescriptors() {
    if (Change(nullptr, &old_) < 0 || old_.rlim_cur >= kEnough) return;
    const rlimit raised{.rlim_cur = kEnough,
                        .rlim_max = std::max<rlim_t>(old_.rlim_max, kEnough)};
    const rlimit most{.rlim_cur = old_.rlim_max, .rlim_max = old_.rlim_max};
    changed_ = Change(&raised, nullptr) == 0 || Change(&most, nullptr) == 0;
  }
  ~RoomForDescriptors() {
    if (changed_) (void)Change(&old_, nullptr);
  }
  RoomForDescriptors(const RoomForDescriptors&) = delete;
  RoomForDescriptors& operator=(const RoomForDescriptors&) = delete;

 private:
  static constexpr rlim_t kEnough = 1024;

  static int64_t Change(const rlimit* to, rlimit* from) {
    return os::Syscall(SYS_prlimit64, 0, RLIMIT_NOFILE,
                       reinterpret_cast<int64_t>(to),
                       reinterpret_cast<int64_t>(from));
  }

  rlimit old_{};
  bool changed_ = false;
};

}  // namespace

void Pager::PrepareFork() {
  const bool protect = CopiesMayNotFit();
  if (protect) MakeRoomToFork();
  core_.map_lock.Lock();
  // Staging memory is private: a frame moved back after the fork would be the
  // child's copy. And what the two share cannot be moved, so staging ends here.
  staging_.BringAllBack();
  // Clean pages are not protected in a child; shared ones will be.
  SettleAllClean();
  if (protect) {
    ShareAll(PageState::kResident);
    family_.Watch(NowMs());
  }
  forked_ = true;
  core_.budget.tree().BeginFork();
  core_.zswap->PrepareFork();
}

void Pager::ParentAfterFork() {
  core_.zswap->ParentAfterFork();
  core_.map_lock.Unlock();
  // It may sleep now until the child ends, which may need what it has.
  if (core_.budget.Used() > kWorthKeeping) StartKeeper();
}

Status Pager::ChildAfterFork() {
  lockdep::ResetThread();
  core_.map_lock.ResetInChild();
  const bool watched = family_.watching();
  family_.Stop();
  core_.budget.tree().LeaveToParent();
  core_.blocks.ResetInChild();
  core_.bounce.ResetInChild();
  prefetcher_.ResetInChild();
  staging_.ResetInChild();
  keeper_.ResetInChild();
  core_.counters.Reset();
  const CycleClock::Moment now = CycleClock::Now();
  clock_.Start(now);
  stalls_.ResetInChild(now.ns, now.cycles);
  ages_.ResetInChild();
  promotion_.ResetInChild();
  patience_.ResetInChild();
  patience_to_measure_.ResetInChild();
  full_ms_.store(0, std::memory_order_relaxed);
  const Status stored = core_.zswap->ChildAfterFork();
  // The old descriptors speak of the parent's memory.
  core_.uffd.Close();
  core_.budget.CloseFiles();
  {
    const RoomForDescriptors room;
    UZSWAP_RETURN_IF_ERROR(core_.uffd.Open());
    core_.budget.OpenFiles().Ignore();  // then it does not measure
    DisownUncopied();
  }
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    UZSWAP_RETURN_IF_ERROR(
        core_.uffd.Register(range.start, range.end - range.start));
    ClearPins(range.start, range.end);
  }
  if (watched) family_.Watch(NowMs());
  // Their states are the parent's, but not their protection.
  ShareAll(PageState::kShared);
  core_.budget.ResetPeaks();
  // Of what is neither pages nor frames both will write to some right away.
  const PageCount inherited = core_.budget.MeasureRss();
  core_.budget.tree().JoinAsChild(inherited -
                                  std::min(inherited, kWrittenAtOnce));
  core_.budget.Measure();
  return stored;
}

// MADV_DONTFORK memory is not there in a child.
void Pager::DisownUncopied() {
  for (uint64_t at = 0;;) {
    const uint64_t i = core_.ranges.FirstAfter(at);
    if (i == core_.ranges.count()) return;
    const uint64_t start = core_.ranges.At(i).start;
    at = core_.ranges.At(i).end;
    DisownUnmapped(start, at);
  }
}

// The system calls that had pinned pages are the parent's.
void Pager::ClearPins(uint64_t start, uint64_t end) {
  core_.managed.ForEachTouched(start / kPageSize, end / kPageSize,
                               [this](uint64_t at, uint64_t to) {
                                 for (; at < to; ++at)
                                   core_.word(Slot{at}).ClearPins();
                               });
}

}  // namespace uzswap
