// SPDX-License-Identifier: Apache-2.0
// Bugs that the kernel's zswap had about the life of an entry, by their numbers
// in docs/bugs.md. Each test fails if the guard against its bug is taken away
// (tools/mutants.py). Others are in the files of what they are about.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/worker_test_support.h"
#include "zswap/parameters.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

// What a hook works on: hooks are plain functions.
Engine* hooked = nullptr;

class ZswapBugs : public testing::Test {
 protected:
  ZswapBugs() {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
  }
  ~ZswapBugs() override {
    zswap_test_hooks = {};
    hooked = nullptr;
  }
};

// A writeback that had chosen a page wrote it to a slot which another page had
// been given meanwhile. A limit that goes up and down made that frequent.
TEST_F(ZswapBugs, B1_ASwingingLimitBringsNoOldVersionBack) {
  Engine engine(
      {.total_pages = 400, .max_pool_percent = 20, .device_pages = 100000});
  constexpr uint64_t kSlots = 300;
  std::atomic<bool> stop{false};
  std::thread swing([&] {
    Parameters& parameters = engine.zswap->parameters();
    for (unsigned i = 0; !stop; ++i) {
      parameters.max_pool_percent = i % 2 == 0 ? 1 : 20;
      engine.zswap->ParametersChanged();
      engine.zswap->Shrink(8);
    }
  });
  std::atomic<int> wrong{0};
  const auto hog = [&](uint64_t thread) {
    std::vector<uint64_t> version(kSlots, 0);
    std::mt19937_64 random(thread);
    for (uint64_t step = 1; step < 4000; ++step) {
      const uint64_t i = random() % kSlots;
      const uint64_t slot = i * 2 + thread;
      // Half of them are stored again and again without a load between.
      if (version[i] != 0 && random() % 2 == 0) {
        wrong += engine.LoadIs(slot, version[i]) ? 0 : 1;
        version[i] = 0;
      } else {
        version[i] = step;
        wrong += engine.Store(slot, step).ok() ? 0 : 1;
      }
    }
    for (uint64_t i = 0; i < kSlots; ++i) {
      if (version[i] == 0) continue;
      wrong += engine.LoadIs(i * 2 + thread, version[i]) ? 0 : 1;
    }
  };
  std::thread other(hog, 1);
  hog(0);
  other.join();
  stop = true;
  swing.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(engine.zswap->Stats().written_back_pages, 0u);
}

// The writeback that found out that its victim had gone left the new page it
// had made for it locked and referenced. Ours takes a block, a claim and a
// buffer.
TEST_F(ZswapBugs, B2_AWritebackThatComesTooLateLeavesNothing) {
  Engine engine({.device_pages = 1000});
  hooked = &engine;
  constexpr uint64_t kRounds = 200;
  for (uint64_t i = 0; i < kRounds; ++i) {
    ASSERT_TRUE(engine.Store(1, i).ok());
    auto& hook = i % 2 == 0 ? zswap_test_hooks.after_select
                            : zswap_test_hooks.before_finish;
    hook = [](Slot slot) {
      zswap_test_hooks = {};
      hooked->zswap->Invalidate(slot, 1);
    };
    ASSERT_EQ(engine.zswap->Shrink(1), 0u);
    ASSERT_EQ(engine.device->used(), 0u) << "a block nobody knows";
    ASSERT_EQ(engine.zswap->Stats().stored_pages, 0u) << "a claim";
  }
  EXPECT_EQ(engine.device->writes, kRounds / 2);
  EXPECT_EQ(engine.device->frees, kRounds / 2);
  engine.zswap->CheckInvariants();
  // None of them counted as failed: nothing was lost.
  EXPECT_EQ(engine.zswap->Stats().reject_reclaim_fail, 0u);
}

// A page that was stored while zswap was off went to the device, but the older
// version stayed, and was written over it later.
TEST_F(ZswapBugs, B3_AStoreWhileDisabledLeavesNoOlderVersion) {
  Engine engine({.device_pages = 10});
  std::atomic<bool>& enabled = engine.zswap->parameters().enabled;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  enabled = false;
  ASSERT_TRUE(engine.Store(1, 2).ok());
  ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.on_device, 1u);
  EXPECT_EQ(stats.compressed, 0u) << "version 1 is still there";
  enabled = true;
  EXPECT_EQ(engine.zswap->Shrink(10), 0u);
  EXPECT_TRUE(engine.LoadIs(1, 2));
  EXPECT_EQ(engine.LoadError(1), ENOENT);
}

