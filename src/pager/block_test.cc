// SPDX-License-Identifier: Apache-2.0
#include "pager/block.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "pager/core.h"

namespace uzswap {
namespace {

class BlockListTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(list_.Init().ok()); }
  void TearDown() override {
    list_.CheckInvariants();
    list_.Release();
  }
  BlockList list_;
};

TEST_F(BlockListTest, OldestLeavesFirst) {
  for (BlockIndex i = 10; i < 13; ++i) list_.Came(i, 1, false);
  EXPECT_EQ(list_.TakeOldest(true), 10u);
  EXPECT_EQ(list_.TakeOldest(true), 11u);
  list_.Return(10);  // still has its page: behind the others
  EXPECT_EQ(list_.TakeOldest(true), 12u);
  EXPECT_EQ(list_.TakeOldest(true), 10u);
  EXPECT_EQ(list_.TakeOldest(true), kNoBlock);
  for (BlockIndex i = 10; i < 13; ++i) list_.Return(i);
}

TEST_F(BlockListTest, EmptyBlocksAreForgotten) {
  list_.Came(5, 3, false);
  list_.Went(5, 3);
  EXPECT_EQ(list_.TakeOldest(true), kNoBlock);
  list_.Came(5, 1, false);
  EXPECT_EQ(list_.ResidentPages(5), 1u);
  EXPECT_EQ(list_.TakeOldest(true), 5u);
  list_.Went(5, 1);
  list_.Return(5);
  EXPECT_EQ(list_.queued(), 0u);
}

TEST_F(BlockListTest, WantedBlocksGetASecondRound) {
  for (BlockIndex i = 0; i < 8; ++i) list_.Came(i, 1, false);
  list_.Came(0, 1, true);
  EXPECT_EQ(list_.TakeOldest(true), 1u);
  list_.Return(1);
  // One round only, and none for those who do not care.
  list_.Came(2, 1, true);
  EXPECT_EQ(list_.TakeOldest(false), 2u);
  list_.Return(2);
}

TEST_F(BlockListTest, WhenAllAreWantedTheOldestLeavesAllTheSame) {
  for (BlockIndex i = 0; i < 4; ++i) list_.Came(i, 1, false);
  for (BlockIndex i = 0; i < 4; ++i) list_.Came(i, 1, true);
  EXPECT_NE(list_.TakeOldest(true), kNoBlock);
}

TEST_F(BlockListTest, OwnedBlocksAreNotTakenTwice) {
  list_.Came(3, 1, false);
  list_.Came(4, 1, false);
  ASSERT_TRUE(list_.Take(3));
  EXPECT_FALSE(list_.Take(3));
  EXPECT_EQ(list_.TakeOldest(true), 4u);
  EXPECT_FALSE(list_.Take(4));
  EXPECT_EQ(list_.TakeOldest(true), kNoBlock);
  list_.Return(3);
  EXPECT_EQ(list_.TakeOldest(true), 3u);
  list_.Return(3);
  list_.Return(4);
}

TEST_F(BlockListTest, NothingIsLostBetweenThreads) {
  constexpr BlockIndex kBlocks = 64;
  std::atomic<uint64_t> came{0};
  std::atomic<uint64_t> went{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      uint64_t state = t + 1;
      for (int i = 0; i < 20000; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const auto block = static_cast<BlockIndex>(state >> 40) % kBlocks;
        if ((state >> 33 & 1) != 0) {
          // An evictor may not take pages that others still count.
          if (list_.ResidentPages(block) < 32) {
            list_.Came(block, 1, (state >> 34 & 1) != 0);
            ++came;
          }
          continue;
        }
        const BlockIndex taken = list_.TakeOldest((state >> 35 & 1) != 0);
        if (taken == kNoBlock) continue;
        const unsigned pages = list_.ResidentPages(taken);
        list_.Went(taken, pages);
        went += pages;
        list_.Return(taken);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  uint64_t left = 0;
  for (BlockIndex i = 0; i < kBlocks; ++i) left += list_.ResidentPages(i);
  EXPECT_EQ(came.load(), went.load() + left);
  for (BlockIndex b = list_.TakeOldest(false); b != kNoBlock;
       b = list_.TakeOldest(false)) {
    left -= list_.ResidentPages(b);
    list_.Went(b, list_.ResidentPages(b));
    list_.Return(b);
  }
  EXPECT_EQ(left, 0u);
}

TEST(PageMask, RunsAndPagesCoverExactlyTheSetBits) {
  for (PageMask mask :
       {PageMask{0}, PageMask{1}, ~PageMask{0}, PageMask{0x8000000000000001},
        PageMask{0xf0f0}, ~PageMask{0} << 1, ~PageMask{0} >> 1}) {
    PageMask runs = 0;
    ForEachRun(mask, [&](unsigned first, unsigned count) {
      for (unsigned i = first; i < first + count; ++i) runs |= PageMask{1} << i;
    });
    EXPECT_EQ(runs, mask);
    PageMask pages = 0;
    ForEachPage(mask, [&](unsigned i) { pages |= PageMask{1} << i; });
    EXPECT_EQ(pages, mask);
  }
}

}  // namespace
}  // namespace uzswap
