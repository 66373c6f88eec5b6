// SPDX-License-Identifier: Apache-2.0
// What the keeper does, and when there is one: others share our limit, or
// memory is to be given back before anybody asks.
#include <algorithm>

#include "base/lockdep.h"
#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// Blocks in one step: a thread of the program may want to run instead.
constexpr int kBlocksAtOnce = 256;
// Idle pages that leave in one step.
constexpr PageCount kIdleAtOnce = 16 * 1024;
// Above a soft limit this part of the excess leaves in one step.
constexpr PageCount kSoftPart = 8;

}  // namespace

bool Pager::WantsKeeper() {
  const uzswap_tree& tree = core_.budget.tree().tree();
  return core_.budget.tree().Crowded() || idle_ns_ != 0 ||
         __atomic_load_n(&tree.soft_limit, __ATOMIC_RELAXED) != 0 ||
         __atomic_load_n(&tree.pressure, __ATOMIC_RELAXED) != 0;
}

// The backing store's budget is for all processes together, too: this one may
// have what the others leave.
void Pager::ShareDisk() {
  TreeBudget& budget = core_.budget.tree();
  const PageCount limit =
      __atomic_load_n(&budget.tree().disk_limit, __ATOMIC_RELAXED);
  if (limit == 0) return;
  budget.PublishDisk(core_.zswap->device_pages());
  const PageCount others = budget.DiskOfOthers();
  core_.zswap->SetDeviceLimit(limit - std::min(limit, others));
}

void Pager::EnsureKeeper() {
  TreeBudget& tree = core_.budget.tree();
  ShareDisk();
  if (tree.HasOthers()) tree.Look(core_.budget.Used());
  family_.StopIfAlone(os::MonotonicNs() / 1000000);
  if (!keeper_.running() && WantsKeeper()) StartKeeper();
}

void Pager::StartKeeper() {
  const auto step = [](void* pager) {
    return static_cast<Pager*>(pager)->KeeperStep();
  };
  keeper_.Ensure(step, this, core_.budget.tree().wake());
}

// One step of the keeper. False: the program's threads are gone.
bool Pager::KeeperStep() {
  if (core_.budget.OnlyOursLeft()) return false;
  {
    ScopedSharedLock lock(core_.map_lock);
    core_.budget.Measure();
    core_.budget.tree().Look(core_.budget.Used());
    family_.StopIfAlone(os::MonotonicNs() / 1000000);
  }
  ShareDisk();
  KeepBelow(core_.budget.limit());
  if (const PageCount soft = SoftShare(); soft != 0) {
    const PageCount used = core_.budget.Used();
    if (used > soft) KeepBelow(used - (used - soft) / kSoftPart - 1);
  }
  if (idle_ns_ != 0) {
    (void)ReclaimIdle(os::MonotonicNs(), idle_ns_, kIdleAtOnce);
    core_.budget.Publish();
  }
  return true;
}

// This process's part of the soft limit; 0: there is none, or all together are
// below it. When the system itself is short of memory, what is spare under the
// limit is given back, too.
PageCount Pager::SoftShare() {
  TreeBudget& budget = core_.budget.tree();
  const uzswap_tree& tree = budget.tree();
  const PageCount limit = __atomic_load_n(&tree.limit, __ATOMIC_RELAXED);
  PageCount soft = __atomic_load_n(&tree.soft_limit, __ATOMIC_RELAXED);
  const uint32_t pressure = __atomic_load_n(&tree.pressure, __ATOMIC_RELAXED);
  if (pressure != 0) {
    if (soft == 0) soft = limit;
    soft -= soft / 8 * std::min(pressure, 3u);
  }
  if (soft == 0) return 0;
  const PageCount all = budget.UsedByAll();
  if (all <= soft) return 0;
  const PageCount used = core_.budget.Used();
  return used - std::min(used, (all - soft) * used / std::max(all, used));
}

// Frames that relatives have, too, leave when there are no others; by how much
// that brings the process below, only the next measurement tells, so no more
// than twice the excess goes before it.
void Pager::KeepBelow(PageCount most) {
  Budget& budget = core_.budget;
  const bool related = budget.tree().HasRelatives();
  const auto twice_the_excess = [&] {
    return 2 * (budget.Used() - std::min(budget.Used(), most));
  };
  PageCount shared_to_go =
      related && budget.may_drop_shared() ? twice_the_excess() : 0;
  for (int i = 0;
       i < kBlocksAtOnce && budget.Used() > most && !keeper_.stopping(); ++i) {
    ScopedSharedLock lock(core_.map_lock);
    const PageCount gone = EvictOne();
    if (gone == 0 && core_.zswap->Shrink(kBlockPages) == 0) {
      if (!related || budget.may_drop_shared()) break;
      budget.AllowSharedToGo(true);
      shared_to_go = twice_the_excess();
    } else if (shared_to_go != 0) {
      if (gone >= shared_to_go) break;
      shared_to_go -= gone;
    }
    budget.Publish();
  }
  if (related) budget.AllowSharedToGo(!SparesShared());
}

void Pager::SetIdle(unsigned seconds, uint32_t promotion_rate) {
  constexpr uint64_t kSecondNs = 1000000000;
  idle_ns_ = seconds * kSecondNs;
  SetPromotionRate(promotion_rate);
}

void Pager::LeaveTree() {
  keeper_.Stop();
  core_.budget.tree().Leave();
}

void Pager::EndInTree() {
  keeper_.Stop();
  core_.budget.tree().End();
}

void Pager::JoinTree() { core_.budget.tree().Join(core_.budget.Used()); }

void Pager::StopKeeper(bool for_ever) {
  if (for_ever) {
    keeper_.Forbid();
    core_.budget.tree().StayQuiet();
  } else {
    keeper_.HoldOff();
  }
}

void Pager::ThreadEnds() {
  if (keeper_.running() && core_.budget.Threads() <= 2) keeper_.Stop();
}

}  // namespace uzswap
