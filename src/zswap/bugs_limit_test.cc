// SPDX-License-Identifier: Apache-2.0
// Bugs that the kernel's zswap had about limits, shrinking and accounts, by
// their numbers in docs/bugs.md. Each test fails if the guard against its bug
// is taken away (tools/mutants.py).
#include <gtest/gtest.h>

#include "compress/compressor.h"
#include "zpool/failure.h"
#include "zswap/lru.h"
#include "zswap/parameters.h"
#include "zswap/test_hooks.h"
#include "zswap/writeback.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

// What a hook works on: hooks are plain functions.
Engine* hooked = nullptr;

class LimitBugs : public testing::Test {
 protected:
  ~LimitBugs() override {
    zswap_test_hooks = {};
    hooked = nullptr;
  }
};

// A store that failed half-way took bytes from an account that it had not put
// there, and what was counted was not what was stored.
TEST_F(LimitBugs, B18_B19_AccountsAreExactWhateverFails) {
  Engine engine({.device_pages = 30});
  PageCount stored = 0;
  PageCount entries = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    const auto content = static_cast<Content>(i % 3);
    // Raw pages under ever new slots, so that the pool has to grow.
    const uint64_t slot = content == Content::kRandom ? 1000 + i : i % 40;
    const bool before = engine.zswap->Contains(Slot{slot});
    engine.device->write_fault.Set(i % 4 != 0 ? 1 : 0, EIO);
    zswap_test_hooks.no_entry = nullptr;
    if (i % 7 == 0) zswap_test_hooks.no_entry = [] { return true; };
    zpool_failure::FailNth(i % 5 == 0 ? 1 : 0);
    const bool ok = engine.Store(slot, i, content).ok();
    zpool_failure::FailNth(0);
    entries = entries - (before ? 1 : 0) + (ok ? 1 : 0);
    stored += ok ? 1 : 0;
    const ZswapStats stats = engine.zswap->Stats();
    ASSERT_EQ(stats.stored_pages, entries) << i;
    ASSERT_EQ(stats.zswpout, stored) << i;
    if (i % 16 == 0) engine.zswap->Shrink(3);
    engine.zswap->CheckInvariants();  // bytes, too
  }
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_GT(stats.reject_alloc_fail, 10u);
  EXPECT_GT(stats.written_back_pages, 10u);
  EXPECT_LT(stored + stats.reject_kmemcache_fail, 300u);
}

// The shrinker gave up after a number of places where there was nothing to do,
// as if they had been failures. Ours: victims that had gone.
TEST_F(LimitBugs, B21_VanishedVictimsAreNoFailures) {
  static unsigned left = 0;
  const auto take_it_away = [](Slot slot) {
    if (left == 0) return;
    --left;
    hooked->zswap->Invalidate(slot, 1);
  };
  for (auto* hook :
       {&zswap_test_hooks.after_select, &zswap_test_hooks.before_finish}) {
    Engine engine({.device_pages = 1000});
    hooked = &engine;
    left = 3 * kMaxWritebackFailures;
    for (uint64_t slot = 0; slot < 200; ++slot) {
      ASSERT_TRUE(engine.Store(slot, 1).ok());
    }
    *hook = take_it_away;
    EXPECT_EQ(engine.zswap->Shrink(100), 100u);
    *hook = nullptr;
    EXPECT_EQ(left, 0u);
    EXPECT_EQ(engine.zswap->Stats().reject_reclaim_fail, 0u);
  }
}

// The shrinker went on below the point at which the pool accepts again, or
// stopped above it, so that stores were refused for ever.
TEST_F(LimitBugs, B24_ShrinkingStopsWhereThePoolAcceptsAgain) {
  struct Case {
    unsigned accept_percent;
    bool in_one_store;  // which writes at most kWritebackBatch pages back
  };
  for (const Case& c : {Case{98, true}, Case{50, false}}) {
    Engine engine({.total_pages = 200,
                   .accept_threshold_percent = c.accept_percent,
                   .device_pages = 100000});
    const PageCount accept = 2 * c.accept_percent;
    uint64_t slot = 0;
    while (engine.zswap->Stats().pool_pages < 200) {
      ASSERT_TRUE(engine.Store(slot++, 1, Content::kRandom).ok());
    }
    ASSERT_TRUE(engine.Store(slot++, 1, Content::kRandom).ok());
    ZswapStats stats = engine.zswap->Stats();
    EXPECT_EQ(stats.pool_limit_hit, 1u);
    EXPECT_GT(stats.written_back_pages, 0u);
    EXPECT_EQ(stats.written_back_pages < kWritebackBatch, c.in_one_store);
    for (int i = 0; i < 10 && stats.pool_pages > accept; ++i) {
      ASSERT_TRUE(engine.Store(slot++, 1, Content::kRandom).ok());
      stats = engine.zswap->Stats();
    }
    EXPECT_LE(stats.pool_pages, accept);
    // It accepts: the next store writes nothing back.
    ASSERT_TRUE(engine.Store(slot++, 1, Content::kRandom).ok());
    EXPECT_EQ(engine.zswap->Stats().written_back_pages,
              stats.written_back_pages);
  }
}

