// SPDX-License-Identifier: Apache-2.0
#include "pager/block.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "pager/core.h"

namespace uzswap {
namespace {

using Arrival = BlockList::Arrival;
using Choice = BlockList::Choice;

constexpr PageMask Pages(unsigned count) { return (PageMask{1} << count) - 1; }

class BlockListTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(list_.Init().ok()); }
  void TearDown() override {
    list_.CheckInvariants();
    list_.Release();
  }
  // Blocks [first, first + count) of 64 pages each, none of them young.
  void Stream(BlockIndex first, unsigned count) {
    for (BlockIndex i = first; i < first + count; ++i) {
      list_.Came(i, ~PageMask{0}, Arrival::kAhead);
    }
  }
  // The oldest pages of the next block leave.
  BlockIndex Evict(Choice choice = Choice::kOldest) {
    const BlockList::Victims victims = list_.TakeOldest(choice);
    if (victims.block == kNoBlock) return kNoBlock;
    list_.Went(victims.block, victims.pages & Here(victims.block));
    here_[victims.block] &= ~victims.pages;
    list_.Return(victims.block);
    return victims.block;
  }
  void Come(BlockIndex block, PageMask pages, Arrival how) {
    list_.Came(block, pages, how);
    here_[block] |= pages;
  }
  PageMask Here(BlockIndex block) { return here_[block]; }
  BlockIndex Take(Choice choice = Choice::kOldest) {
    return list_.TakeOldest(choice).block;
  }
  BlockList list_;
  std::map<BlockIndex, PageMask> here_;
};

TEST_F(BlockListTest, OldestLeavesFirst) {
  for (BlockIndex i = 10; i < 13; ++i) list_.Came(i, 1, Arrival::kAhead);
  EXPECT_EQ(Take(), 10u);
  EXPECT_EQ(Take(), 11u);
  list_.Return(10);  // still has its page: behind the others
  EXPECT_EQ(Take(), 12u);
  EXPECT_EQ(Take(), 10u);
  EXPECT_EQ(Take(), kNoBlock);
  for (BlockIndex i = 10; i < 13; ++i) list_.Return(i);
}

TEST_F(BlockListTest, EmptyBlocksAreForgotten) {
  list_.Came(5, Pages(3), Arrival::kAhead);
  list_.Went(5, Pages(3));
  EXPECT_EQ(Take(), kNoBlock);
  list_.Came(5, 1, Arrival::kAhead);
  EXPECT_EQ(list_.ResidentPages(5), 1u);
  EXPECT_EQ(Take(), 5u);
  list_.Went(5, 1);
  list_.Return(5);
  EXPECT_EQ(list_.queued(), 0u);
}

TEST_F(BlockListTest, PagesThatFaultAloneOutliveThoseOfAStream) {
  Come(1, Pages(2), Arrival::kAlone);
  Come(1, PageMask{12}, Arrival::kAhead);
  for (BlockIndex i = 2; i < 10; ++i) {
    Come(i, ~PageMask{0}, Arrival::kAhead);
  }
  EXPECT_EQ(Evict(), 1u);
  EXPECT_EQ(Here(1), Pages(2)) << "those of the stream left";
  for (BlockIndex i = 2; i < 9; ++i) EXPECT_EQ(Evict(), i);
  EXPECT_EQ(list_.ResidentPages(1), 2u);
  EXPECT_EQ(list_.young(), 2u);
}

TEST_F(BlockListTest, APageThatComesBackSoonIsOfTheYoungestGeneration) {
  Stream(100, 8);
  Come(1, Pages(4), Arrival::kAhead);
  ASSERT_TRUE(list_.Take(1));
  list_.Went(1, Pages(4));
  list_.Return(1);
  list_.Came(1, 1, Arrival::kAlone);
  EXPECT_EQ(list_.Generation(1, 0), 3u);
  // As part of a stream it shows nothing.
  list_.Came(1, 2, Arrival::kAhead);
  EXPECT_EQ(list_.Generation(1, 1), 0u);
}

