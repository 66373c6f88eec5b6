// SPDX-License-Identifier: Apache-2.0
#include "pager/patience.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

TEST(Patience, EndsAndDoesNotComeBackAtOnce) {
  Patience patience;
  uint32_t now = 1000;
  for (; now < 1000 + Patience::kWaitMs; now += 10) {
    EXPECT_TRUE(patience.Waits(now));
  }
  const uint32_t lost = now;
  for (; now < lost + Patience::kNoneMs; now += 10) {
    EXPECT_FALSE(patience.Waits(now));
  }
  EXPECT_TRUE(patience.Waits(now + 2));
}

TEST(Patience, IsWholeAgainWhenThereWasRoom) {
  Patience patience;
  EXPECT_TRUE(patience.Waits(1000));
  EXPECT_TRUE(patience.Waits(1090));
  const uint32_t later = 1000 + Patience::kWaitMs + Patience::kGapMs;
  EXPECT_TRUE(patience.Waits(later));
  EXPECT_TRUE(patience.Waits(later + Patience::kGapMs / 2));
}

TEST(Patience, SurvivesTheEndOfTheClock) {
  Patience patience;
  uint32_t now = UINT32_MAX - 100;
  const uint32_t begin = now;
  for (; now - begin < Patience::kWaitMs; now += 10) {
    EXPECT_TRUE(patience.Waits(now));
  }
  EXPECT_FALSE(patience.Waits(now));
}

}  // namespace
}  // namespace uzswap
