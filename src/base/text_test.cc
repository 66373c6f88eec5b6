// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

TEST(StartsWith, ComparesTheWholePrefix) {
  EXPECT_TRUE(StartsWith("[anon:glibc]", "[anon:"));
  EXPECT_TRUE(StartsWith("[heap]", "[heap]"));
  EXPECT_TRUE(StartsWith("anything", ""));
  EXPECT_FALSE(StartsWith("[anos:", "[anon:"));
}

TEST(StartsWith, AShorterTextIsNoMatch) {
  EXPECT_FALSE(StartsWith("", "x"));
  EXPECT_FALSE(StartsWith("[hea", "[heap]"));
  static_assert(!StartsWith("[hea", "[heap]"));
}

}  // namespace
}  // namespace uzswap
