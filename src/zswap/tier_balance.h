// SPDX-License-Identifier: Apache-2.0
// How the memory is shared between resident pages and the pool, driven by what
// refaults cost. A frame more for the pool keeps as many pages off the device
// as it packs; a frame more for resident pages keeps one out of the pool. What
// either would have saved in the last period is estimated from how often a page
// of that tier was loaded, on average, and what that took:
//
//   pool:      pages in a frame × time of device loads / pages on the device
//   resident:  time of pool loads / pages in the pool
//
// The share takes a step towards the larger one if that is more than three
// times the other; in between it stays. Where all is well on one side of a
// cliff (a working set that just fits) it tries the other side more and more
// rarely. (After the kernel's refault costs, mm/workingset.c and
// get_scan_count; and ARC.)
//
// Threads: one at a time (the caller's try-lock); share() any.
#ifndef UZSWAP_ZSWAP_TIER_BALANCE_H_
#define UZSWAP_ZSWAP_TIER_BALANCE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/page.h"

namespace uzswap {

// What happened in a period, and what there is at its end. Time in any unit.
struct TierCosts {
  uint64_t pool_loads;
  uint64_t pool_time;
  uint64_t device_loads;
  uint64_t device_time;
  PageCount in_pool;      // pages
  PageCount on_device;    // pages
  PageCount pool_frames;  // that hold in_pool
};

// Invariant: kLeast <= share() <= kMost.
class TierBalance {
 public:
  static constexpr unsigned kLeast = 20;  // percent
  static constexpr unsigned kMost = 80;
  static constexpr unsigned kStep = 2;
  // Fewer loads say nothing; the period goes on.
  static constexpr uint64_t kLeastLoads = 512;

  explicit TierBalance(unsigned share)
      : share_(std::clamp(share, kLeast, kMost)) {}

  unsigned share() const { return share_.load(std::memory_order_relaxed); }

  static bool Enough(const TierCosts& costs) {
    return costs.pool_loads + costs.device_loads >= kLeastLoads;
  }

  // REQUIRES: Enough. True: the share has changed.
  bool Step(const TierCosts& costs) {
    const uint64_t more = GainOfPool(costs);
    const uint64_t less = GainOfResident(costs);
    const unsigned before = share();
    if (wait_ > 0) --wait_;
    if (more > kHysteresis * less && before < kMost) {
      // Down was a mistake: longer and longer until the next attempt.
      if (went_down_)
        wait_ = patience_ = std::min(2 * patience_, kMostPatience);
      went_down_ = false;
      share_.store(std::min(before + kStep, kMost), std::memory_order_relaxed);
    } else if (less > kHysteresis * more && before > kLeast && wait_ == 0) {
      if (went_down_) patience_ = std::max(patience_ / 2, 1u);
      went_down_ = true;
      share_.store(std::max(before - kStep, kLeast), std::memory_order_relaxed);
    }
    return share() != before;
  }

 private:
  static constexpr uint64_t kHysteresis = 3;
  static constexpr unsigned kMostPatience = 64;  // periods
  // Fractions are kept: times are thousands of cycles, pages up to millions.
  static constexpr uint64_t kScale = 1024;

  // A device load would have been a pool load.
  static uint64_t GainOfPool(const TierCosts& c) {
    if (c.on_device == 0 || c.pool_frames == 0) return 0;
    const uint64_t pool_each =
        c.pool_loads == 0 ? 0 : c.pool_time / c.pool_loads;
    const uint64_t net =
        c.device_time - std::min(c.device_time, pool_each * c.device_loads);
    return net / c.on_device * kScale * c.in_pool / c.pool_frames +
           net % c.on_device * kScale / c.on_device * c.in_pool / c.pool_frames;
  }
  static uint64_t GainOfResident(const TierCosts& c) {
    if (c.in_pool == 0) return 0;
    return c.pool_time / c.in_pool * kScale +
           c.pool_time % c.in_pool * kScale / c.in_pool;
  }

  std::atomic<unsigned> share_;
  bool went_down_ = false;  // the last step
  unsigned patience_ = 1;
  unsigned wait_ = 0;  // periods without a step down
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_TIER_BALANCE_H_
