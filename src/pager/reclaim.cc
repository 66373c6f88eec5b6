// SPDX-License-Identifier: Apache-2.0
// Making room: which block leaves next, by which method, and how hard a fault
// tries before the limit is exceeded (visibly: a counter and one warning).
#include "pager/reclaim.h"

#include <algorithm>

#include "base/lockdep.h"
#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// Evictions that give nothing in a row before a fault stops trying: everything
// is pinned, or nothing compresses and there is no backing store.
constexpr int kFutile = 4;
constexpr int kTries = 64;
// Pages that a fault evicts at most as long as the limit is not kept anyway: a
// slow compressor would make it wait for a second.
constexpr PageCount kMostForOne = 256;
constexpr int kBlockTries = 24;
constexpr int kOldestTries = 8;
// Pages that one eviction aims at: few, for the fault that waits for it.
constexpr PageCount kEnough = 16;
constexpr PageCount kShrinkPages = 64;
constexpr uint32_t kMeasureEvery = 64;
}  // namespace

// F8: takes frames from the budget before they are taken from the system.
bool Pager::Reserve(PageCount pages) {
  lockdep::MightReclaim();
  if (!FindRoom(pages)) return NoRoom(pages);
  patience_.FoundRoom();
  patience_to_measure_.FoundRoom();
  return true;
}

bool Pager::FindRoom(PageCount pages) {
  Budget& budget = core_.budget;
  if (budget.TryReserve(pages, budget.min())) return true;
  if (budget.Ask(pages + budget.low()) &&
      budget.TryReserve(pages, budget.min())) {
    return true;
  }
  const uint64_t begin = os::Cycles();
  const bool made = Reclaim(pages);
  core_.Count(PagerCounter::evict_cycles, os::Cycles() - begin);
  if (made) return true;
  budget.Measure();
  return budget.TryReserve(pages, 0);
}

bool Pager::Reclaim(PageCount pages) {
  Budget& budget = core_.budget;
  const bool shares = SparesShared();
  budget.AllowSharedToGo(!shares);
  int futile = 0;
  PageCount gone = 0;
  const int64_t free_at_first = budget.Free();
  for (int tries = 0; tries < kTries && futile < kFutile && gone < kMostForOne;
       ++tries) {
    const int64_t before = budget.Free();
    const PageCount went = EvictOne();
    gone += went;
    if (went == 0) (void)core_.zswap->Shrink(kShrinkPages);
    if (budget.TryReserve(pages, budget.min())) return true;
    futile = budget.Free() > before ? 0 : futile + 1;
    if (futile == kFutile && shares && !budget.may_drop_shared() &&
        !budget.tree().AwaitsMeasurement()) {
      // What is left is others', too. It becomes free when they do the same.
      budget.AllowSharedToGo(true);
      futile = 0;
    }
  }
  // Far above the limit, since a relative has ended or the limit was lowered,
  // but getting nearer: the next faults go on.
  if (futile == kFutile || budget.Free() <= free_at_first) return false;
  budget.Take(pages);
  return true;
}

// Frames that a relative has, too, stay; but not when there are hardly any
// others: what has just been faulted in would leave again, for ever.
bool Pager::SparesShared() {
  const int64_t shared = core_.budget.tree().shared();
  const auto resident = static_cast<int64_t>(core_.budget.resident());
  return shared > 0 && resident > shared + int64_t{kFloorPages};
}

bool Pager::UseMove() {
  if (method_ == UZSWAP_EVICT_WP || forked_ || !core_.uffd.can_move()) {
    return false;
  }
  const unsigned own = keeper_.running() ? 1 : 0;
  return method_ == UZSWAP_EVICT_MOVE || core_.budget.Threads() == 1 + own;
}

// What waits there for a second chance.
PageCount Pager::StagingTarget() const {
  return std::clamp<PageCount>(core_.budget.limit() / 32, 2 * kBlockPages,
                               2048);
}

// Blocks until there are enough. One whose pages are all pinned or wanted at
// once gives nothing; after some of these, generations do not matter.
PageCount Pager::EvictOldest(bool move) {
  PageCount gone = 0;
  for (int tries = 0; tries < kBlockTries && gone < kEnough; ++tries) {
    if (core_.budget.resident() <= kFloorPages) break;
    const auto choice = tries < kOldestTries || gone > 0
                            ? BlockList::Choice::kOldest
                            : BlockList::Choice::kWhole;
    const BlockList::Victims victims = core_.blocks.TakeOldest(choice);
    if (victims.block == kNoBlock) break;
    Evictor& evictor = move ? static_cast<Evictor&>(move_) : wp_;
    const PageMask pages =
        victims.pages & ~core_.recent_faults.In(victims.block);
    const PageCount went = evictor.Evict(victims.block, pages);
    if (went == 0) KeepStuck({victims.block, pages});
    gone += went;
    core_.blocks.Return(victims.block);
  }
  return gone;
}

