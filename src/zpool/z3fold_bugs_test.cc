// SPDX-License-Identifier: Apache-2.0
// The defects that the kernel's z3fold had, by their numbers in docs/bugs.md,
// each as what must hold here. B39 is the report of 2018.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <random>
#include <thread>

#include "base/lockdep.h"
#include "zpool/fold_test_support.h"
#include "zpool/z3fold.h"

#ifdef UZSWAP_TEST_HOOKS

namespace uzswap {
namespace {

using fold_hooks::hooks;

std::atomic<int> page_locks{0};
std::atomic<int> most_locks{0};
std::function<void()> now;  // what a hook does, once

void CountPageLock(int held) {
  ++page_locks;
  most_locks = std::max({most_locks.load(), held, lockdep::HeldCount()});
}
void DoOnce() {
  const std::function<void()> action = std::move(now);
  now = nullptr;
  if (action) action();
}

class Z3fold : public FoldTest {
 protected:
  Z3fold() : FoldTest("z3fold") {
    page_locks = 0;
    most_locks = 0;
    now = nullptr;
  }

  // `count` pages with one object of `chunks` <= 30 chunks each.
  std::vector<FoldObject> Singles(unsigned count, unsigned chunks) {
    const std::vector<FoldObject> others = MakeMany(count, 63 - chunks);
    const std::vector<FoldObject> singles = MakeMany(count, chunks);
    FreeAll(others);
    EXPECT_EQ(PagesOf(singles), count);
    return singles;
  }
};

// The kernel's shrinker went on after it had its page, and held all of them.
TEST_F(Z3fold, B39_APassHoldsOnePageLockAndItsWorkDoesNotGrowWithThePool) {
  int locks_of_one_step[2] = {};
  for (const unsigned pages : {50u, 1000u}) {
    std::vector<FoldObject> objects;
    std::vector<Handle> fillers;
    for (unsigned i = 0; i < pages; ++i) {
      fillers.push_back(pool_->Allocate(40 * kChunkSize).value());
      const FoldObject o{pool_->Allocate(20 * kChunkSize).value(),
                         20 * kChunkSize, 1};
      pool_->Write(o.handle, FoldImage(o));
      objects.push_back(o);
    }
    for (const Handle handle : fillers) pool_->Free(handle);
    ASSERT_EQ(PagesOf(objects), pages);
    hooks.page_locked = CountPageLock;
    page_locks = 0;
    (void)pool_->Compact(1);
    locks_of_one_step[pages > 50] = page_locks;
    (void)pool_->Compact(1u << 30);
    hooks = {};
    EXPECT_LE(PagesOf(objects), pages / 3 + 1);
    EXPECT_TRUE(Intact(objects));
    for (const FoldObject& o : objects) pool_->Free(o.handle);
  }
  EXPECT_LE(most_locks, 2);  // the list's and one page's
  EXPECT_GE(most_locks, 1);
  EXPECT_LE(locks_of_one_step[0], 16);
  EXPECT_EQ(locks_of_one_step[0], locks_of_one_step[1]);
}

TEST_F(Z3fold, B40_AHeadlessPageIsFreedOnceWhateverRunsBesideIt) {
  // The entry of a freed handle holds the number of another. Here that number
  // is the place of somebody's page, which must not be freed with it.
  std::vector<FoldObject> whole;
  for (int i = 0; i < 100; ++i) whole.push_back(Make(4096));
  ASSERT_EQ(whole[63].handle, Handle{kChunksPerPage});
  Free(whole[63]);
  Free(whole[80]);
  EXPECT_DEATH(pool_->Free(whole[80].handle), "chunk_pool.cc.*check failed");
  for (int i = 0; i < 100; ++i) {
    if (i != 63 && i != 80) Free(whole[i]);
  }
  std::atomic<bool> done{false};
  std::thread compactor([&] {
    while (!done) (void)pool_->Compact(50);
  });
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 300; ++round) {
        std::vector<FoldObject> mine;
        for (int i = 0; i < 20; ++i) {
          const ByteCount bytes = i % 2 == 0 ? 4096 : 600;
          mine.push_back({pool_->Allocate(bytes).value(), bytes, t});
          pool_->Write(mine.back().handle, FoldImage(mine.back()));
        }
        for (const FoldObject& o : mine) pool_->Free(o.handle);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  compactor.join();
  pool_->CheckInvariants();
  EXPECT_LE(pool_->total_pages(), 16u);
}

// The last reference of a page fell under the list's lock, on a list. Here the
// claimer and two Frees race for the end of one page.
TEST_F(Z3fold, B41_APageEndsOnceWithNoLockHeldAndOnNoList) {
  for (int freed = 1; freed <= 2; ++freed) {
    const std::vector<FoldObject> pair = {MakeChunks(20), MakeChunks(7)};
    ASSERT_EQ(PagesOf(pair), 1u);
    const FoldObject target = MakeChunks(40);
    const PageCount pages = pool_->total_pages();
    hooks.claimed = DoOnce;
    now = [&] {  // the claimed page loses its objects
      for (int i = 0; i < freed; ++i) pool_->Free(pair[i].handle);
    };
    (void)pool_->Compact(10);  // PageArea::Give dies if a page lock is held
    EXPECT_EQ(now, nullptr);
    hooks = {};
    pool_->CheckInvariants();
    EXPECT_EQ(pool_->total_pages(), pages);  // one more is warm now
    if (freed == 1) {
      EXPECT_EQ(PageOf(pair[1]), PageOf(target));
      Free(pair[1]);
    }
    Free(target);
  }
}

// Somebody who begins to read while the object is being moved.
TEST_F(Z3fold, B42_AReadDuringAMoveSeesTheNewPlaceAndOldPagesAreNotTouched) {
  const FoldObject target = MakeChunks(40);
  const std::vector<FoldObject> moved = Singles(1, 20);
  // Singles has filled up the target's page or not; only the place counts.
  const uintptr_t old_place = AddressOf(moved[0]);
  std::atomic<bool> recycled{false};
  std::atomic<bool> wrong{false};
  std::atomic<uintptr_t> read_at{0};
  std::thread reader;
  hooks.copied = DoOnce;
  now = [&] {
    reader = std::thread([&] {
      std::byte scratch[kPageSize];
      const auto bytes = pool_->ReadBegin(moved[0].handle, moved[0].bytes,
                                          MutablePage(scratch));
      read_at = reinterpret_cast<uintptr_t>(bytes.data());
      while (!recycled) usleep(100);
      wrong =
          memcmp(bytes.data(), FoldImage(moved[0]).data(), moved[0].bytes) != 0;
      pool_->ReadEnd(moved[0].handle);
    });
    usleep(50'000);  // it has come to ReadBegin
  };
  (void)pool_->Compact(10);
  ASSERT_TRUE(reader.joinable());  // something was moved
  const std::vector<FoldObject> others = MakeMany(40, 62);
  recycled = true;
  reader.join();
  hooks = {};
  EXPECT_FALSE(wrong);
  EXPECT_NE(read_at, old_place);
  EXPECT_EQ(read_at, AddressOf(moved[0]));
  FreeAll(others);
  FreeAll(moved);
  Free(target);
}

// A page of the stale list was reused with what it had been before.
TEST_F(Z3fold, B43_AReusedPageHasNothingOfItsFormerLife) {
  for (int round = 0; round < 4; ++round) {
    FoldObject whole = Make(4096);  // header bytes and all
    whole.seed = 0xff;
    pool_->Write(whole.handle, FoldImage(whole));
    const uintptr_t page = PageOf(whole);
    Free(whole);
    const FoldObject first = MakeChunks(10);
    EXPECT_EQ(PageOf(first), page);  // it was reused
    EXPECT_EQ(ChunkOf(first), 1u);
    const std::vector<FoldObject> rest = {MakeChunks(30), MakeChunks(23)};
    EXPECT_EQ(PageOf(rest[1]), page);
    Free(first);
    FreeAll(rest);
  }
}

// Claimed pages whose claim ended unseen were on no list for ever.
TEST_F(Z3fold, B44_APageWithRoomIsAlwaysFoundAgain) {
  // While the page is claimed one object of it goes, the other begins to be
  // read: Free leaves the page to the claimer, and the claimer cannot empty it.
  const std::vector<FoldObject> pair = {MakeChunks(20), MakeChunks(7)};
  const FoldObject target = MakeChunks(40);
  hooks.claimed = DoOnce;
  now = [&] {
    pool_->Free(pair[0].handle);
    OpenRead(pair[1]);
    OpenRead(target);
  };
  EXPECT_EQ(pool_->Compact(10), 0u);
  EXPECT_EQ(now, nullptr);
  hooks = {};
  pool_->CheckInvariants();
  const FoldObject found = MakeChunks(56);
  EXPECT_EQ(PageOf(found), PageOf(pair[1]));
  CloseRead(pair[1]);
  CloseRead(target);
  FreeAll({pair[1], found, target});
  std::atomic<bool> done{false};
  std::thread compactor([&] {
    while (!done) (void)pool_->Compact(7);
  });
  std::vector<Handle> handles;
  std::mt19937 random(1);
  for (int step = 0; step < 30'000; ++step) {
    if (handles.size() < 300 && random() % 2 == 0) {
      handles.push_back(
          pool_->Allocate((1 + random() % 40) * kChunkSize).value());
    } else if (!handles.empty()) {
      std::swap(handles[random() % handles.size()], handles.back());
      pool_->Free(handles.back());
      handles.pop_back();
    }
  }
  done = true;
  compactor.join();
  pool_->CheckInvariants();  // bin == FreeRun() for every page
  // One object each: every page takes two more, and none is added.
  for (const Handle handle : handles) pool_->Free(handle);
  const std::vector<FoldObject> pages = Singles(50, 20);
  const std::vector<FoldObject> more = MakeMany(50, 21);
  std::vector<FoldObject> all = pages;
  all.insert(all.end(), more.begin(), more.end());
  EXPECT_LE(PagesOf(all), 50u);
  FreeAll(all);
}

// What could not be written back or migrated was not put back on its list.
TEST_F(Z3fold, B45_APageThatCannotBeEmptiedGoesBackToItsList) {
  // The room that was seen is taken by somebody else.
  const FoldObject wide = MakeChunks(40);
  const std::vector<FoldObject> single = Singles(1, 20);
  FoldObject taker{kNoHandle, 23 * kChunkSize, 77};
  const PageCount pages = pool_->total_pages();
  hooks.claimed = DoOnce;
  now = [&] {
    taker.handle = pool_->Allocate(taker.bytes).value();
    pool_->Write(taker.handle, FoldImage(taker));
  };
  EXPECT_EQ(pool_->Compact(1000), 0u);
  EXPECT_EQ(now, nullptr);
  hooks = {};
  pool_->CheckInvariants();
  EXPECT_EQ(PageOf(taker), PageOf(wide));
  const FoldObject beside = MakeChunks(43);
  EXPECT_EQ(PageOf(beside), PageOf(single[0]));
  EXPECT_EQ(pool_->total_pages(), pages);
  FreeAll({wide, taker, beside, single[0]});
  const std::vector<FoldObject> small = Singles(20, 23);
  // Objects that begin to be read when their page was already claimed.
  hooks.claimed = DoOnce;
  now = [&] {
    for (const FoldObject& o : small) OpenRead(o);
  };
  EXPECT_EQ(pool_->Compact(1000), 0u);
  hooks = {};
  pool_->CheckInvariants();
  for (const FoldObject& o : small) CloseRead(o);
  (void)pool_->Compact(1000);
  EXPECT_EQ(PagesOf(small), 10u);
  FreeAll(small);
}

// Memory was allocated under a page's lock, and its refusal not handled.
TEST_F(Z3fold,
       B46_ARefusedAllocationChangesNothingAndNoneIsMadeUnderAPageLock) {
  std::vector<FoldObject> objects = MakeMany(30, 62);
  objects.push_back(Make(4096));
  unsigned refused = 0;
  for (uint64_t k = 1; k <= 3; ++k) {
    for (const ByteCount bytes : {ByteCount{3968}, ByteCount{4096}}) {
      const PageCount pages = pool_->total_pages();
      zpool_failure::FailNth(k);
      const Result<Handle> handle = pool_->Allocate(bytes);
      zpool_failure::FailNth(0);
      pool_->CheckInvariants();  // no handle is lost either
      if (handle.ok()) {
        objects.push_back({handle.value(), bytes, 9});
        pool_->Write(handle.value(), FoldImage(objects.back()));
        continue;
      }
      ++refused;
      EXPECT_EQ(handle.error(), ENOMEM);
      EXPECT_EQ(pool_->total_pages(), pages);
    }
  }
  EXPECT_GE(refused, 2u);
  EXPECT_TRUE(Intact(objects));
  FreeAll(objects);
}

uint64_t MappedPages() {
  FILE* const file = fopen("/proc/self/statm", "re");
  unsigned long pages = 0;
  EXPECT_EQ(fscanf(file, "%lu", &pages), 1);
  fclose(file);
  return pages;
}

// Work items were pending when their pool went.
TEST_F(Z3fold, B47_NothingIsPendingWhenThePoolGoes) {
  uint64_t before = 0;
  for (int round = 0; round < 20; ++round) {
    Zpool* const pool = CreateZpool("z3fold").value();
    std::vector<Handle> handles;
    for (int i = 0; i < 300; ++i) {
      handles.push_back(pool->Allocate(1 + i * 13).value());
    }
    for (size_t i = 0; i < handles.size(); i += 2) pool->Free(handles[i]);
    (void)pool->Compact(20);
    pool->Destroy();  // some objects are live, some pages warm
    if (round == 0) before = MappedPages();
  }
  EXPECT_LE(MappedPages(), before + 64);
}

// Pages on the lists of a CPU that is gone.
TEST_F(Z3fold, B48_PagesOnTheListsOfAnotherCpuAreUsedAndEmptied) {
  if (os::CpuCount() < 2) GTEST_SKIP() << "needs two CPUs";
  hooks.cpu = 2;
  const std::vector<FoldObject> there = Singles(20, 20);
  const PageCount pages = pool_->total_pages();
  hooks.cpu = 1;
  const std::vector<FoldObject> here = MakeMany(20, 21);
  EXPECT_EQ(pool_->total_pages(), pages);
  std::vector<FoldObject> all = there;
  all.insert(all.end(), here.begin(), here.end());
  EXPECT_LE(PagesOf(all), 20u);
  hooks.cpu = 2;
  FreeAll(here);
  hooks.cpu = 1;
  (void)pool_->Compact(1000);
  pool_->CheckInvariants();
  EXPECT_EQ(PagesOf(there), 7u);
  FreeAll(there);
}

}  // namespace
}  // namespace uzswap

#endif  // UZSWAP_TEST_HOOKS
