// SPDX-License-Identifier: Apache-2.0
#include "pager/ages.h"

namespace uzswap {

void AgeHistogram::Count(const BlockList& blocks, const CycleClock& clock,
                         const CycleClock::Moment& now) {
  constexpr uint64_t kShare = 100;
  if (now.cycles < not_before_.load(std::memory_order_relaxed)) return;
  if (counting_.exchange(true, std::memory_order_acquire)) return;
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
  const uint64_t end = os::Cycles();
  not_before_.store(end + kShare * (end - now.cycles),
                    std::memory_order_relaxed);
  counting_.store(false, std::memory_order_release);
}

}  // namespace uzswap
