// SPDX-License-Identifier: Apache-2.0
#include "pager/patience.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

// Asks every `step` milliseconds until it is refused; how long that took.
uint32_t WaitAll(Patience& patience, uint32_t now, uint32_t step) {
  const uint32_t begin = now;
  while (patience.Waits(now)) {
    now += step;
    if (now - begin > 100 * Patience::kWaitMs) return UINT32_MAX;
  }
  return now - begin;
}

TEST(Patience, EndsAndDoesNotComeBackAtOnce) {
  Patience patience;
  const uint32_t took = WaitAll(patience, 1000, 10);
  EXPECT_GE(took, Patience::kWaitMs);
  EXPECT_LE(took, Patience::kWaitMs + 20);
  uint32_t now = 1000 + took;
  for (int32_t i = 0; i < Patience::kNoneMs; i += 10, now += 10) {
    EXPECT_FALSE(patience.Waits(now));
  }
  EXPECT_TRUE(patience.Waits(now + 2));
}

TEST(Patience, EndsHoweverSlowlyItIsAskedFor) {
  for (const uint32_t step : {1u, 99u, 101u, 500u, 1999u}) {
    Patience patience;
    EXPECT_LE(WaitAll(patience, 1000, step),
              std::max(7u * step, Patience::kWaitMs + 2 * step))
        << step;
  }
}

TEST(Patience, EndsWithThreadsThatAskAtOneMoment) {
  Patience patience;
  uint32_t now = 1000;
  bool waits = true;
  for (; waits && now < 3000; now += 10) {
    for (const uint32_t clock : {now, now, now + 1, now - 1}) {
      waits &= patience.Waits(clock);
    }
  }
  EXPECT_LE(now, 1000 + Patience::kWaitMs + 50);
}

TEST(Patience, IsWholeAgainWhenThereWasRoom) {
  Patience patience;
  for (uint32_t now = 1000; now < 3000; now += 10) {
    EXPECT_TRUE(patience.Waits(now));
    if (now % 400 == 0) patience.FoundRoom();
  }
}

TEST(Patience, SurvivesTheEndOfTheClock) {
  Patience patience;
  const uint32_t took = WaitAll(patience, UINT32_MAX - 100, 10);
  EXPECT_GE(took, Patience::kWaitMs);
  EXPECT_LE(took, Patience::kWaitMs + 20);
}

}  // namespace
}  // namespace uzswap
