// SPDX-License-Identifier: Apache-2.0
// The ages of entries: they are stamped when they are stored and when a load
// keeps them; here they are swept and counted. Only atomics of entries are
// looked at, so no lock is needed: an index is valid for ever.
#include "zswap/zswap_impl.h"

namespace uzswap {

PageCount Zswap::Impl::Age(PageCount most) {
  const Seconds now = seconds.Now();
  if (!sweeping.load(std::memory_order_relaxed) && !ages.SweepIsDue(now)) {
    return 0;
  }
  if (sweep_busy.exchange(true, std::memory_order_acquire)) return 0;
  if (!sweeping.load(std::memory_order_relaxed)) {
    sweeping.store(true, std::memory_order_relaxed);
    sweep_at = 1;
    sweep_began = now;
  }
  const uint64_t end = slab.end();
  const uint64_t stop = std::min(end, sweep_at + most);
  const PageCount visited = stop - std::min(stop, sweep_at);
  for (; sweep_at < stop; ++sweep_at) {
    std::atomic<AgeStamp>& stamp =
        slab[EntryIndex{static_cast<uint32_t>(sweep_at)}].age;
    AgeStamp before = stamp.load(std::memory_order_relaxed);
    const AgeStamp after = ages.Swept(before, now);
    // Whoever stamped it meanwhile is right.
    if (after != before) {
      (void)stamp.compare_exchange_strong(before, after,
                                          std::memory_order_relaxed);
    }
  }
  if (sweep_at >= end) {
    ages.SweepDone(sweep_began);
    sweeping.store(false, std::memory_order_relaxed);
  }
  sweep_busy.store(false, std::memory_order_release);
  return visited;
}

void Zswap::Impl::CountAges(PageCount* buckets) {
  const uint64_t end = slab.end();
  const uint64_t begin = os::Cycles();
  if (entry_ages.seldom.Begin(begin, end <= EntryAges::kFew)) {
    PageCount counted[AgeClock::kBuckets] = {};
    const Seconds now = seconds.Now();
    for (uint64_t i = 1; i < end; ++i) {
      const Entry& entry = slab[EntryIndex{static_cast<uint32_t>(i)}];
      if (entry.refs.load(std::memory_order_relaxed) == 0) continue;
      const AgeStamp stamp = entry.age.load(std::memory_order_relaxed);
      ++counted[AgeClock::BucketOf(ages.AgeOf(stamp, now))];
    }
    for (unsigned i = 0; i < AgeClock::kBuckets; ++i) {
      entry_ages.pages[i].store(counted[i], std::memory_order_relaxed);
    }
    entry_ages.seldom.End(begin, os::Cycles());
  }
  for (unsigned i = 0; i < AgeClock::kBuckets; ++i) {
    buckets[i] = entry_ages.pages[i].load(std::memory_order_relaxed);
  }
}

}  // namespace uzswap
