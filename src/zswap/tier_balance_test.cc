// SPDX-License-Identifier: Apache-2.0
// The balance on synthetic programs: pages by popularity, the most popular ones
// resident, then the pool, then the device.
#include "zswap/tier_balance.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include "zswap/parameters.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

class Program {
 public:
  Program(PageCount pages, PageCount memory, double exponent)
      : memory_(static_cast<double>(memory)), sums_(pages + 1) {
    for (PageCount i = 0; i < pages; ++i) {
      sums_[i + 1] = sums_[i] + std::pow(static_cast<double>(i + 1), -exponent);
    }
  }
  double ratio = 3;
  double pool_us = 3;
  double device_us = 60;

  // Of 100,000 accesses.
  TierCosts At(unsigned share) const {
    const double frames = memory_ * share / 100;
    const double resident = memory_ - frames;
    const double in_pool =
        std::min(frames * ratio, static_cast<double>(pages()) - resident);
    const double pool = Share(resident, resident + in_pool) * 1e5;
    const double device =
        Share(resident + in_pool, static_cast<double>(pages())) * 1e5;
    const auto n = [](double v) { return static_cast<uint64_t>(v); };
    return {n(pool),    n(pool * pool_us * 2000),
            n(device),  n(device * device_us * 2000),
            n(in_pool), n(static_cast<double>(pages()) - resident - in_pool),
            n(frames)};
  }
  double Cost(unsigned share) const {
    const TierCosts c = At(share);
    return static_cast<double>(c.pool_time + c.device_time);
  }
  double BestCost() const {
    double best = Cost(TierBalance::kLeast);
    for (unsigned s = TierBalance::kLeast; s <= TierBalance::kMost; ++s) {
      best = std::min(best, Cost(s));
    }
    return best;
  }

 private:
  size_t pages() const { return sums_.size() - 1; }
  double Share(double from, double to) const {
    const auto at = [&](double i) {
      return sums_[std::min(static_cast<size_t>(i), pages())];
    };
    return (at(to) - at(from)) / sums_.back();
  }

  double memory_;
  std::vector<double> sums_;
};

struct Way {
  unsigned end;
  int turns;  // changes of direction
};

Way Follow(const Program& program, unsigned begin, double noise) {
  TierBalance balance(begin);
  std::mt19937 random(3);
  std::uniform_real_distribution<double> factor(1 - noise, 1 + noise);
  int direction = 0;
  int turns = 0;
  for (int i = 0; i < 400; ++i) {
    TierCosts costs = program.At(balance.share());
    const auto disturb = [&](uint64_t& v) {
      v = static_cast<uint64_t>(static_cast<double>(v) * factor(random));
    };
    disturb(costs.pool_time);
    disturb(costs.device_time);
    const unsigned before = balance.share();
    if (!balance.Step(costs)) continue;
    const int now = balance.share() > before ? 1 : -1;
    turns += direction != 0 && now != direction;
    direction = now;
  }
  return {balance.share(), turns};
}

TEST(TierBalanceTest, ItComesToRestNearTheBestShare) {
  for (const double exponent : {0.0, 0.5, 0.9, 1.2}) {
    for (const double device_us : {5.0, 60.0, 2000.0}) {
      for (const unsigned begin : {20u, 50u, 80u}) {
        Program program(100000, 40000, exponent);
        program.device_us = device_us;
        const Way way = Follow(program, begin, 0.2);
        EXPECT_LE(program.Cost(way.end), 1.5 * program.BestCost())
            << exponent << " " << device_us << " from " << begin << ": "
            << way.end;
        EXPECT_LE(program.Cost(way.end), 1.1 * program.Cost(50))
            << exponent << " " << device_us << " from " << begin << ": "
            << way.end;
        EXPECT_LE(way.turns, 24) << exponent << " " << device_us;
      }
    }
  }
}

// Everything fits into the pool: the device costs nothing, so nothing more is
// needed than what it holds.
TEST(TierBalanceTest, WithoutLoadsFromTheDeviceThePoolDoesNotGrow) {
  TierBalance balance(50);
  for (int i = 0; i < 100; ++i) {
    (void)balance.Step({.pool_loads = 1000,
                        .pool_time = 1000000,
                        .device_loads = 0,
                        .device_time = 0,
                        .in_pool = 5000,
                        .on_device = 100,
                        .pool_frames = 2000});
    EXPECT_LE(balance.share(), 50u);
  }
}

TEST(TierBalanceTest, ItStaysWithinItsBounds) {
  TierBalance high(100);
  EXPECT_EQ(high.share(), TierBalance::kMost);
  const TierCosts device{.pool_loads = 0,
                         .pool_time = 0,
                         .device_loads = 1000,
                         .device_time = ~uint64_t{0} >> 12,
                         .in_pool = 10,
                         .on_device = 100000,
                         .pool_frames = 10};
  for (int i = 0; i < 100; ++i) (void)high.Step(device);
  EXPECT_EQ(high.share(), TierBalance::kMost);
  TierBalance low(1);
  EXPECT_EQ(low.share(), TierBalance::kLeast);
  const TierCosts none{};
  EXPECT_FALSE(low.Step(none));
  EXPECT_FALSE(TierBalance::Enough(none));
}

// Loads from a slow device make the pool larger, until somebody sets its share.
TEST(TierBalanceTest, TheEngineFollowsItUntilTheShareIsSet) {
  Engine engine({.total_pages = 400,
                 .max_pool_percent = 50,
                 .device_pages = 4000,
                 .balance_tiers = true});
  engine.device->delay_us = 20;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  unsigned percent = 50;
  for (uint64_t i = 0; percent == 50; ++i) {
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    const uint64_t slot = i % 2000;
    ASSERT_TRUE(i < 2000 || engine.LoadIs(slot, 1));
    ASSERT_TRUE(engine.Store(slot, 1).ok());
    if (i % 64 != 0) continue;
    engine.zswap->Tend();
    percent = engine.zswap->Stats().pool_percent;
  }
  EXPECT_EQ(percent, 52u);
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_GT(stats.device_load_ns / stats.device_in, 20000u);
  engine.zswap->parameters().max_pool_percent = 30;
  engine.zswap->ParametersChanged();
  EXPECT_EQ(engine.zswap->Stats().pool_percent, 30u);
}

}  // namespace
}  // namespace uzswap
