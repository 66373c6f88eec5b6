// SPDX-License-Identifier: Apache-2.0
// Idle aging: memory is given back before anybody asks for it. A block without
// evidence of use is put on trial: evicted, and if a page of it comes back
// within a minute it was in use all the same, so that next time it has to look
// idle for twice as long.
#include <algorithm>
#include <array>

#include "base/os.h"
#include "pager/pager.h"
#include "pager/reclaim.h"

namespace uzswap {
namespace {

// Blocks looked at in one call: 16 GiB of resident memory.
constexpr uint64_t kLooks = 65536;
// Ages in powers of two, of ticks.
constexpr size_t kAges = 33;

unsigned Log2(uint32_t age) {
  return age == 0 ? 0 : 32 - static_cast<unsigned>(__builtin_clz(age));
}

}  // namespace

void Pager::SetPromotionRate(uint32_t hundredths) {
  promotion_.Set(hundredths);
}

PageCount Pager::ReclaimIdle(uint64_t now_ns, uint64_t idle_ns,
                             PageCount most) {
  const CycleClock::Moment now = CycleClock::Now();
  core_.blocks.SetNow(now.cycles);
  stalls_.Update(now.ns, now.cycles);
  core_.blocks.SetProbation(
      BlockList::TicksOf(clock_.ToCycles(PromotionTarget::kMinuteNs, now)));
  const PageCount allowed =
      std::min(most, promotion_.Allowance(now_ns, core_.budget.resident(),
                                          core_.blocks.promoted()));
  if (allowed == 0) return 0;
  const IdleSearch search = {
      .then = BlockList::TicksOf(now.cycles),
      .idle = std::max<BlockList::Ticks>(
          1, BlockList::TicksOf(clock_.ToCycles(idle_ns, now)))};
  const PageCount gone = EvictIdle(search, allowed);
  promotion_.NoteEvicted(gone, allowed);
  core_.Count(PagerCounter::pages_idle, gone);
  if (gone == 0) {
    // What went to staging before is as idle as that.
    ScopedSharedLock lock(core_.map_lock);
    (void)staging_.CompressOldest();
  }
  return gone;
}

// 0: in use, or a proved liar that has to wait for longer.
BlockList::Ticks Pager::IdleSearch::AgeOf(const BlockList::Look& look) const {
  const BlockList::Ticks age = BlockList::AgeAt(then, look.used_at);
  const uint64_t needed = uint64_t{idle} << look.back_off;
  return age >= needed ? age : 0;
}

// The oldest first, as far as powers of two tell: one look at the blocks finds
// out how old they have to be, another one evicts them.
PageCount Pager::EvictIdle(const IdleSearch& search, PageCount most) {
  std::array<PageCount, kAges> pages = {};
  uint64_t looks = 0;
  BlockIndex end = 0;
  core_.blocks.ForEachResident(
      idle_cursor_, [&](BlockIndex block, const BlockList::Look& look) {
        end = block + 1;
        if (const auto age = search.AgeOf(look); age != 0) {
          pages[Log2(age)] += look.pages;
        }
        return ++looks < kLooks;
      });
  unsigned oldest = kAges;
  for (PageCount sum = 0; oldest > 1 && sum < most;) sum += pages[--oldest];
  PageCount gone = 0;
  core_.blocks.ForEachResident(
      idle_cursor_, [&](BlockIndex block, const BlockList::Look& look) {
        if (block >= end || gone >= most) return false;
        const auto age = search.AgeOf(look);
        if (age != 0 && Log2(age) >= oldest) gone += TryIdle(block);
        return true;
      });
  idle_cursor_ = looks < kLooks ? 0 : end;
  return gone;
}

// The lock is held for one block, so that VM calls get their turn.
PageCount Pager::TryIdle(BlockIndex block) {
  ScopedSharedLock lock(core_.map_lock);
  const ScopedReclaim reclaim;
  if (core_.budget.resident() <= kFloorPages) return 0;
  if (!core_.blocks.Take(block)) return 0;
  core_.blocks.StartTrial(block);
  const PageCount gone = wp_.Evict(block, ~PageMask{0});
  core_.blocks.Return(block);
  return gone;
}

}  // namespace uzswap
