// SPDX-License-Identifier: Apache-2.0
// What z3fold promises beyond the contract that zpool_test.cc checks: the
// layout of a page, its lists, and when objects move.
#include "zpool/z3fold.h"

#include "zpool/fold_test_support.h"

namespace uzswap {
namespace {

class Z3fold : public FoldTest {
 protected:
  Z3fold() : FoldTest("z3fold") {}

  struct Three {
    FoldObject first;
    FoldObject last;
    FoldObject middle;
  };
  // A page of its own, in this order of allocation.
  Three Fill(unsigned first, unsigned last, unsigned middle) {
    const Three three{MakeChunks(first), MakeChunks(last), MakeChunks(middle)};
    EXPECT_EQ(PagesOf({three.first, three.last, three.middle}), 1u);
    return three;
  }
};

TEST_F(Z3fold, FirstBehindTheHeaderLastAtTheEndMiddleBehindTheFirst) {
  const Three three = Fill(10, 20, 5);
  EXPECT_EQ(ChunkOf(three.first), 1u);
  EXPECT_EQ(ChunkOf(three.last), 64u - 20);
  EXPECT_EQ(ChunkOf(three.middle), 11u);
  FreeAll({three.first, three.middle, three.last});
}

TEST_F(Z3fold, ThreeOf1344BytesShareAPageAndThreeOf1345DoNot) {
  const std::vector<FoldObject> fit = {Make(1344), Make(1344), Make(1344)};
  EXPECT_EQ(PagesOf(fit), 1u);
  const std::vector<FoldObject> wide = {Make(1345), Make(1345), Make(1345)};
  EXPECT_EQ(PagesOf(wide), 2u);
  FreeAll(fit);
  FreeAll(wide);
}

TEST_F(Z3fold, APageHasThreeObjectsAtMost) {
  const std::vector<FoldObject> objects = MakeMany(10, 1);
  EXPECT_EQ(PagesOf(objects), 4u);
  FreeAll(objects);
}

TEST_F(Z3fold, MoreThan3968BytesGetAPageWithoutHeader) {
  const FoldObject largest = Make(3968);
  const FoldObject headless = Make(3969);
  const FoldObject whole = Make(4096);
  EXPECT_EQ(ChunkOf(largest), 1u);
  EXPECT_EQ(ChunkOf(headless), 0u);
  EXPECT_EQ(ChunkOf(whole), 0u);
  FreeAll({whole, largest, headless});
}

TEST_F(Z3fold, AMiddleThatIsLeftAloneBecomesTheFirst) {
  const Three three = Fill(20, 20, 10);
  Free(three.first);
  Free(three.last);
  EXPECT_EQ(ChunkOf(three.middle), 1u);
  EXPECT_TRUE(Intact(three.middle));
  const FoldObject rest = MakeChunks(53);
  EXPECT_EQ(PageOf(rest), PageOf(three.middle));
  FreeAll({rest, three.middle});
}

TEST_F(Z3fold, AMiddleSlidesUpToTheLastWhenTheFirstGoes) {
  const Three three = Fill(10, 20, 20);
  Free(three.first);
  EXPECT_EQ(ChunkOf(three.middle), 64u - 20 - 20);
  EXPECT_TRUE(Intact(three.middle));
  // All that is free is one run in front of it.
  const FoldObject rest = MakeChunks(23);
  EXPECT_EQ(PageOf(rest), PageOf(three.middle));
  EXPECT_EQ(ChunkOf(rest), 1u);
  FreeAll({rest, three.middle, three.last});
}

TEST_F(Z3fold, AMiddleSlidesDownToTheFirstWhenTheLastGoes) {
  const Three three = Fill(10, 20, 20);
  Free(three.first);
  const FoldObject first = MakeChunks(5);
  ASSERT_EQ(PageOf(first), PageOf(three.middle));
  ASSERT_EQ(ChunkOf(three.middle), 24u);
  Free(three.last);
  EXPECT_EQ(ChunkOf(three.middle), 6u);
  EXPECT_TRUE(Intact({first, three.middle}));
  const FoldObject rest = MakeChunks(38);
  EXPECT_EQ(PageOf(rest), PageOf(first));
  FreeAll({first, rest, three.middle});
}

TEST_F(Z3fold, AShiftOfLessThanThreeChunksIsNotWorthACopy) {
  const Three stays = Fill(10, 20, 31);
  Free(stays.first);
  EXPECT_EQ(ChunkOf(stays.middle), 11u);  // two chunks short of the last
  FreeAll({stays.middle, stays.last});
  const Three moves = Fill(10, 20, 30);
  Free(moves.first);
  EXPECT_EQ(ChunkOf(moves.middle), 14u);
  FreeAll({moves.middle, moves.last});
}

TEST_F(Z3fold, TheLargerGapDecidesWhereAPageIsListed) {
  const Three three = Fill(10, 20, 31);
  Free(three.first);
  const FoldObject too_wide = MakeChunks(11);
  EXPECT_NE(PageOf(too_wide), PageOf(three.middle));
  const FoldObject fits = MakeChunks(10);
  EXPECT_EQ(PageOf(fits), PageOf(three.middle));
  EXPECT_EQ(ChunkOf(fits), 1u);
  FreeAll({too_wide, fits, three.middle, three.last});
}

TEST_F(Z3fold, TheTightestPageIsTaken) {
  const FoldObject wide = MakeChunks(32);
  const FoldObject tight = MakeChunks(40);
  const FoldObject a = MakeChunks(20);
  EXPECT_EQ(PageOf(a), PageOf(tight));
  const FoldObject b = MakeChunks(20);
  EXPECT_EQ(PageOf(b), PageOf(wide));
  const FoldObject c = MakeChunks(3);
  EXPECT_EQ(PageOf(c), PageOf(tight));
  FreeAll({wide, tight, a, b, c});
}

TEST_F(Z3fold, CompactionEmptiesPagesWithOneObject) {
  std::vector<Three> pages;
  std::vector<FoldObject> left;
  for (int i = 0; i < 30; ++i) {
    pages.push_back(Fill(21, 21, 21));
  }
  for (const Three& three : pages) {
    FreeAll({three.first, three.middle});
    left.push_back(three.last);
  }
  EXPECT_EQ(PagesOf(left), 30u);
  (void)pool_->Compact(1000);
  pool_->CheckInvariants();
  EXPECT_EQ(PagesOf(left), 10u);
  EXPECT_TRUE(Intact(left));
  EXPECT_EQ(pool_->Compact(1000), 0u);
  FreeAll(left);
}

TEST_F(Z3fold, CompactionMovesAsManyObjectsAsItIsToldTo) {
  const std::vector<FoldObject> pages = MakeMany(10, 40);
  const std::vector<FoldObject> small = MakeMany(10, 20);
  FreeAll(pages);
  ASSERT_EQ(PagesOf(small), 10u);
  std::vector<uintptr_t> places;
  for (const FoldObject& o : small) places.push_back(AddressOf(o));
  for (size_t moved = 1; moved <= 3; ++moved) {
    (void)pool_->Compact(1);
    pool_->CheckInvariants();
    size_t elsewhere = 0;
    for (size_t i = 0; i < small.size(); ++i) {
      elsewhere += AddressOf(small[i]) != places[i];
    }
    EXPECT_EQ(elsewhere, moved);
  }
  FreeAll(small);
}

TEST_F(Z3fold, ObjectsThatAreReadStayInTheirPage) {
  const Three three = Fill(20, 20, 10);
  OpenRead(three.middle);
  const uintptr_t at = AddressOf(three.middle);
  Free(three.first);
  Free(three.last);
  EXPECT_EQ(AddressOf(three.middle), at);
  EXPECT_TRUE(Intact(three.middle));
  // The room on both sides of it can be had all the same.
  const FoldObject behind = MakeChunks(33);
  EXPECT_EQ(PageOf(behind), PageOf(three.middle));
  const FoldObject before = MakeChunks(20);
  EXPECT_EQ(PageOf(before), PageOf(three.middle));
  EXPECT_TRUE(Intact({before, three.middle, behind}));
  CloseRead(three.middle);
  FreeAll({before, behind, three.middle});
}

}  // namespace
}  // namespace uzswap
