// SPDX-License-Identifier: Apache-2.0
#include "pager/stall.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace uzswap {
namespace {

constexpr uint64_t kSecondNs = 1000000000;
constexpr uint64_t kSecond = 3000000000;  // in cycles, of a CPU of 3 GHz

TEST(StallClock, StallsThatOverlapCountOnce) {
  StallClock clock;
  clock.Enter(1000);
  clock.Enter(1500);
  clock.Leave(2000);
  EXPECT_EQ(clock.Total(2500), 1500u) << "one goes on";
  clock.Leave(3000);
  EXPECT_EQ(clock.Total(9000), 2000u);
  clock.Enter(9000);
  clock.Leave(9100);
  EXPECT_EQ(clock.Total(9999), 2100u);
}

TEST(StallClock, ACounterThatIsBehindOnAnotherCpuAddsNothing) {
  StallClock clock;
  clock.Enter(1000);
  EXPECT_EQ(clock.Total(990), 0u);
  clock.Leave(990);
  EXPECT_EQ(clock.Total(2000), 0u);
}

// A quarter of each second is stalled.
void RunFor(StallClock* clock, uint64_t from, uint64_t seconds) {
  for (uint64_t s = from; s < from + seconds; ++s) {
    clock->Enter(s * kSecond);
    clock->Leave(s * kSecond + kSecond / 4);
    clock->Update((s + 1) * kSecondNs, (s + 1) * kSecond);
  }
}

TEST(StallClock, AveragesApproachTheShareAtTheirOwnPace) {
  StallClock clock;
  clock.Start(0, 0);
  RunFor(&clock, 0, 10);
  // 25 % · (1 - e^-1), 25 % · (1 - e^(-1/6)), in hundredths of a percent
  EXPECT_NEAR(clock.averages().ten_seconds, 1580, 3);
  EXPECT_NEAR(clock.averages().minute, 384, 3);
  RunFor(&clock, 10, 290);
  EXPECT_NEAR(clock.averages().ten_seconds, 2500, 3);
  EXPECT_NEAR(clock.averages().minute, 2483, 4);
}

TEST(StallClock, AveragesOfAQuietTimeDecayAtTheNextLook) {
  StallClock clock;
  clock.Start(0, 0);
  RunFor(&clock, 0, 100);
  clock.Update(110 * kSecondNs, 110 * kSecond);
  EXPECT_NEAR(clock.averages().ten_seconds, 2500 / 2.71828, 4);
  // Years later, not a bit is left, and nothing overflows.
  clock.Update(uint64_t{1} << 58, uint64_t{3} << 58);
  EXPECT_EQ(clock.averages().ten_seconds, 0u);
  EXPECT_EQ(clock.averages().minute, 0u);
}

TEST(StallClock, AllTheTimeIsAHundredPercentAndNeverMore) {
  StallClock clock;
  clock.Start(0, 0);
  clock.Enter(0);
  for (uint64_t s = 2; s <= 600; s += 2) {
    clock.Update(s * kSecondNs, s * kSecond);
  }
  EXPECT_NEAR(clock.averages().ten_seconds, StallClock::kAlways, 2);
  EXPECT_LE(clock.averages().minute, StallClock::kAlways);
}

TEST(StallClock, AChildStartsAnew) {
  StallClock clock;
  clock.Start(0, 0);
  RunFor(&clock, 0, 20);
  clock.Enter(20 * kSecond);
  clock.ResetInChild(21 * kSecondNs, 21 * kSecond);
  EXPECT_EQ(clock.Total(30 * kSecond), 0u);
  EXPECT_EQ(clock.averages().ten_seconds, 0u);
}

TEST(StallClock, ThreadsLeaveNothingBehind) {
  StallClock clock;
  std::vector<std::thread> threads;
  const uint64_t begin = os::Cycles();
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&clock] {
      for (int i = 0; i < 20000; ++i) {
        const ScopedStall stall(clock, os::Cycles());
        if (i % 4 == 0) clock.Update(os::MonotonicNs(), os::Cycles());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const uint64_t end = os::Cycles();
  // Threads that are interrupted at the very edge may count twice.
  EXPECT_LE(clock.Total(end), (end - begin) * 11 / 10);
  EXPECT_EQ(clock.Total(end), clock.Total(end + kSecond)) << "nobody is in";
}

}  // namespace
}  // namespace uzswap