// Pages that cannot leave are pinned, or cannot be read: as the oldest they
// would be met again and again. REQUIRES: this thread owns the block.
void Pager::KeepStuck(const BlockList::Victims& victims) {
  PageMask stuck = 0;
  ForEachPage(victims.pages, [&](unsigned i) {
    const PageState state = core_.word(FirstSlot(victims.block) + i).state();
    if (state == PageState::kResident || state == PageState::kShared) {
      stuck |= PageMask{1} << i;
    }
  });
  core_.blocks.KeepYoung(victims.block, stuck);
}

// Evicts about one block; returns how many frames became free or staged.
PageCount Pager::EvictOne() {
  const ScopedReclaim reclaim;
  // Cheaper than any eviction, where it pays; not where frames are others',
  // too.
  if (!family_.watching()) {
    if (const PageCount gone = core_.zswap->Compact(); gone > 0) return gone;
  }
  const bool move = UseMove();
  // What waits in staging is older than anything in the queue.
  if (core_.budget.staged() > (move ? StagingTarget() : 0)) {
    const PageCount gone = staging_.CompressOldest();
    if (gone > 0) return gone;
  }
  PageCount gone = EvictOldest(move);
  // Staging frees nothing by itself.
  if (gone == 0 || core_.budget.staged() > StagingTarget()) {
    gone = staging_.CompressOldest();
  }
  return gone;
}

// After a fault: the next one shall find frames ready.
void Pager::Balance() {
  const uint32_t tick = ticks_.fetch_add(1, std::memory_order_relaxed);
  Budget& budget = core_.budget;
  if (tick % kMeasureEvery == 0) {
    budget.Measure();
    core_.zswap->Tend();
    EnsureKeeper();
    budget.AllowSharedToGo(!SparesShared());
    stalls_.Update(os::MonotonicNs(), os::Cycles());
  }
  const auto low = static_cast<int64_t>(budget.low());
  if (budget.Free() >= low ||
      (budget.Ask(budget.low()) && budget.Free() >= low)) {
    core_.zswap->ContinueMigration();
    return;
  }
  const uint64_t begin = os::Cycles();
  // More than one block only when unmanaged memory has grown past the limit.
  for (int i = 0; i < kFutile; ++i) {
    if (EvictOne() == 0 || core_.budget.Free() >= 0) break;
  }
  (void)core_.zswap->ShrinkUnderPressure();
  budget.Publish();
  core_.Count(PagerCounter::evict_cycles, os::Cycles() - begin);
}

// Evicts the pages of [start, end) that are resident and not pinned.
PageCount Pager::EvictPages(uint64_t start, uint64_t end) {
  const ScopedReclaim reclaim;
  PageCount gone = 0;
  const uint64_t last = end / kPageSize;
  for (uint64_t at = start / kPageSize; at < last;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    if (!core_.managed.Touched(unit)) {
      at = (unit + 1) * ManagedMap::kUnitPages;
      continue;
    }
    const BlockIndex block = BlockOf(Slot{at});
    const uint64_t first = Index(FirstSlot(block));
    const uint64_t next = first + kBlockPages;
    PageMask only = ~PageMask{0} << (at - first);
    if (next > last) only &= (PageMask{1} << (last - first)) - 1;
    if (core_.blocks.ResidentPages(block) != 0 && core_.blocks.Take(block)) {
      gone += wp_.Evict(block, only);
      core_.blocks.Return(block);
    }
    at = next;
  }
  return gone;
}

PageCount Pager::EvictAll() {
  PageCount gone = 0;
  for (uint64_t left = core_.blocks.queued(); left > 0; --left) {
    // The lock is let go between blocks, so that VM calls get their turn.
    ScopedSharedLock lock(core_.map_lock);
    const ScopedReclaim reclaim;
    const BlockList::Victims victims =
        core_.blocks.TakeOldest(BlockList::Choice::kWhole);
    if (victims.block == kNoBlock) break;
    Evictor& evictor = UseMove() ? static_cast<Evictor&>(move_) : wp_;
    gone += evictor.Evict(victims.block, victims.pages);
    core_.blocks.Return(victims.block);
    if (core_.budget.staged() > StagingTarget())
      (void)staging_.CompressOldest();
  }
  ScopedSharedLock lock(core_.map_lock);
  while (core_.budget.staged() > 0 && staging_.CompressOldest() > 0) {
  }
  return gone;
}

// VM calls change what others hold; large ones are worth a look.
void Pager::MeasureAfter(uint64_t bytes) {
  constexpr uint64_t kLarge = uint64_t{1} << 20;
  if (bytes >= kLarge ||
      ticks_.fetch_add(1, std::memory_order_relaxed) % 32 == 0) {
    core_.budget.Measure();
  }
}

}  // namespace uzswap
