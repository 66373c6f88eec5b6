// SPDX-License-Identifier: Apache-2.0
#include "pager/prefetch.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

TEST(Prefetch, WindowsDoubleAlongAStream) {
  Prefetcher prefetcher;
  uint64_t at = 1000;
  uint64_t expected = 1;
  for (int i = 0; i < 10; ++i) {
    const PrefetchWindow window = prefetcher.Next(Slot{at});
    EXPECT_EQ(window.pages, expected);
    EXPECT_FALSE(window.down);
    at += window.pages;
    expected = std::min(Prefetcher::kMaxPages, expected * 2);
  }
}

TEST(Prefetch, StreamsRunDownwardsToo) {
  Prefetcher prefetcher;
  uint64_t at = 100000;
  for (int i = 0; i < 10; ++i) {
    const PrefetchWindow window = prefetcher.Next(Slot{at});
    EXPECT_EQ(window.down, i > 0);
    EXPECT_EQ(window.pages == Prefetcher::kMaxPages, i >= 5) << i;
    at -= window.pages;
  }
}

TEST(Prefetch, HolesDoNotBreakAStream) {
  Prefetcher prefetcher;
  uint64_t at = 5000;
  uint64_t last = 0;
  for (int i = 0; i < 12; ++i) {
    last = prefetcher.Next(Slot{at}).pages;
    at += last + 3;  // three pages were resident already
  }
  EXPECT_EQ(last, Prefetcher::kMaxPages);
}

TEST(Prefetch, RandomFaultsBringOnePage) {
  Prefetcher prefetcher;
  uint64_t state = 1;
  uint64_t pages = 0;
  for (int i = 0; i < 1000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    pages += prefetcher.Next(Slot{state >> 34}).pages;
  }
  EXPECT_LT(pages, 1010u);
}

TEST(Prefetch, StreamsInterleave) {
  Prefetcher prefetcher;
  uint64_t at[8];
  for (uint64_t i = 0; i < 8; ++i) at[i] = (i + 1) << 20;
  uint64_t last = 0;
  for (int round = 0; round < 10; ++round) {
    for (uint64_t& stream : at) {
      last = prefetcher.Next(Slot{stream}).pages;
      stream += last;
    }
  }
  EXPECT_EQ(last, Prefetcher::kMaxPages);
}

}  // namespace
}  // namespace uzswap
