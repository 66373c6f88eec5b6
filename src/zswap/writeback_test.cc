// SPDX-License-Identifier: Apache-2.0
// The pool's limit, the order of leaving it, and every way in which a writeback
// can meet something else happening to the same slot.
#include "zswap/writeback.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "zswap/limit.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

using Verdict = PoolLimit::Verdict;

// What a hook works on: hooks are plain functions.
Engine* hooked = nullptr;

class Writeback : public testing::Test {
 protected:
  ~Writeback() override {
    zswap_test_hooks = {};
    hooked = nullptr;
  }
};

TEST(PoolLimit, MaximumAndAcceptAreTheKernelsIntegers) {
  PoolLimit limit(20, 90);
  limit.SetTotalPages(1003);
  EXPECT_EQ(limit.max(), 200u);
  EXPECT_EQ(limit.accept(), 180u);
  PoolLimit odd(33, 77);
  odd.SetTotalPages(101);
  EXPECT_EQ(odd.max(), 33u);
  EXPECT_EQ(odd.accept(), 25u);
}

TEST(PoolLimit, B25_FullStaysFullUntilTheAcceptThreshold) {
  PoolLimit limit(100, 90);
  limit.SetTotalPages(100);
  EXPECT_EQ(limit.Check(99), Verdict::kAccept);
  EXPECT_EQ(limit.Check(100), Verdict::kHit);
  EXPECT_EQ(limit.Check(99), Verdict::kStillFull);
  EXPECT_EQ(limit.Check(91), Verdict::kStillFull);
  EXPECT_EQ(limit.Check(90), Verdict::kAccept);
  EXPECT_EQ(limit.Check(99), Verdict::kAccept);
}

TEST(PoolLimit, ThresholdOfHundredIsNoHysteresis) {
  PoolLimit limit(100, 100);
  limit.SetTotalPages(100);
  EXPECT_EQ(limit.Check(100), Verdict::kHit);
  EXPECT_EQ(limit.Check(99), Verdict::kAccept);
}

TEST(WritebackBackoff, AttemptsGetRarerUntilSomethingWorks) {
  WritebackBackoff backoff;
  EXPECT_FALSE(backoff.Skip());
  unsigned skipped = 0;
  for (const unsigned expected :
       {1u, 3u, 7u, 15u, 31u, 63u, 127u, 255u, 255u}) {
    backoff.Failed();
    skipped = 0;
    while (backoff.Skip()) ++skipped;
    EXPECT_EQ(skipped, expected);
  }
  backoff.Failed();
  backoff.Reset();
  EXPECT_FALSE(backoff.Skip());
}

TEST_F(Writeback, ColdestPagesLeaveFirst) {
  Engine engine({.device_pages = 100});
  for (uint64_t slot = 0; slot < 50; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  EXPECT_EQ(engine.zswap->Shrink(20), 20u);
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.written_back_pages, 20u);
  EXPECT_EQ(stats.zswpwb, 20u);
  EXPECT_EQ(stats.on_device, 20u);
  engine.zswap->CheckInvariants();
  for (uint64_t slot = 0; slot < 50; ++slot) {
    const uint64_t from_device = engine.zswap->Stats().device_in;
    ASSERT_TRUE(engine.LoadIs(slot, 1));
    EXPECT_EQ(engine.zswap->Stats().device_in - from_device,
              slot < 20 ? 1u : 0u);
  }
}

TEST_F(Writeback, RawPagesAreWrittenBackToo) {
  Engine engine({.device_pages = 100});
  ASSERT_TRUE(engine.Store(1, 1, Content::kRandom).ok());
  EXPECT_EQ(engine.zswap->Shrink(5), 1u);
  EXPECT_EQ(engine.zswap->Stats().incompressible, 0u);
  EXPECT_TRUE(engine.LoadIs(1, 1, Content::kRandom));
}

