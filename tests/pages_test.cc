// SPDX-License-Identifier: Apache-2.0
// The page generators keep what their header promises: other tests lean on it.
#include "support/pages.h"

#include <gtest/gtest.h>
#include <lz4.h>

#include <array>
#include <cstring>
#include <set>

namespace uzswap::testing {
namespace {

using PageBytes = std::array<std::byte, kPageSize>;

int Lz4Bytes(const PageBytes& page) {
  std::array<char, 2 * kPageSize> out;
  return LZ4_compress_default(reinterpret_cast<const char*>(page.data()),
                              out.data(), kPageSize,
                              static_cast<int>(out.size()));
}

TEST(Pages, EqualSeedsGiveEqualPages) {
  for (auto fill : {FillRandom, FillText, FillHeap, FillMixed}) {
    PageBytes a, b, c;
    a.fill(std::byte{0xaa});
    b.fill(std::byte{0x55});
    fill(a, 7);
    fill(b, 7);
    fill(c, 8);
    EXPECT_EQ(a, b);
    EXPECT_NE(a, c);
  }
}

TEST(Pages, AreTheSameOnEveryMachine) {
  PageBytes page;
  FillZero(page);
  EXPECT_EQ(Fingerprint(page), 0x2de3323fab8f4e51u);
  FillText(page, 1);
  EXPECT_EQ(Fingerprint(page), 0xcb54dce7080df274u);
}

TEST(Pages, SameFilledRepeatsItsWord) {
  PageBytes page;
  FillSame(page, 0x0123456789abcdef);
  EXPECT_EQ(memcmp(page.data(), page.data() + 8, kPageSize - 8), 0);
  EXPECT_EQ(std::to_integer<int>(page[0]), 0xef);
}

TEST(Pages, CompressAsTheyPromise) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    PageBytes page;
    FillRandom(page, seed);
    EXPECT_GE(Lz4Bytes(page), static_cast<int>(kPageSize));
    FillText(page, seed);
    EXPECT_GT(Lz4Bytes(page), static_cast<int>(kPageSize) / 3);
    EXPECT_LT(Lz4Bytes(page), static_cast<int>(kPageSize) * 2 / 3);
    FillHeap(page, seed);
    EXPECT_LT(Lz4Bytes(page), static_cast<int>(kPageSize) * 3 / 4);
    FillPartlyRandom(page, seed, 1000);
    EXPECT_GE(Lz4Bytes(page), 1000);
    EXPECT_LT(Lz4Bytes(page), 1100);
  }
}

TEST(Pages, MixedHasEveryKind) {
  int same = 0;
  int poor = 0;
  int good = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    PageBytes page;
    FillMixed(page, seed);
    const bool filled =
        memcmp(page.data(), page.data() + 8, kPageSize - 8) == 0;
    const bool random = Lz4Bytes(page) >= static_cast<int>(kPageSize);
    same += filled;
    poor += random;
    good += !filled && !random;
  }
  EXPECT_NEAR(same, 200, 60);
  EXPECT_NEAR(poor, 100, 40);
  EXPECT_GT(good, 600);
}

TEST(Pages, FingerprintsTellPagesApart) {
  std::set<uint64_t> seen;
  PageBytes page;
  FillRandom(page, 1);
  seen.insert(Fingerprint(page));
  for (size_t i = 0; i < kPageSize; ++i) {
    page[i] ^= std::byte{1};
    EXPECT_TRUE(seen.insert(Fingerprint(page)).second) << i;
    page[i] ^= std::byte{1};
  }
}

}  // namespace
}  // namespace uzswap::testing
