// SPDX-License-Identifier: Apache-2.0
// What zbud promises beyond the contract that zpool_test.cc checks.
#include "zpool/zbud.h"

#include <atomic>
#include <random>
#include <thread>

#include "zpool/fold_test_support.h"

namespace uzswap {
namespace {

class Zbud : public FoldTest {
 protected:
  Zbud() : FoldTest("zbud") {}
};

TEST_F(Zbud, TheFirstIsBehindTheHeaderAndTheLastAtTheEndOfThePage) {
  const FoldObject first = Make(100);
  const FoldObject last = Make(200);
  EXPECT_EQ(PageOf(first), PageOf(last));
  EXPECT_EQ(ChunkOf(first), 1u);
  EXPECT_EQ(ChunkOf(last), 64u - 4);
  FreeAll({first, last});
}

TEST_F(Zbud, APageHasTwoObjectsAtMost) {
  const std::vector<FoldObject> objects = MakeMany(9, 1);
  EXPECT_EQ(PagesOf(objects), 5u);
  FreeAll(objects);
}

TEST_F(Zbud, TwoOf1984BytesShareAPageAndTwoOf1985DoNot) {
  const std::vector<FoldObject> fit = {Make(1984), Make(1984)};
  EXPECT_EQ(PagesOf(fit), 1u);
  const std::vector<FoldObject> wide = {Make(1985), Make(1985)};
  EXPECT_EQ(PagesOf(wide), 2u);
  FreeAll(fit);
  FreeAll(wide);
}

TEST_F(Zbud, MoreThan3968BytesGetAPageWithoutHeader) {
  const FoldObject largest = Make(3968);
  const FoldObject headless = Make(3969);
  const FoldObject whole = Make(4096);
  EXPECT_EQ(ChunkOf(largest), 1u);
  EXPECT_EQ(ChunkOf(headless), 0u);
  EXPECT_EQ(ChunkOf(whole), 0u);
  EXPECT_TRUE(Intact({largest, headless, whole}));
  FreeAll({headless, largest, whole});
}

TEST_F(Zbud, FreeingEitherBuddyLeavesOneRunOfAllTheRest) {
  for (const bool free_first : {true, false}) {
    const FoldObject first = MakeChunks(20);
    const FoldObject last = MakeChunks(30);
    const uintptr_t page = PageOf(first);
    Free(free_first ? first : last);
    const FoldObject rest = MakeChunks(63 - (free_first ? 30 : 20));
    EXPECT_EQ(PageOf(rest), page);
    EXPECT_TRUE(Intact({free_first ? last : first, rest}));
    FreeAll({free_first ? last : first, rest});
  }
}

TEST_F(Zbud, TheTightestPageIsTakenAndOfThoseTheLastUsed) {
  const FoldObject wide = MakeChunks(32);
  const FoldObject tight = MakeChunks(40);
  const FoldObject tight_too = MakeChunks(40);
  const FoldObject a = MakeChunks(23);
  EXPECT_EQ(PageOf(a), PageOf(tight_too));
  const FoldObject b = MakeChunks(20);
  EXPECT_EQ(PageOf(b), PageOf(tight));
  const FoldObject c = MakeChunks(31);
  EXPECT_EQ(PageOf(c), PageOf(wide));
  FreeAll({wide, tight, tight_too, a, b, c});
}

TEST_F(Zbud, CompactionJoinsTheSmallestWithTheLargestThatFits) {
  std::vector<FoldObject> pairs;
  std::vector<FoldObject> singles;
  for (unsigned n = 1; n <= 31; ++n) {
    pairs.push_back(MakeChunks(n));
    singles.push_back(MakeChunks(63 - n));
    EXPECT_EQ(PagesOf({pairs.back(), singles.back()}), 1u);
  }
  // One of each page goes: 31 pages, in which 1 … 15 and 48 … 62 remain.
  std::vector<FoldObject> left;
  for (unsigned i = 0; i < 31; ++i) {
    Free(i < 15 ? singles[i] : pairs[i]);
    left.push_back(i < 15 ? pairs[i] : singles[i]);
  }
  EXPECT_EQ(PagesOf(left), 31u);
  (void)pool_->Compact(1000);
  pool_->CheckInvariants();
  EXPECT_EQ(PagesOf(left), 16u);
  EXPECT_TRUE(Intact(left));
  FreeAll(left);
}

TEST_F(Zbud, CompactionMovesAsManyObjectsAsItIsToldTo) {
  std::vector<FoldObject> objects = MakeMany(20, 31);
  std::vector<FoldObject> left;
  for (size_t i = 0; i < objects.size(); ++i) {
    if (i % 2 == 0) {
      Free(objects[i]);
    } else {
      left.push_back(objects[i]);
    }
  }
  for (size_t pages = 10; pages > 5; --pages) {
    EXPECT_EQ(PagesOf(left), pages);
    (void)pool_->Compact(1);
    pool_->CheckInvariants();
  }
  EXPECT_EQ(PagesOf(left), 5u);
  EXPECT_EQ(pool_->Compact(1000), 0u);
  EXPECT_TRUE(Intact(left));
  FreeAll(left);
}

TEST_F(Zbud, AnObjectThatIsReadStaysAndOthersMoveToIt) {
  const FoldObject read = MakeChunks(40);
  const FoldObject other = MakeChunks(41);
  const FoldObject small = MakeChunks(20);
  ASSERT_EQ(PageOf(small), PageOf(other));
  Free(other);
  OpenRead(read);
  OpenRead(small);
  const uintptr_t read_at = AddressOf(read);
  const uintptr_t small_at = AddressOf(small);
  (void)pool_->Compact(10);
  EXPECT_EQ(AddressOf(small), small_at);
  CloseRead(small);
  (void)pool_->Compact(10);
  EXPECT_EQ(PageOf(small), PageOf(read));
  EXPECT_EQ(AddressOf(read), read_at);
  CloseRead(read);
  FreeAll({read, small});
}

TEST_F(Zbud, WhatCannotBeJoinedStaysWhereItIs) {
  const std::vector<FoldObject> objects = MakeMany(30, 32);
  std::vector<uintptr_t> places;
  for (const FoldObject& o : objects) places.push_back(AddressOf(o));
  EXPECT_EQ(pool_->Compact(1000), 0u);
  for (size_t i = 0; i < objects.size(); ++i) {
    EXPECT_EQ(AddressOf(objects[i]), places[i]);
  }
  FreeAll(objects);
}

TEST_F(Zbud, AnUnheadedPageIsReusedWithAHeaderOfItsOwn) {
  for (int round = 0; round < 3; ++round) {
    FreeAll({Make(4096), Make(4090)});
    const std::vector<FoldObject> objects = MakeMany(4, 10);
    EXPECT_EQ(PagesOf(objects), 2u);
    FreeAll(objects);
  }
}

TEST_F(Zbud, TwoCompactorsAndTwoWritersAgree) {
  std::atomic<bool> done{false};
  std::vector<std::thread> compactors;
  for (int i = 0; i < 2; ++i) {
    compactors.emplace_back([&] {
      while (!done) (void)pool_->Compact(20);
    });
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> writers;
  for (unsigned t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<FoldObject> mine;
      std::byte scratch[kPageSize];
      for (int step = 0; step < 8000; ++step) {
        if (mine.size() < 60 || (mine.size() < 200 && random() % 2 == 0)) {
          const ByteCount bytes = 16 + random() % 3900;
          mine.push_back({pool_->Allocate(bytes).value(), bytes,
                          static_cast<uint8_t>(random())});
          pool_->Write(mine.back().handle, FoldImage(mine.back()));
          continue;
        }
        std::swap(mine[random() % mine.size()], mine.back());
        const FoldObject o = mine.back();
        const auto got =
            pool_->ReadBegin(o.handle, o.bytes, MutablePage(scratch));
        wrong += memcmp(got.data(), FoldImage(o).data(), o.bytes) != 0;
        pool_->ReadEnd(o.handle);
        pool_->Free(o.handle);
        mine.pop_back();
      }
      for (const FoldObject& o : mine) pool_->Free(o.handle);
    });
  }
  for (std::thread& thread : writers) thread.join();
  done = true;
  for (std::thread& thread : compactors) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(pool_->total_pages(), 16u);
}

}  // namespace
}  // namespace uzswap