// What was stored in a burst survives the first pass.
TEST_F(Writeback, FreshPagesGetASecondChance) {
  Engine engine({.device_pages = 1000});
  for (uint64_t slot = 0; slot < 100; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  EXPECT_EQ(engine.zswap->Shrink(10), 10u);  // all others lose their mark
  for (uint64_t slot = 1000; slot < 1200; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  EXPECT_EQ(engine.zswap->Shrink(90), 90u);
  for (uint64_t slot = 1000; slot < 1200; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1));
  }
  EXPECT_EQ(engine.zswap->Stats().device_in, 0u);
}

// A full pool shrinks to the accept threshold and no further, and then
// accepts again.
TEST_F(Writeback, AFullPoolShrinksToTheAcceptThreshold) {
  Engine engine(
      {.total_pages = 1000, .max_pool_percent = 20, .device_pages = 100000});
  constexpr PageCount kMax = 200;
  constexpr PageCount kAccept = 180;
  PageCount highest = 0;
  PageCount lowest_after_hit = kMax;
  for (uint64_t slot = 0; slot < 5000; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
    const ZswapStats stats = engine.zswap->Stats();
    highest = std::max(highest, stats.pool_pages);
    if (stats.pool_limit_hit > 0) {
      lowest_after_hit = std::min(lowest_after_hit, stats.pool_pages);
    }
  }
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_GT(stats.pool_limit_hit, 0u);
  EXPECT_EQ(stats.pool_limit_exceeded, 0u);
  EXPECT_LE(highest, kMax + 1);
  EXPECT_GE(lowest_after_hit, kAccept - kWritebackBatch);
  EXPECT_EQ(stats.reject_reclaim_fail, 0u);
  // Hysteresis: between two hits there is room for about a tenth of the pool.
  EXPECT_LT(stats.pool_limit_hit, 5000u / 10);
  for (uint64_t slot = 0; slot < 5000; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1, Content::kRandom)) << slot;
  }
}

TEST_F(Writeback, OneStoreWritesBackABoundedBatch) {
  Engine engine({.total_pages = 2000, .device_pages = 100000});
  for (uint64_t slot = 0; slot < 1500; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  engine.zswap->SetTotalPages(100);
  for (uint64_t slot = 2000; slot < 2050; ++slot) {
    const uint64_t before = engine.device->writes;
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
    EXPECT_LE(engine.device->writes - before, kWritebackBatch);
  }
  EXPECT_LE(engine.zswap->Stats().pool_pages, 110u);
}

// Threads that store at the same time exceed the limit by no more than
// what each of them had in its hands (and what zsmalloc keeps in part).
TEST_F(Writeback, B25_ParallelStoresStayNearTheLimit) {
  Engine engine({.total_pages = 400, .device_pages = 100000});
  std::atomic<PageCount> highest{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 2000; ++i) {
        const uint64_t slot = t * 100000 + i;
        ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
        const PageCount now = engine.zswap->Stats().pool_pages;
        PageCount seen = highest.load();
        while (now > seen && !highest.compare_exchange_weak(seen, now)) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(highest, 400u + 4u);
  // At times the others have in their hands all that could leave.
  EXPECT_LE(engine.zswap->Stats().pool_limit_exceeded, 80u);
}

TEST_F(Writeback, WithoutADeviceTheLimitIsExceededVisiblyAndNothingIsLost) {
  Engine engine({.total_pages = 50});
  testing::internal::CaptureStderr();
  for (uint64_t slot = 0; slot < 200; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("exceeds its limit of 50 pages"), std::string::npos);
  EXPECT_EQ(said.find('\n'), said.size() - 1) << said;  // once
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_GT(stats.pool_limit_exceeded, 100u);
  EXPECT_EQ(stats.incompressible, 200u);
  EXPECT_EQ(engine.zswap->Shrink(10), 0u);
  for (uint64_t slot = 0; slot < 200; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1, Content::kRandom));
  }
}