TEST_F(BlockListTest, OneThatComesBackLaterIsNot) {
  Stream(100, 8);
  list_.Came(1, Pages(4), Arrival::kAhead);
  ASSERT_TRUE(list_.Take(1));
  list_.Went(1, Pages(4));
  list_.Return(1);
  // A fourth of what is resident leaves meanwhile.
  Stream(108, 3);
  for (BlockIndex i = 100; i < 103; ++i) {
    ASSERT_TRUE(list_.Take(i));
    list_.Went(i, ~PageMask{0});
    list_.Return(i);
  }
  list_.Came(1, 1, Arrival::kAlone);
  EXPECT_EQ(list_.Generation(1, 0), 1u);
}

TEST_F(BlockListTest, OneThatLeftInARoundBeforeIsNotEither) {
  Stream(100, 8);
  list_.Came(1, Pages(2), Arrival::kAhead);
  for (PageMask page : {PageMask{1}, PageMask{2}}) {
    ASSERT_TRUE(list_.Take(1));
    list_.Went(1, page);
    list_.Return(1);
  }
  list_.Came(1, 1, Arrival::kAlone);
  EXPECT_EQ(list_.Generation(1, 0), 1u);
  list_.Came(1, 2, Arrival::kAlone);
  EXPECT_EQ(list_.Generation(1, 1), 3u);
}

TEST_F(BlockListTest, UseIsNoted) {
  list_.Came(1, Pages(3), Arrival::kAhead);
  list_.Used(1, 1, /*leaving=*/false);
  list_.Used(1, 2, /*leaving=*/true);
  EXPECT_EQ(list_.Generation(1, 0), 2u);
  EXPECT_EQ(list_.Generation(1, 1), 3u);
  EXPECT_EQ(list_.Generation(1, 2), 0u);
  list_.Forgot(1, Pages(3));
  EXPECT_EQ(list_.young(), 0u);
  EXPECT_EQ(list_.resident(), 0u);
  list_.Came(1, 1, Arrival::kAhead);
  EXPECT_EQ(list_.Generation(1, 0), 0u) << "it is another page";
}

// The claim behind all this: what is in use stays, however long the scan.
TEST_F(BlockListTest, AScanReplacesOnlyItself) {
  for (BlockIndex i = 0; i < 16; ++i) {
    Come(i, ~PageMask{0}, Arrival::kAhead);
    list_.Used(i, ~PageMask{0}, /*leaving=*/true);
  }
  for (BlockIndex i = 100; i < 104; ++i) Come(i, ~PageMask{0}, Arrival::kAhead);
  for (BlockIndex i = 104; i < 2000; ++i) {
    EXPECT_EQ(Evict(), i - 4);
    Come(i, ~PageMask{0}, Arrival::kAhead);
  }
  for (BlockIndex i = 0; i < 16; ++i) EXPECT_EQ(list_.ResidentPages(i), 64u);
}

// ... and what was in use once gives way to what is in use now.
TEST_F(BlockListTest, YoungPagesAgeWhenOthersBecomeYoung) {
  for (BlockIndex i = 0; i < 16; ++i) {
    Come(i, ~PageMask{0}, Arrival::kAhead);
    list_.Used(i, ~PageMask{0}, /*leaving=*/true);
  }
  for (BlockIndex i = 100; i < 200; ++i) {
    Come(i, ~PageMask{0}, Arrival::kAhead);
    list_.Used(i, ~PageMask{0}, /*leaving=*/true);
    EXPECT_NE(Evict(), kNoBlock);
  }
  unsigned left = 0;
  for (BlockIndex i = 0; i < 16; ++i) left += list_.ResidentPages(i);
  EXPECT_EQ(left, 0u);
}

TEST_F(BlockListTest, WhenAllAreYoungSomethingLeavesAllTheSame) {
  for (BlockIndex i = 0; i < 2000; ++i) {
    Come(i, 1, Arrival::kAhead);
    list_.Used(i, 1, /*leaving=*/true);
  }
  EXPECT_NE(Evict(), kNoBlock);
  for (int i = 0; i < 1999; ++i) ASSERT_NE(Evict(), kNoBlock);
  EXPECT_EQ(list_.resident(), 0u);
}

