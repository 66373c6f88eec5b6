// SPDX-License-Identifier: Apache-2.0
#include "zpool/zsmalloc_area.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "zpool/failure.h"

namespace uzswap {
namespace {

class ZsmallocAreaTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(area_.Init(kLimit).ok()); }
  void TearDown() override { area_.Release(); }

  Status Grow(Zspage& z, unsigned frames) {
    const Status status = area_.Populate(z, frames);
    if (status.ok()) z.frames = static_cast<uint8_t>(frames);
    return status;
  }
  // A run with all its frames, each written.
  ZspageId TakeFull(unsigned pages) {
    const Result<ZspageId> id = area_.Take(pages);
    if (!id.ok()) return 0;
    Zspage& z = area_[id.value()];
    if (z.frames < pages) {
      EXPECT_TRUE(Grow(z, pages).ok());
    }
    memset(area_.At(z.first_page * kUnitsPerPage), 0xee, pages * kPageSize);
    return id.value();
  }

  static constexpr PageCount kLimit = 4096;
  ZsmallocArea area_;
};

TEST_F(ZsmallocAreaTest, ARunHasNoFramesUntilTheyAreAskedFor) {
  Zspage& z = area_[area_.Take(8).value()];
  EXPECT_EQ(z.frames, 0u);
  EXPECT_EQ(area_.frames(), 0u);
  ASSERT_TRUE(Grow(z, 3).ok());
  EXPECT_EQ(z.frames, 3u);
  EXPECT_EQ(area_.frames(), 3u);
  ASSERT_TRUE(Grow(z, 8).ok());
  EXPECT_EQ(area_.frames(), 8u);
  area_.CheckInvariants(1, 8);
}

TEST_F(ZsmallocAreaTest, EveryPlaceKnowsItsZspage) {
  const ZspageId a = TakeFull(3);
  const ZspageId b = TakeFull(5);
  for (const ZspageId id : {a, b}) {
    const Zspage& z = area_[id];
    for (uint32_t i = 0; i < z.pages * kUnitsPerPage; i += 100) {
      EXPECT_EQ(area_.ZspageAt(z.first_page * kUnitsPerPage + i), id);
    }
  }
  EXPECT_EQ(area_.ZspageAt((kLimit - 1) * kUnitsPerPage), 0u);
}

TEST_F(ZsmallocAreaTest, AFewFramesStayWarmAndTheRestGoesBack) {
  std::vector<ZspageId> runs;
  for (int i = 0; i < 500; ++i) runs.push_back(TakeFull(5));
  EXPECT_EQ(area_.frames(), 2500u);
  for (const ZspageId id : runs) area_.Give(id);
  EXPECT_LE(area_.frames(), 16u);
  area_.CheckInvariants(0, 0);
  // Dropped frames read as zeros; a warm run comes back with what it had.
  bool warm = false;
  bool cold = false;
  for (size_t i = 0; i < runs.size(); ++i) {
    Zspage& z = area_[area_.Take(5).value()];
    (z.frames > 0 ? warm : cold) = true;
    const std::byte expected{z.frames > 0 ? uint8_t{0xee} : uint8_t{0}};
    EXPECT_EQ(area_.At(z.first_page * kUnitsPerPage)[0], expected);
  }
  EXPECT_TRUE(warm);
  EXPECT_TRUE(cold);
}

TEST_F(ZsmallocAreaTest, AddressesAreReusedSoThatItNeverRunsOut) {
  for (PageCount i = 0; i < 3 * kLimit; ++i) {
    const ZspageId id = TakeFull(1 + i % 8);
    ASSERT_NE(id, 0u);
    area_.Give(id);
  }
  EXPECT_LE(area_.metadata_bytes(), 2 * kPageSize);
  area_.CheckInvariants(0, 0);
}

TEST_F(ZsmallocAreaTest, WhenAllIsCarvedLongRunsAreSplit) {
  std::vector<ZspageId> runs;
  while (const ZspageId id = TakeFull(8)) runs.push_back(id);
  EXPECT_EQ(runs.size(), kLimit / 8);
  EXPECT_EQ(area_.Take(8).error(), ENOMEM);
  EXPECT_EQ(area_.Take(1).error(), ENOMEM);
  area_.CheckInvariants(runs.size(), kLimit);
  for (const ZspageId id : runs) area_.Give(id);
  // Some runs are warm and keep their length.
  PageCount pages = 0;
  uint64_t taken = 0;
  while (TakeFull(3) != 0) {
    ++taken;
    pages += 3;
  }
  area_.CheckInvariants(taken, pages);
  EXPECT_GE(pages, (kLimit - 16) * 3 / 4);
  while (TakeFull(2) != 0) {
    ++taken;
    pages += 2;
  }
  area_.CheckInvariants(taken, pages);
  EXPECT_GE(pages, kLimit - 16);
}

#ifdef UZSWAP_TEST_HOOKS
TEST_F(ZsmallocAreaTest, RefusedFramesLeaveTheRunAsItWas) {
  Zspage& z = area_[area_.Take(4).value()];
  ASSERT_TRUE(Grow(z, 1).ok());
  zpool_failure::FailNth(1);
  EXPECT_EQ(Grow(z, 4).error(), ENOMEM);
  EXPECT_EQ(z.frames, 1u);
  area_.CheckInvariants(1, 1);
  EXPECT_TRUE(Grow(z, 4).ok());
}
#endif

}  // namespace
}  // namespace uzswap
