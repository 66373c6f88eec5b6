// SPDX-License-Identifier: Apache-2.0
// Pools under an engine: switching, draining, reviving, destruction.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/worker_test_support.h"
#include "zswap/parameters.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

const uzswap_compressor& Codec(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

class PoolListTest : public testing::Test {
 protected:
  void SetUp() override {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
  }
  static Status Switch(Engine& engine, const char* name,
                       int level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL) {
    return engine.zswap->SwitchPool(Codec(name), level, "zsmalloc");
  }
  static void Fill(Engine& engine, uint64_t count) {
    for (uint64_t slot = 0; slot < count; ++slot) {
      ASSERT_TRUE(engine.Store(slot, 1).ok());
    }
  }
};

TEST_F(PoolListTest, EntriesMoveToTheNewPoolAndTheOldOneGoes) {
  Engine engine;
  Fill(engine, 500);
  ASSERT_TRUE(engine.Store(500, 1, Content::kRandom).ok());
  ASSERT_TRUE(engine.Store(501, 1, Content::kSame).ok());
  ASSERT_TRUE(Switch(engine, "zstd").ok());
  engine.zswap->FlushWork();
  engine.zswap->CheckInvariants();
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.pools, 1u);
  EXPECT_EQ(stats.migrated_pages, 501u);
  EXPECT_EQ(stats.stored_pages, 502u);
  for (uint64_t slot = 0; slot < 500; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
  EXPECT_TRUE(engine.LoadIs(500, 1, Content::kRandom));
  EXPECT_TRUE(engine.LoadIs(501, 1, Content::kSame));
}

// It is on the device as the first pool compressed it.
TEST_F(PoolListTest, WhatIsOnTheDeviceOutlivesItsPool) {
  Engine engine({.device_pages = 1000});
  Fill(engine, 100);
  ASSERT_TRUE(engine.Store(100, 1, Content::kRandom).ok());
  EXPECT_EQ(engine.zswap->Shrink(60), 60u);
  ASSERT_TRUE(Switch(engine, "zstd", 5).ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  EXPECT_EQ(engine.zswap->Shrink(30), 30u);
  ASSERT_TRUE(Switch(engine, "deflate").ok());
  engine.zswap->FlushWork();
  ASSERT_TRUE(Switch(engine, "lz4").ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  EXPECT_EQ(engine.zswap->Stats().on_device, 90u);
  engine.zswap->CheckInvariants();
  for (uint64_t slot = 0; slot < 100; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1)) << slot;
  }
  EXPECT_TRUE(engine.LoadIs(100, 1, Content::kRandom));
  EXPECT_EQ(engine.zswap->Stats().device_in, 90u);
}

TEST_F(PoolListTest, GoingBackRevivesADrainingPool) {
  Engine engine;
  Fill(engine, 10);
  // Pages that the second pool cannot keep hold the first one alive.
  FaultyCodec::compress_error = ENOSPC;
  static uzswap_compressor poor = *FaultyCodec::Table();
  poor.name = "poor";
  ASSERT_TRUE(
      engine.zswap
          ->SwitchPool(poor, UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
          .ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 2u);
  EXPECT_EQ(engine.zswap->Stats().migrated_pages, 0u);
  FaultyCodec::Heal();
  ASSERT_TRUE(engine.zswap
                  ->SwitchPool(*FaultyCodec::Table(),
                               UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
                  .ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  engine.zswap->CheckInvariants();
  for (uint64_t slot = 0; slot < 10; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
}

TEST_F(PoolListTest, AFailedSwitchChangesNothing) {
  Engine engine;
  Fill(engine, 10);
  EXPECT_EQ(engine.zswap->SwitchPool(Codec("zstd"), 3, "nosuch").error(),
            ENOENT);
  EXPECT_EQ(Switch(engine, "zstd", 1000).error(), EINVAL);
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  EXPECT_EQ(engine.zswap->Stats().pool_switches, 0u);
  ASSERT_TRUE(engine.Store(10, 1).ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().migrated_pages, 0u);
  for (uint64_t slot = 0; slot < 11; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
}

TEST_F(PoolListTest, AnotherLevelIsAnotherPool) {
  Engine engine;
  Fill(engine, 10);
  ASSERT_TRUE(Switch(engine, "zstd", 1).ok());
  ASSERT_TRUE(Switch(engine, "zstd", 5).ok());
  EXPECT_EQ(engine.zswap->Stats().pool_switches, 2u);
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  for (uint64_t slot = 0; slot < 10; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
}

TEST_F(PoolListTest, TheShrinkerWritesBackOnlyWhileItIsEnabled) {
  Engine engine({.device_pages = 100});
  Fill(engine, 50);
  EXPECT_EQ(engine.zswap->ShrinkUnderPressure(), 0u);
  EXPECT_EQ(engine.zswap->Stats().on_device, 0u);
  engine.zswap->parameters().shrinker_enabled = true;
  PageCount gone = 0;  // a small share each time
  for (int i = 0; i < 100000 && gone < 10; ++i) {
    gone += engine.zswap->ShrinkUnderPressure();
  }
  EXPECT_GE(gone, 10u);
  EXPECT_EQ(engine.zswap->Stats().on_device, gone);
  engine.zswap->parameters().shrinker_enabled = false;
  EXPECT_EQ(engine.zswap->ShrinkUnderPressure(), 0u);
  for (uint64_t slot = 0; slot < 50; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
}

TEST_F(PoolListTest, DisabledPagesGoPastThePool) {
  Engine engine({.device_pages = 8});
  engine.zswap->parameters().enabled = false;
  Fill(engine, 10);
  EXPECT_EQ(engine.zswap->Stats().on_device, 8u);
  EXPECT_EQ(engine.zswap->Stats().compressed, 2u);  // the device is full
  for (uint64_t slot = 0; slot < 10; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1));
  }
}

// A store sees the current pool and stops; the pool is left; nobody has a
// reference to it yet. The grace period that the reaper waited for began when
// the pool drained for the first time, before it was revived.
struct LateStore {
  static inline Engine* engine = nullptr;
  static inline std::thread store;
  static inline std::atomic<int> graces{0};
  static inline std::atomic<bool> armed{false};
  static inline std::atomic<bool> seen{false};
  static inline std::atomic<bool> go_on{false};
  static inline std::atomic<bool> stored{false};

  static void InAcquire() {
    if (!armed.exchange(false)) return;
    seen = true;
    while (!go_on) os::Yield();
  }
  static void AfterGrace() {
    if (++graces != 1) return;
    SwitchTo("faulty");
    armed = true;
    store = std::thread([] { stored = engine->Store(7, 1).ok(); });
    while (!seen) os::Yield();
    SwitchTo("zstd");
    std::thread([] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      go_on = true;
    }).detach();
  }
  static void SwitchTo(const char* name) {
    const bool faulty = strcmp(name, "faulty") == 0;
    CHECK(engine->zswap
              ->SwitchPool(faulty ? *FaultyCodec::Table() : Codec(name),
                           UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
              .ok());
  }
};

TEST_F(PoolListTest, AStoreIntoARevivedPoolThatIsLeftAgainKeepsIt) {
  Worker::SetStarter(StartLibraryThread);  // the hooks use the C library
  Engine engine;
  LateStore::engine = &engine;
  zswap_test_hooks.in_acquire = LateStore::InAcquire;
  zswap_test_hooks.after_grace = LateStore::AfterGrace;
  ASSERT_TRUE(Switch(engine, "zstd").ok());
  while (!LateStore::go_on) os::Yield();
  LateStore::store.join();
  engine.zswap->FlushWork();
  zswap_test_hooks = {};
  EXPECT_TRUE(LateStore::stored);
  EXPECT_GE(LateStore::graces, 2);
  engine.zswap->CheckInvariants();
  EXPECT_TRUE(engine.LoadIs(7, 1));
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  if (!kSanitized) Worker::SetStarter(nullptr);
}

// Stores, loads and invalidations of three threads while pools come and go.
TEST_F(PoolListTest, NothingIsLostWhilePoolsSwitch) {
  constexpr uint64_t kSlots = 400;
  Engine engine({.total_pages = 200, .device_pages = 4000});
  std::atomic<bool> done{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(77 + t);
      std::vector<uint64_t> version(kSlots);  // 0: not stored
      for (int step = 0; !done; ++step) {
        const uint64_t i = random() % kSlots;
        const uint64_t slot = t * kSlots + i;
        const auto content = static_cast<Content>(i % 3);
        if (version[i] == 0 || random() % 4 == 0) {
          version[i] = static_cast<uint64_t>(step) + 1;
          wrong += !engine.Store(slot, version[i], content).ok();
        } else if (random() % 8 == 0) {
          engine.zswap->Invalidate(Slot{slot}, 1);
          version[i] = 0;
        } else {
          wrong += !engine.LoadIs(slot, version[i], content);
          version[i] = 0;
        }
      }
    });
  }
  const char* const names[] = {"lz4", "zstd", "copy", "lzo-rle", "842"};
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Switch(engine, names[i % 5]).ok());
    if (i % 7 == 0) engine.zswap->FlushWork();
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  engine.zswap->FlushWork();
  engine.zswap->CheckInvariants();
  EXPECT_GE(engine.zswap->Stats().pool_switches, 300u);
}

}  // namespace
}  // namespace uzswap