TEST_F(Writeback, B29_WithAFullDeviceThePoolKeepsEverything) {
  Engine engine({.total_pages = 50, .device_pages = 20});
  testing::internal::CaptureStderr();
  for (uint64_t slot = 0; slot < 300; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("takes no more pages"), std::string::npos) << said;
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.on_device, 20u);
  EXPECT_GT(stats.pool_limit_exceeded, 100u);
  EXPECT_EQ(stats.reject_reclaim_fail, stats.device_write_fail);
  // Not one attempt for each store.
  EXPECT_LT(stats.device_write_fail, 30u);
  // Room on the device is used at once.
  ASSERT_TRUE(engine.LoadIs(0, 1, Content::kRandom));
  ASSERT_TRUE(engine.Store(1000, 1, Content::kRandom).ok());
  EXPECT_EQ(engine.device->used(), 20u);
  for (uint64_t slot = 1; slot < 300; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1, Content::kRandom));
  }
}

TEST_F(Writeback, AFailedWritebackStaysAndIsQueuedAgain) {
  for (const int error : {EIO, ENOSPC}) {
    Engine engine({.device_pages = 100});
    for (uint64_t slot = 0; slot < 10; ++slot) {
      ASSERT_TRUE(engine.Store(slot, 1).ok());
    }
    engine.device->write_fault.Set(1, error);
    EXPECT_EQ(engine.zswap->Shrink(10), 0u);
    ZswapStats stats = engine.zswap->Stats();
    EXPECT_GT(stats.reject_reclaim_fail, 0u);
    EXPECT_EQ(stats.device_write_fail, stats.reject_reclaim_fail);
    EXPECT_EQ(stats.compressed, 10u);
    EXPECT_EQ(engine.device->used(), 0u);
    engine.zswap->CheckInvariants();
    engine.device->write_fault.Clear();
    EXPECT_EQ(engine.zswap->Shrink(10), 10u);
    for (uint64_t slot = 0; slot < 10; ++slot) {
      EXPECT_TRUE(engine.LoadIs(slot, 1));
    }
  }
}

TEST_F(Writeback, ContentIsWrittenAsItLiesInThePool) {
  Engine engine({.device_pages = 100});
  ASSERT_TRUE(engine.Store(1, 1).ok());
  const ByteCount length = engine.zswap->Stats().compressed_bytes;
  FaultyCodec::decompress_error = EIO;
  EXPECT_EQ(engine.zswap->Shrink(1), 1u);
  EXPECT_EQ(engine.zswap->Stats().decompress_fail, 0u);
  EXPECT_EQ(engine.device->written_bytes, length);
  EXPECT_EQ(engine.LoadError(1), EIO);
  EXPECT_EQ(engine.zswap->Stats().decompress_fail, 1u);
  EXPECT_TRUE(engine.zswap->Contains(Slot{1}));
  FaultyCodec::Heal();
  EXPECT_TRUE(engine.LoadIs(1, 1));
}

// CVE-2023-53178: between the choice of the victim and its claim the slot gets
// other content; the entry is used again at another slot, or at the same one.
TEST_F(Writeback, B1_AVictimReplacedBeforeItsClaimIsNotWrittenInItsPlace) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  zswap_test_hooks.after_select = [](Slot) {
    zswap_test_hooks.after_select = nullptr;
    hooked->zswap->Invalidate(Slot{1}, 1);
    EXPECT_TRUE(hooked->Store(2, 1).ok());  // takes the entry over
    EXPECT_TRUE(hooked->Store(1, 2).ok());
  };
  EXPECT_EQ(engine.zswap->Shrink(1), 0u);
  EXPECT_EQ(engine.device->writes, 0u);
  engine.zswap->CheckInvariants();
  EXPECT_TRUE(engine.LoadIs(1, 2));
  EXPECT_TRUE(engine.LoadIs(2, 1));
}

TEST_F(Writeback, B1_AnEntryReusedForItsOwnSlotIsWrittenInItsNewVersion) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  zswap_test_hooks.after_select = [](Slot) {
    zswap_test_hooks.after_select = nullptr;
    EXPECT_TRUE(hooked->Store(1, 2).ok());  // same index, same slot
  };
  EXPECT_EQ(engine.zswap->Shrink(1), 1u);
  EXPECT_TRUE(engine.LoadIs(1, 2));
  EXPECT_EQ(engine.zswap->Stats().device_in, 1u);
}

