// SPDX-License-Identifier: Apache-2.0
#include "pager/ages.h"

namespace uzswap {

void AgeHistogram::Count(const BlockList& blocks, const CycleClock& clock,
                         const CycleClock::Moment& now) {
  if (!seldom_.Begin(now.cycles)) return;
  std::array<BlockList::Ticks, kBordersNs.size()> borders;
  for (size_t i = 0; i < borders.size(); ++i) {
    borders[i] = BlockList::TicksOf(clock.ToCycles(kBordersNs[i], now));
  }
  const BlockList::Ticks then = BlockList::TicksOf(now.cycles);
  std::array<PageCount, kBuckets> pages = {};
  blocks.ForEachResident(0, [&](BlockIndex, const BlockList::Look& look) {
    const BlockList::Ticks age = BlockList::AgeAt(then, look.used_at);
    size_t i = 0;
    while (i < borders.size() && age >= borders[i]) ++i;
    pages[i] += look.pages;
    return true;
  });
  for (size_t i = 0; i < kBuckets; ++i) {
    pages_[i].store(pages[i], std::memory_order_relaxed);
  }
  seldom_.End(now.cycles, os::Cycles());
}

}  // namespace uzswap
