// SPDX-License-Identifier: Apache-2.0
// The pressure file, and who is told of it and of the limit, and when.
#include "cli/watch.h"

#include <gtest/gtest.h>

#include <vector>

#include "cli/fake_root_test_support.h"

namespace uzswap::cli {
namespace {

const std::string kOwn = "/sys/fs/cgroup/box/memory.pressure";
const std::string kMachine = "/proc/pressure/memory";

std::string Psi(const std::string& some) {
  return "some avg10=" + some +
         " avg60=99.00 avg300=99.00 total=1\n"
         "full avg10=98.00 avg60=99.00 avg300=99.00 total=1\n";
}

TEST(SomeAverage10, IsReadInHundredths) {
  EXPECT_EQ(SomeAverage10(Psi("0.00")), 0);
  EXPECT_EQ(SomeAverage10(Psi("1.99")), 199);
  EXPECT_EQ(SomeAverage10(Psi("100.00")), 10000);
  EXPECT_EQ(SomeAverage10("full avg10=7.00 x\nsome avg10=3.00 x\n"), 300);
}

TEST(SomeAverage10, WhatIsNoPressureIsNone) {
  for (const char* text :
       {"", "some", "some avg10=", "some avg10=x", "full avg10=5.00",
        "some avg10=-1.00", "some avg10=nan", "awesome avg10=5.00",
        "some avg10=101.00", "some avg10=5,00"}) {
    EXPECT_EQ(SomeAverage10(text), -1) << text;
  }
}

class WatchTest : public FakeRoot {
 protected:
  WatchTest() { UseV2("/box"); }
  PressureLevel Level(const std::string& some) {
    Write(kOwn, Psi(some));
    return Pressure(root_).Level();
  }
};

TEST_F(WatchTest, LevelsOfPressure) {
  EXPECT_EQ(Level("0.99"), PressureLevel::kNone);
  EXPECT_EQ(Level("1.00"), PressureLevel::kLow);
  EXPECT_EQ(Level("9.99"), PressureLevel::kLow);
  EXPECT_EQ(Level("10.00"), PressureLevel::kMedium);
  EXPECT_EQ(Level("40.00"), PressureLevel::kCritical);
}

TEST_F(WatchTest, TheOwnCgroupComesBeforeTheMachine) {
  EXPECT_FALSE(Pressure(root_).Present());
  Write(kMachine, Psi("50.00"));
  EXPECT_TRUE(Pressure(root_).Present());
  EXPECT_EQ(Pressure(root_).Level(), PressureLevel::kCritical);
  Write(kOwn, Psi("2.00"));
  EXPECT_EQ(Pressure(root_).Level(), PressureLevel::kLow);
  // Switched off: the file is there, and empty to us.
  Write(kOwn, "");
  EXPECT_EQ(Pressure(root_).Level(), PressureLevel::kCritical);
}

TEST_F(WatchTest, NothingToWatchWakesNobody) {
  Watch watch;
  watch.FollowPressure(Pressure(root_), [](PressureLevel) { FAIL(); });
  EXPECT_EQ(watch.timeout_ms(), -1);
  watch.Step();
}

TEST_F(WatchTest, ChangesAreToldOnceAndOnceASecondAtMost) {
  Write("/sys/fs/cgroup/box/memory.max", "134217728\n");
  Write(kOwn, Psi("0.00"));
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  std::vector<uint64_t> limits;
  std::vector<PressureLevel> levels;
  Watch watch;
  watch.FollowLimit(memory, [&](uint64_t bytes) { limits.push_back(bytes); });
  watch.FollowPressure(Pressure(root_),
                       [&](PressureLevel level) { levels.push_back(level); });
  EXPECT_EQ(levels, std::vector{PressureLevel::kNone});

  Watch::Clock::time_point now = Watch::Clock::now();
  watch.Step(now);
  EXPECT_EQ(watch.timeout_ms(now), 1000);
  EXPECT_TRUE(limits.empty());
  Write("/sys/fs/cgroup/box/memory.max", "268435456\n");
  Write(kOwn, Psi("12.00"));
  now += std::chrono::milliseconds(999);
  watch.Step(now);
  EXPECT_TRUE(limits.empty());
  EXPECT_EQ(watch.timeout_ms(now), 1);
  now += std::chrono::milliseconds(1);
  watch.Step(now);
  now += Watch::kPeriod;
  watch.Step(now);
  EXPECT_EQ(limits, std::vector{uint64_t{224} << 20});
  EXPECT_EQ(levels,
            (std::vector{PressureLevel::kNone, PressureLevel::kMedium}));
}

}  // namespace
}  // namespace uzswap::cli