// The other half: the slot changes while the old content is being written.
void ReplaceDuringWriteback(void (*act)(void*)) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  engine.device->during_write = act;
  EXPECT_EQ(engine.zswap->Shrink(1), 0u);
  engine.device->during_write = nullptr;
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.written_back_pages, 0u);
  EXPECT_EQ(stats.reject_reclaim_fail, 0u);
  EXPECT_EQ(stats.on_device, 0u);
  EXPECT_EQ(engine.device->used(), 0u);  // nothing stranded
  engine.zswap->CheckInvariants();
}

TEST_F(Writeback, ALoadDuringWritebackHasTheCopyInThePool) {
  ReplaceDuringWriteback([](void*) {
    EXPECT_TRUE(hooked->LoadIs(1, 1));
    EXPECT_EQ(hooked->zswap->Stats().device_in, 0u);
  });
}

TEST_F(Writeback, B2_AnInvalidateDuringWritebackWins) {
  ReplaceDuringWriteback([](void*) {
    hooked->zswap->Invalidate(Slot{1}, 1);
    EXPECT_FALSE(hooked->zswap->Contains(Slot{1}));
  });
}

TEST_F(Writeback, B2_AStoreDuringWritebackWins) {
  ReplaceDuringWriteback([](void*) {
    EXPECT_TRUE(hooked->Store(1, 2).ok());
    EXPECT_TRUE(hooked->LoadIs(1, 2));
    EXPECT_TRUE(hooked->Store(1, 3).ok());
  });
}

TEST_F(Writeback, ARenameDuringWritebackKeepsTheContent) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  zswap_test_hooks.before_finish = [](Slot) {
    hooked->zswap->Rename(Slot{1}, Slot{5000000});
  };
  EXPECT_EQ(engine.zswap->Shrink(1), 1u);
  engine.zswap->CheckInvariants();
  PageBuffer page;
  ASSERT_TRUE(engine.zswap->Load(Slot{5000000}, page).ok());
  EXPECT_EQ(page, PageOf(1, 1));
}

TEST_F(Writeback, AFailedLoadDuringWritebackLosesNothing) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  engine.device->during_write = [](void*) {
    FaultyCodec::decompress_error = EIO;
    EXPECT_EQ(hooked->LoadError(1), EIO);
    FaultyCodec::Heal();
  };
  EXPECT_EQ(engine.zswap->Shrink(1), 1u);
  engine.device->during_write = nullptr;
  engine.zswap->CheckInvariants();
  EXPECT_TRUE(engine.LoadIs(1, 1));
}

TEST_F(Writeback, ALoadDoesNotWaitForTheDevice) {
  Engine engine({.device_pages = 100});
  ASSERT_TRUE(engine.Store(1, 1).ok());
  static std::atomic<bool> writing{false};
  static std::atomic<bool> loaded{false};
  writing = loaded = false;
  engine.device->during_write = [](void*) {
    writing = true;
    while (!loaded) std::this_thread::yield();  // the device hangs
  };
  std::thread shrinker([&] { engine.zswap->Shrink(1); });
  while (!writing) std::this_thread::yield();
  EXPECT_TRUE(engine.LoadIs(1, 1));
  ASSERT_TRUE(engine.Store(2, 1).ok());
  EXPECT_TRUE(engine.LoadIs(2, 1));
  loaded = true;
  shrinker.join();
  EXPECT_EQ(engine.device->used(), 0u);
}

TEST_F(Writeback, TwoShrinkersNeverTakeTheSamePage) {
  Engine engine({.device_pages = 1000});
  for (uint64_t slot = 0; slot < 500; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  engine.device->delay_us = 20;
  std::vector<std::thread> threads;
  std::atomic<PageCount> went{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) went += engine.zswap->Shrink(10);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(went, 500u);
  EXPECT_EQ(engine.device->writes, 500u);
  for (uint64_t slot = 0; slot < 500; ++slot) {
    ASSERT_TRUE(engine.LoadIs(slot, 1));
  }
}

}  // namespace
}  // namespace uzswap
