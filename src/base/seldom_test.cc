// SPDX-License-Identifier: Apache-2.0
#include "base/seldom.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

TEST(Seldom, WhatTookLongIsNotDoneAgainSoon) {
  Seldom seldom;
  ASSERT_TRUE(seldom.Begin(1000));
  seldom.End(1000, 1010);
  EXPECT_FALSE(seldom.Begin(1010 + 10 * Seldom::kShare - 1));
  EXPECT_TRUE(seldom.Begin(1010 + 10 * Seldom::kShare));
}

TEST(Seldom, WhatIsCheapIsDoneAtAnyTime) {
  Seldom seldom;
  ASSERT_TRUE(seldom.Begin(1000));
  seldom.End(1000, 1010);
  EXPECT_TRUE(seldom.Begin(1011, /*cheap=*/true));
}

TEST(Seldom, OneAtATimeDoesIt) {
  Seldom seldom;
  ASSERT_TRUE(seldom.Begin(1000));
  EXPECT_FALSE(seldom.Begin(1000));
  EXPECT_FALSE(seldom.Begin(1000, /*cheap=*/true));
  seldom.ResetInChild();
  EXPECT_TRUE(seldom.Begin(1000));
}

}  // namespace
}  // namespace uzswap