TEST_F(BlockListTest, TheHandAgesOnlyWhileTheOldestGenerationIsShort) {
  for (BlockIndex i = 0; i < 7; ++i) Come(i, 1, Arrival::kAlone);
  Come(100, 1, Arrival::kAhead);
  EXPECT_EQ(Evict(), 100u) << "an eighth is enough";
  for (BlockIndex i = 7; i < 10; ++i) Come(i, 1, Arrival::kAlone);
  Come(101, 1, Arrival::kAhead);
  EXPECT_EQ(Evict(), 0u) << "a tenth is not";
}

// Those who own the oldest pages may give none of them.
TEST_F(BlockListTest, WhenOnlyYoungBlocksAreFreeTheyGive) {
  Come(1, ~PageMask{0}, Arrival::kAhead);
  ASSERT_TRUE(list_.Take(1));
  Come(2, 1, Arrival::kAhead);
  list_.Used(2, 1, /*leaving=*/true);
  EXPECT_EQ(Evict(), 2u);
  list_.Return(1);
}

TEST_F(BlockListTest, LongRunsOfYoungBlocksAreNotWalkedToTheirEnd) {
  for (BlockIndex i = 0; i < 1000; ++i) {
    Come(i, 1, Arrival::kAhead);
    list_.Used(i, 1, /*leaving=*/true);
  }
  for (BlockIndex i = 1000; i < 1100; ++i) {
    Come(i, ~PageMask{0}, Arrival::kAhead);
  }
  EXPECT_LT(Evict(), 1000u) << "the first block of the stream is too far away";
}

TEST_F(BlockListTest, WholeBlocksWhenAsked) {
  Come(1, Pages(4), Arrival::kAhead);
  list_.Used(1, Pages(2), /*leaving=*/true);
  EXPECT_EQ(Evict(Choice::kWhole), 1u);
  EXPECT_EQ(list_.resident(), 0u);
}

TEST_F(BlockListTest, OwnedBlocksAreNotTakenTwice) {
  list_.Came(3, 1, Arrival::kAhead);
  list_.Came(4, 1, Arrival::kAhead);
  ASSERT_TRUE(list_.Take(3));
  EXPECT_FALSE(list_.Take(3));
  EXPECT_EQ(Take(), 4u);
  EXPECT_FALSE(list_.Take(4));
  EXPECT_EQ(Take(), kNoBlock);
  list_.Return(3);
  EXPECT_EQ(Take(), 3u);
  list_.Return(3);
  list_.Return(4);
}

// Each thread has pages of its own in every block; whoever takes a block
// evicts those that are there.
TEST_F(BlockListTest, NothingIsLostBetweenThreads) {
  constexpr BlockIndex kBlocks = 64;
  std::array<std::atomic<PageMask>, kBlocks> resident = {};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      uint64_t state = t + 1;
      for (int i = 0; i < 20000; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const auto block = static_cast<BlockIndex>(state >> 40) % kBlocks;
        const PageMask page = PageMask{1} << ((state >> 50) % 16 * 4 + t);
        if ((state >> 33 & 1) != 0) {
          if ((resident[block].load() & page) != 0) continue;
          const bool alone = (state >> 34 & 1) != 0;
          list_.Came(block, page, alone ? Arrival::kAlone : Arrival::kAhead);
          if ((state >> 36 & 1) != 0) list_.Used(block, page, alone);
          resident[block] |= page;
          continue;
        }
        const BlockList::Victims taken = list_.TakeOldest(
            (state >> 35 & 1) != 0 ? Choice::kOldest : Choice::kWhole);
        if (taken.block == kNoBlock) continue;
        const PageMask gone = resident[taken.block] & taken.pages;
        list_.Went(taken.block, gone);
        resident[taken.block] &= ~gone;
        list_.Return(taken.block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  list_.CheckInvariants();
  PageCount left = 0;
  for (BlockIndex i = 0; i < kBlocks; ++i) {
    EXPECT_EQ(list_.ResidentPages(i), CountPages(resident[i].load()));
    left += list_.ResidentPages(i);
  }
  EXPECT_EQ(left, list_.resident());
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