// Pages that had just been stored were written back before older ones, as soon
// as memory was short. A first pass only takes a fresh page's mark away.
TEST_F(LimitBugs, B26_AFirstPassTakesNothingFresh) {
  EntrySlab slab;
  ASSERT_TRUE(slab.Init(1000).ok());
  Lru lru(slab);
  const auto add = [&](uint64_t slot) {
    const EntryIndex index = slab.Allocate();
    slab[index].slot = slot;
    lru.Add(index);
  };
  for (uint64_t slot = 0; slot < 100; ++slot) add(slot);
  Lru::Victim victim;
  PageCount visits = 100;
  EXPECT_FALSE(lru.Select(LruList::kYoung, visits, victim));
  EXPECT_EQ(visits, 0u);
  for (uint64_t slot = 1000; slot < 1200; ++slot) add(slot);
  visits = lru.size();
  for (uint64_t slot = 0; slot < 100; ++slot) {
    ASSERT_TRUE(lru.Select(LruList::kYoung, visits, victim));
    EXPECT_EQ(victim.slot, Slot{slot});
  }
  EXPECT_FALSE(lru.Select(LruList::kYoung, visits, victim))
      << "a fresh page went first";
  lru.CheckInvariants();
  slab.Release();
}

// Whoever was not allowed to use zswap at all made it write others' pages back
// all the same, and compressed his own for nothing.
TEST_F(LimitBugs, B27_WhileDisabledNothingIsCompressedOrShrunk) {
  Engine engine({.total_pages = 20, .device_pages = 1000});
  for (uint64_t slot = 0; slot < 15; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  engine.zswap->parameters().enabled = false;
  engine.zswap->SetTotalPages(10);  // and now it is too large
  FaultyCodec::compress_error = EINVAL;
  for (uint64_t slot = 100; slot < 150; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.written_back_pages, 0u);
  EXPECT_EQ(stats.pool_limit_hit, 0u);
  EXPECT_EQ(stats.reject_compress_fail, 0u) << "it was compressed";
  EXPECT_EQ(stats.on_device, 50u);
  EXPECT_EQ(stats.incompressible, 15u);
  FaultyCodec::Heal();
  engine.zswap->parameters().enabled = true;
  ASSERT_TRUE(engine.Store(200, 1, Content::kRandom).ok());
  EXPECT_EQ(engine.zswap->Stats().pool_limit_hit, 1u);
}

// Pages that did not compress and could not be written back were tried again
// and again. Ours stay where they are, raw, and a device that takes nothing is
// asked ever more rarely.
TEST_F(LimitBugs, B29_WhatCannotLeaveIsNotTriedForEver) {
  Engine engine({.total_pages = 50, .device_pages = 1000});
  engine.device->write_fault.Set(1, EIO);
  for (uint64_t slot = 0; slot < 600; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.reject_compress_poor, 600u) << "once for each store";
  EXPECT_EQ(stats.incompressible, 600u);
  EXPECT_LE(stats.device_write_fail, 12 * kMaxWritebackFailures);
  for (uint64_t slot = 0; slot < 600; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1, Content::kRandom));
  }
}

// A batch of which some pages failed was stored in part, or counted wrong. Each
// page of ours has a fate and a reason of its own.
TEST_F(LimitBugs, B38_OnePageOfABatchFailsAlone) {
  Engine engine;  // nowhere else to go
  unsigned failed_at = 0;
  // Every page needs frames of its own, since it is raw, and sometimes more.
  for (unsigned k = 1; k <= 3 * kMaxBatch; ++k) {
    PageBuffer pages[kMaxBatch];
    StoreUnit units[kMaxBatch];
    for (unsigned i = 0; i < kMaxBatch; ++i) {
      pages[i] = PageOf(i, k, Content::kRandom);
      units[i] = {Slot{100 * k + i}, pages[i].data(), kOk};
    }
    const ZswapStats before = engine.zswap->Stats();
    zpool_failure::FailNth(k);
    engine.zswap->StoreGroup(units);
    zpool_failure::FailNth(0);
    const ZswapStats after = engine.zswap->Stats();
    unsigned failed = 0;
    for (unsigned i = 0; i < kMaxBatch; ++i) {
      const bool bad = !units[i].status.ok();
      EXPECT_EQ(units[i].status.error(), bad ? ENOMEM : 0);
      EXPECT_EQ(engine.zswap->Contains(units[i].slot), !bad);
      if (!bad) continue;
      ++failed;
      failed_at |= 1u << i;
    }
    EXPECT_LE(failed, 1u);
    EXPECT_EQ(after.reject_alloc_fail - before.reject_alloc_fail, failed);
    EXPECT_EQ(after.reject_compress_poor - before.reject_compress_poor,
              kMaxBatch - failed);
    EXPECT_EQ(after.zswpout - before.zswpout, kMaxBatch - failed);
    engine.zswap->CheckInvariants();
  }
  EXPECT_EQ(failed_at, 0xffu) << "not every position was tried";
  // The compressor's failures have a counter of their own.
  FaultyCodec::compress_error = EINVAL;
  const ZswapStats before = engine.zswap->Stats();
  ASSERT_TRUE(engine.Store(5000, 1).ok());
  const ZswapStats after = engine.zswap->Stats();
  EXPECT_EQ(after.reject_compress_fail - before.reject_compress_fail, 1u);
  EXPECT_EQ(after.reject_compress_poor, before.reject_compress_poor);
}

}  // namespace
}  // namespace uzswap
