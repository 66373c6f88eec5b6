// SPDX-License-Identifier: Apache-2.0
#include "zswap/shrinker.h"

#include <gtest/gtest.h>

#include "zswap/parameters.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

TEST(ShrinkerTest, WhatCompressesWellIsOfferedLess) {
  DynamicShrinker shrinker;
  EXPECT_EQ(shrinker.Count(0, 10), 0u);
  EXPECT_EQ(shrinker.Count(1000, 1000), 1000u);
  EXPECT_EQ(shrinker.Count(1000, 250), 250u);
  EXPECT_EQ(shrinker.Count(uint64_t{1} << 31, uint64_t{1} << 30),
            uint64_t{1} << 30);
}

TEST(ShrinkerTest, EachSwapInFromTheDeviceProtectsOneEntryOnce) {
  DynamicShrinker shrinker;
  for (int i = 0; i < 1500; ++i) shrinker.NoteDiskSwapIn();
  EXPECT_EQ(shrinker.Count(1000, 500), 0u);
  EXPECT_EQ(shrinker.disk_swapins(), 500u);
  EXPECT_EQ(shrinker.Count(1000, 500), 250u);
  EXPECT_EQ(shrinker.disk_swapins(), 0u);
  EXPECT_EQ(shrinker.Count(1000, 500), 500u);
}

TEST(ShrinkerTest, TheShareIsThatOfTheFirstPriorityAndFractionsAddUp) {
  DynamicShrinker shrinker;
  PageCount visits = 0;
  for (int i = 0; i < 2048; ++i) visits += shrinker.ToScan(300, 32);
  EXPECT_EQ(visits, 300u);
  EXPECT_EQ(shrinker.ToScan(10 * 2048, 32), 10u);
  EXPECT_EQ(shrinker.ToScan(100 * 2048, 32), 32u);
  EXPECT_EQ(shrinker.ToScan(1, 32), 2u);  // twice what there is, at most
  EXPECT_EQ(shrinker.ToScan(0, 32), 0u);
}

class ShrinkerInEngine : public testing::Test {
 protected:
  ShrinkerInEngine() {
    engine_.zswap->parameters().shrinker_enabled = true;
    for (uint64_t slot = 0; slot < kPages; ++slot) {
      EXPECT_TRUE(engine_.Store(slot, 1).ok());
    }
  }
  PageCount Press(int times) {
    PageCount gone = 0;
    for (int i = 0; i < times; ++i)
      gone += engine_.zswap->ShrinkUnderPressure();
    return gone;
  }

  static constexpr uint64_t kPages = 500;
  Engine engine_{{.device_pages = 1000}};
};

// B26: marks are taken first; a page goes at its second visit.
TEST_F(ShrinkerInEngine, TheFirstRoundTakesNothingFresh) {
  const PageCount pool = engine_.zswap->Stats().pool_pages;
  const int round = static_cast<int>(kPages * 2048 / pool);
  EXPECT_EQ(Press(round - 10), 0u);
  EXPECT_GE(Press(round), kPages / 2);
}

TEST_F(ShrinkerInEngine, SwapInsFromTheDeviceHoldItBack) {
  ASSERT_EQ(engine_.zswap->Shrink(200), 200u);
  // Each protects one of the 300 that are left, at one call.
  for (uint64_t slot = 0; slot < 200; ++slot) {
    PageBuffer page;
    ASSERT_TRUE(engine_.zswap->Load(Slot{slot}, page, Keep::kFree).ok());
  }
  const uint64_t before = engine_.zswap->Stats().disk_swapins;
  EXPECT_EQ(before, 200u);
  (void)Press(1);
  EXPECT_EQ(engine_.zswap->Stats().disk_swapins, 0u);
}

}  // namespace
}  // namespace uzswap
