// SPDX-License-Identifier: Apache-2.0
#include "pager/promotion.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

constexpr uint64_t kSecondNs = 1000000000;
constexpr PageCount kPages = 100000;  // 0.2 % of it in a minute: 200 pages

class PromotionTargetTest : public testing::Test {
 protected:
  PageCount At(uint64_t second, PageCount promoted) {
    return target_.Allowance(1000 * kSecondNs + second * kSecondNs, kPages,
                             promoted);
  }
  PromotionTarget target_;
};

TEST_F(PromotionTargetTest, GrowsWhileNothingComesBack) {
  EXPECT_EQ(At(0, 0), 64u);
  PageCount before = 0;
  for (uint64_t s = 1; s < 60; ++s) {
    const PageCount allowed = At(s, 0);
    EXPECT_GE(allowed, before);
    EXPECT_LE(allowed, kPages / 64) << "not all of it within a minute";
    target_.NoteEvicted(allowed, allowed);
    before = allowed;
  }
  EXPECT_EQ(before, kPages / 64);
}

TEST_F(PromotionTargetTest, DoesNotGrowWithoutWork) {
  for (uint64_t s = 0; s < 60; ++s) {
    EXPECT_EQ(At(s, 0), 64u);
    target_.NoteEvicted(0, 64);
  }
}

TEST_F(PromotionTargetTest, MorePromotionsThanTheTargetStopIt) {
  EXPECT_GT(At(0, 0), 0u);
  EXPECT_GT(At(1, 200), 0u) << "that is what is allowed";
  EXPECT_EQ(At(1, 210), 0u);
  EXPECT_EQ(At(2, 210), 0u) << "and it is not forgotten at once";
  EXPECT_EQ(At(10, 210), 64u) << "3 pages a second are paid off";
}

TEST_F(PromotionTargetTest, InTheLongRunTheTargetIsKept) {
  PageCount promoted = 0;
  // Everything that is evicted comes back.
  for (uint64_t s = 0; s < 3600; ++s) {
    const PageCount allowed = At(s, promoted);
    promoted += allowed;
    target_.NoteEvicted(allowed, allowed);
  }
  EXPECT_LE(promoted, 60 * 200 + 400u);
  EXPECT_GE(promoted, 60 * 200 * 9 / 10u);
}

TEST_F(PromotionTargetTest, OneMistakeIsForgivenAfterSomeMinutes) {
  EXPECT_EQ(At(0, 50000), 0u);
  EXPECT_EQ(At(8 * 60, 50000), 0u);
  EXPECT_GT(At(10 * 60, 50000), 0u);
}

TEST_F(PromotionTargetTest, OtherTargets) {
  target_.Set(10000);
  EXPECT_GT(At(0, kPages), 0u) << "all of it, once in a minute";
  target_.Set(0);
  EXPECT_EQ(At(0, kPages), 0u) << "the default again";
}

}  // namespace
}  // namespace uzswap
