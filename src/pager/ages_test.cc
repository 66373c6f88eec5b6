// SPDX-License-Identifier: Apache-2.0
#include "pager/ages.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace uzswap {
namespace {

constexpr uint64_t kSecondNs = 1000000000;
constexpr uint64_t kSecond = 3000000000;  // in cycles, of a CPU of 3 GHz
constexpr uint64_t kHour = 3600;

CycleClock::Moment At(uint64_t second) {
  return {second * kSecondNs, second * kSecond};
}

class AgesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(blocks_.Init().ok());
    clock_.Start(At(0));
  }
  void TearDown() override {
    blocks_.CheckInvariants();
    blocks_.Release();
  }
  void Come(BlockIndex block, PageMask pages, uint64_t second) {
    blocks_.SetNow(At(second).cycles);
    blocks_.Came(block, pages, BlockList::Arrival::kAhead);
  }
  std::vector<PageCount> Counts(uint64_t second) {
    AgeHistogram ages;
    ages.Count(blocks_, clock_, At(second));
    std::vector<PageCount> counts;
    for (size_t i = 0; i < AgeHistogram::kBuckets; ++i) {
      counts.push_back(ages.pages(i));
    }
    return counts;
  }
  BlockList blocks_;
  CycleClock clock_;
};

TEST_F(AgesTest, PagesAreCountedByTheLastUseOfTheirBlock) {
  const uint64_t now = 10 * kHour;
  Come(1, 1, now - 2 * kHour);
  Come(1000000, 3, now - 30 * 60);
  Come(2, 7, now - 5 * 60);
  Come(3, 15, now - 30);
  Come(4, 31, now - 5);
  Come(5, 63, now);
  EXPECT_EQ(Counts(now), (std::vector<PageCount>{6, 5, 4, 3, 2, 1}));
  // A page more makes all of them young.
  Come(1, 2, now);
  EXPECT_EQ(Counts(now), (std::vector<PageCount>{8, 5, 4, 3, 2, 0}));
}

TEST_F(AgesTest, EveryEvidenceMakesYoung) {
  Come(1, 1, 1);
  Come(2, 1, 1);
  Come(3, 1, 1);
  blocks_.SetNow(At(100).cycles);
  blocks_.Used(1, 1, /*leaving=*/false);
  blocks_.Touch(2);
  EXPECT_EQ(Counts(100), (std::vector<PageCount>{2, 0, 0, 1, 0, 0}));
}

TEST_F(AgesTest, WhatLeftIsNotCounted) {
  Come(1, 3, 1);
  Come(2, 3, 1);
  ASSERT_TRUE(blocks_.Take(1));
  blocks_.Went(1, 3);
  blocks_.Return(1);
  blocks_.Forgot(2, 1);
  const std::vector<PageCount> counts = Counts(2);
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), PageCount{0}), 1u);
}

TEST_F(AgesTest, CountingTakesASmallPartOfTheTime) {
  for (BlockIndex i = 0; i < 20000; ++i) Come(i, 1, 1);
  AgeHistogram ages;
  const CycleClock::Moment now = CycleClock::Now();
  ages.Count(blocks_, clock_, now);
  const uint64_t took = os::Cycles() - now.cycles;
  Come(20000, 1, 1);
  ages.Count(blocks_, clock_, {now.ns, now.cycles + took});
  PageCount all = 0;
  for (size_t i = 0; i < AgeHistogram::kBuckets; ++i) all += ages.pages(i);
  EXPECT_EQ(all, 20000u) << "it counted again at once";
  ages.Count(blocks_, clock_, {now.ns, now.cycles + 102 * took});
  all = 0;
  for (size_t i = 0; i < AgeHistogram::kBuckets; ++i) all += ages.pages(i);
  EXPECT_EQ(all, 20001u);
}

TEST(CycleClock, BothWaysAndForMonths) {
  CycleClock clock;
  clock.Start({0, 0});
  const uint64_t months = 100ull * 24 * kHour;
  EXPECT_NEAR(static_cast<double>(clock.ToNs(kSecond * 60, At(months))), 60e9,
              60e5);
  EXPECT_NEAR(static_cast<double>(clock.ToCycles(kSecondNs * 60, At(1))), 180e9,
              180e6);
}

}  // namespace
}  // namespace uzswap