// The slots' table was freed at swapoff under somebody who walked the LRU. Ours
// gives pages of the table back, too, when their range is forgotten.
TEST_F(ZswapBugs, B4_TablePagesAreGivenBackUnderAWalker) {
  Engine engine({.device_pages = 100});
  hooked = &engine;
  static constexpr uint64_t kBase = uint64_t{1} << 22;
  static ByteCount before = 0;
  static ByteCount after = 0;
  for (uint64_t slot = kBase; slot < kBase + 4096; slot += 64) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  zswap_test_hooks.after_select = [](Slot slot) {
    EXPECT_GE(Index(slot), kBase);
    before = hooked->zswap->Stats().metadata_bytes;
    hooked->zswap->Invalidate(Slot{kBase}, 4096);
    after = hooked->zswap->Stats().metadata_bytes;
  };
  EXPECT_EQ(engine.zswap->Shrink(10), 0u);
  EXPECT_EQ(before - after, 4 * kPageSize) << "the cells of 4096 slots";
  EXPECT_EQ(engine.device->writes, 0u);
  zswap_test_hooks = {};
  ASSERT_TRUE(engine.Store(kBase, 2).ok());
  EXPECT_TRUE(engine.LoadIs(kBase, 2));
}

// The same at the end of an engine, with pages still being moved.
TEST_F(ZswapBugs, B4_DestroyEndsWhatIsUnderWay) {
  const uzswap_compressor* codec = FaultyCodec::Table();
  for (int round = 0; round < 5; ++round) {
    const Result<Zswap*> made =
        Zswap::Create({.compressor = codec,
                       .level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL,
                       .zpool = "zsmalloc",
                       .device = nullptr,
                       .total_pages = 1 << 20,
                       .max_pool_percent = 100,
                       .accept_threshold_percent = 90});
    ASSERT_TRUE(made.ok());
    Zswap* zswap = made.value();
    for (uint64_t slot = 0; slot < 3000; ++slot) {
      ASSERT_TRUE(zswap->Store(Slot{slot}, PageOf(slot, 1)).ok());
    }
    ASSERT_TRUE(zswap->SwitchPool(*codec, 2, "zsmalloc").ok());
    while (zswap->Stats().migrated_pages == 0) std::this_thread::yield();
    zswap->Destroy();
  }
}

// An exclusive load and the core's own invalidation both freed the entry.
TEST_F(ZswapBugs, B5_WhoTakesAnEntryOutFreesItAlone) {
  Engine engine;
  constexpr uint64_t kSlots = 64;
  for (uint64_t round = 0; round < 150; ++round) {
    for (uint64_t slot = 0; slot < kSlots; ++slot) {
      ASSERT_TRUE(engine.Store(slot, round).ok());
    }
    std::atomic<int> ready{0};
    const auto start_together = [&] {
      for (++ready; ready < 2;) std::this_thread::yield();
    };
    std::thread other([&] {
      start_together();
      for (uint64_t slot = 0; slot < kSlots; ++slot) {
        engine.zswap->Invalidate(Slot{slot}, 1);
      }
    });
    start_together();
    for (uint64_t slot = 0; slot < kSlots; ++slot) {
      PageBuffer page;
      const Status s = engine.zswap->Load(Slot{slot}, page);
      EXPECT_TRUE(s.ok() ? page == PageOf(slot, round) : s.error() == ENOENT);
    }
    other.join();
    ASSERT_EQ(engine.zswap->Stats().stored_pages, 0u);
  }
}

// Shared scratch memory was counted as used by somebody whose set-up had
// failed, and never freed. Buffers of writebacks are all that we share.
TEST_F(ZswapBugs, B31_FailedWritebacksKeepNoBuffer) {
  Engine engine({.device_pages = 10});
  ASSERT_TRUE(engine.Store(1, 1).ok());
  const ByteCount metadata = engine.zswap->Stats().metadata_bytes;
  engine.device->write_fault.Set(1, ENOSPC);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(engine.zswap->Shrink(1), 0u);
  engine.device->write_fault.Set(1, EIO);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(engine.zswap->Shrink(1), 0u);
  engine.device->write_fault.Clear();
  EXPECT_EQ(engine.zswap->Stats().metadata_bytes, metadata);
  EXPECT_EQ(engine.zswap->Shrink(1), 1u);
  EXPECT_TRUE(engine.LoadIs(1, 1));
}

// Pages that had been mapped for a batch stayed mapped when the allocator
// failed. An object that is being read can be neither moved nor freed.
TEST_F(ZswapBugs, B37_FailedLoadsAndWritebacksLeaveNoReadOpen) {
  Engine engine({.device_pages = 10});
  for (uint64_t slot = 0; slot < 50; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  FaultyCodec::decompress_error = EIO;
  for (uint64_t slot = 0; slot < 50; ++slot) {
    EXPECT_EQ(engine.LoadError(slot), EIO);
  }
  engine.device->write_fault.Set(1, EIO);
  EXPECT_EQ(engine.zswap->Shrink(20), 0u);
  engine.device->write_fault.Clear();
  FaultyCodec::Heal();
  // Freed with a read open, an object dies.
  engine.zswap->Invalidate(Slot{0}, 25);
  for (uint64_t slot = 25; slot < 50; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
  EXPECT_EQ(engine.zswap->Stats().stored_pages, 0u);
}

}  // namespace
}  // namespace uzswap
