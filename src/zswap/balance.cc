// SPDX-License-Identifier: Apache-2.0
// Feeds the balance of the tiers (tier_balance.h) and puts its share into
// effect, as long as the user has not chosen one.
#include "zswap/zswap_impl.h"

namespace uzswap {

TierCosts Zswap::Impl::CostsSoFar() {
  return {.pool_loads = events.Sum(Event::zswpin),
          .pool_time = events.Sum(Event::pool_load_cycles),
          .device_loads = events.Sum(Event::device_in),
          .device_time = events.Sum(Event::device_load_cycles),
          .in_pool = gauges.Sum(Gauge::kCompressed) + gauges.Sum(Gauge::kRaw),
          .on_device = gauges.Sum(Gauge::kOnDevice),
          .pool_frames = PoolPages()};
}

// Once a second at most. A pool that is not full needs no other share.
void Zswap::Impl::BalanceTiers() {
  if (!balancing.load(std::memory_order_relaxed)) return;
  const Seconds now = seconds.Now();
  if (balance_busy.exchange(true, std::memory_order_acquire)) return;
  if (now != balanced_at) {
    balanced_at = now;
    TierCosts costs = CostsSoFar();
    const TierCosts before = costs_before;
    costs_before = costs;
    costs.pool_loads -= before.pool_loads;
    costs.pool_time -= before.pool_time;
    costs.device_loads -= before.device_loads;
    costs.device_time -= before.device_time;
    if (parameters.WasSet("max_pool_percent")) {
      balancing.store(false, std::memory_order_relaxed);
      ParametersChanged();
    } else if (!TierBalance::Enough(costs)) {
      costs_before = before;  // the period goes on
    } else if (costs.pool_frames >= limit.accept() * 9 / 10 &&
               balance.Step(costs)) {
      ParametersChanged();
    }
  }
  balance_busy.store(false, std::memory_order_release);
}

void Zswap::Impl::ParametersChanged() {
  limit.SetPercent(balancing.load(std::memory_order_relaxed)
                       ? balance.share()
                       : parameters.max_pool_percent.load(),
                   parameters.accept_threshold_percent);
}

}  // namespace uzswap
