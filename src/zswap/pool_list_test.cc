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
  EXPECT_GE(engine.zswap->Stats().pools, 2u);
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  for (uint64_t slot = 0; slot < 10; ++slot) {
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

#ifdef UZSWAP_TEST_HOOKS
// A store that saw it as current the second time may not be counted yet.
TEST_F(PoolListTest, APoolThatWasRevivedMeanwhileWaitsForAnotherGracePeriod) {
  static Engine* engine = nullptr;
  static std::atomic<int> looks{0};
  static std::atomic<uint64_t> pools_at_second_look{0};
  Engine own;
  engine = &own;
  ASSERT_TRUE(Switch(own, "zstd").ok());
  own.zswap->FlushWork();  // the first pool is gone
  looks = 0;
  zswap_test_hooks.after_grace = [] {
    const int look = ++looks;
    if (look == 1) {
      EXPECT_TRUE(Switch(*engine, "zstd").ok());
      EXPECT_TRUE(Switch(*engine, "lz4").ok());
    } else if (look == 2) {
      pools_at_second_look = engine->zswap->Stats().pools;
    }
  };
  ASSERT_TRUE(Switch(own, "lz4").ok());
  own.zswap->FlushWork();
  zswap_test_hooks.after_grace = nullptr;
  EXPECT_GE(looks, 2);
  EXPECT_EQ(pools_at_second_look, 2u);
  EXPECT_EQ(own.zswap->Stats().pools, 1u);
}
#endif

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
