// SPDX-License-Identifier: Apache-2.0
// The dense tier: what goes there, what does not, and what is written back.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/worker_test_support.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

const uzswap_compressor& Codec(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

// Words of a small vocabulary: lz4 makes 3.1 KiB of a page, zstd 1.3.
PageBuffer Text(uint64_t slot) {
  PageBuffer page;
  std::mt19937_64 random(slot);
  for (auto& byte : page) byte = static_cast<std::byte>('a' + random() % 6);
  return page;
}

class RecompressTest : public testing::Test {
 protected:
  RecompressTest() {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
  }
  ~RecompressTest() override { zswap_test_hooks = {}; }

  static void Fill(Engine& engine, uint64_t first, uint64_t count) {
    for (uint64_t slot = first; slot < first + count; ++slot) {
      ASSERT_TRUE(engine.zswap->Store(Slot{slot}, Text(slot)).ok());
    }
  }
  static bool LoadsText(Engine& engine, uint64_t slot, Keep keep = Keep::kNo) {
    PageBuffer page;
    return engine.zswap->Load(Slot{slot}, page, keep).ok() &&
           page == Text(slot);
  }
  static Status Dense(Engine& engine, const char* name, int level = kDefault) {
    return name == nullptr ? engine.zswap->SetRecompressor(nullptr, 0)
                           : engine.zswap->SetRecompressor(&Codec(name), level);
  }
  static ZswapStats Flushed(Engine& engine) {
    engine.zswap->FlushWork();
    engine.zswap->CheckInvariants();
    return engine.zswap->Stats();
  }
  // Every page is cold at the second visit of the hand.
  static void RecompressAll(Engine& engine) {
    for (int i = 0; i < 100; ++i) (void)engine.zswap->Recompress(64);
  }
};

TEST_F(RecompressTest, WithoutARecompressorNothingIsTried) {
  Engine engine;
  Fill(engine, 0, 50);
  EXPECT_EQ(engine.zswap->Recompress(100), 0u);
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
}

TEST_F(RecompressTest, ColdPagesMoveToTheDensePoolAndLoadFromIt) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 200);
  const ZswapStats before = Flushed(engine);
  EXPECT_EQ(before.pools, 2u);
  EXPECT_EQ(before.dense_pages, 0u);
  RecompressAll(engine);
  (void)engine.zswap->Compact();
  const ZswapStats after = Flushed(engine);
  EXPECT_EQ(after.dense_pages, 200u);
  EXPECT_EQ(after.recompressed_pages, 200u);
  EXPECT_EQ(after.dense_bytes, after.compressed_bytes);
  EXPECT_LT(after.compressed_bytes, before.compressed_bytes * 7 / 8);
  EXPECT_LT(after.pool_pages, before.pool_pages);
  EXPECT_LE(after.dense_bytes, after.dense_pool_pages * kPageSize);
  EXPECT_EQ(engine.zswap->Recompress(100), 0u);  // nothing is left to do
  for (uint64_t slot = 0; slot < 200; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
  EXPECT_EQ(Flushed(engine).dense_pages, 0u);
}

// Also what the first compressor had to keep raw.
TEST_F(RecompressTest, RawPagesAreTriedAsWell) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  FaultyCodec::compress_error = ENOSPC;
  Fill(engine, 0, 20);
  EXPECT_EQ(Flushed(engine).incompressible, 20u);
  FaultyCodec::Heal();
  RecompressAll(engine);
  const ZswapStats after = Flushed(engine);
  EXPECT_EQ(after.incompressible, 0u);
  EXPECT_EQ(after.dense_pages, 20u);
  for (uint64_t slot = 0; slot < 20; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, WhatDoesNotGetSmallerIsTriedOnce) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  for (uint64_t slot = 0; slot < 40; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kRandom).ok());
  }
  RecompressAll(engine);
  const ZswapStats after = Flushed(engine);
  EXPECT_EQ(after.recompress_poor, 40u);
  EXPECT_EQ(after.dense_pages, 0u);
  EXPECT_EQ(after.incompressible, 40u);
  // Another recompressor may do better.
  ASSERT_TRUE(Dense(engine, "deflate").ok());
  RecompressAll(engine);
  EXPECT_EQ(Flushed(engine).recompress_poor, 80u);
  for (uint64_t slot = 0; slot < 40; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1, Content::kRandom));
  }
}

// B64: what was used since is not cold.
TEST_F(RecompressTest, WhatWasTouchedIsNotCold) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 64);
  (void)engine.zswap->Recompress(2);  // the hand has passed all of them once
  ASSERT_EQ(engine.zswap->Stats().recompressed_pages, 0u);
  for (uint64_t slot = 0; slot < 32; ++slot) {
    ASSERT_TRUE(LoadsText(engine, slot, Keep::kIfRoom));
  }
  EXPECT_EQ(engine.zswap->Recompress(32), 32u);
  for (uint64_t slot = 32; slot < 64; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
  const ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.recompressed_pages, 32u);
  EXPECT_EQ(stats.dense_pages, 0u);  // all of those have been loaded
}

TEST_F(RecompressTest, AFullPoolRecompressesBeforeItWritesBack) {
  Engine engine({.total_pages = 400, .device_pages = 4000});
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  // Without a dense tier some 500 of them fit.
  Fill(engine, 0, 620);
  const ZswapStats stats = Flushed(engine);
  EXPECT_GT(stats.pool_limit_hit, 0u);
  EXPECT_GT(stats.recompressed_pages, 100u);
  EXPECT_EQ(stats.written_back_pages, 0u);
  EXPECT_LE(stats.pool_pages, 400u);
  for (uint64_t slot = 0; slot < 620; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, DensePagesAreWrittenBackFirstAndReadAsTheyAre) {
  Engine engine({.device_pages = 1000});
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 100);
  RecompressAll(engine);
  Fill(engine, 100, 100);
  EXPECT_EQ(engine.zswap->Shrink(100), 100u);
  ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.dense_pages, 0u);
  EXPECT_EQ(stats.on_device, 100u);
  // The pool may go, its decoder stays.
  ASSERT_TRUE(Dense(engine, nullptr).ok());
  stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 1u);
  for (uint64_t slot = 0; slot < 200; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, ADensePoolThatIsLeftDrains) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 100);
  RecompressAll(engine);
  ASSERT_TRUE(Dense(engine, "deflate", 9).ok());
  ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 2u);
  EXPECT_EQ(stats.dense_pages, 100u);  // they stay in the tier
  ASSERT_TRUE(Dense(engine, nullptr).ok());
  stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 1u);
  EXPECT_EQ(stats.dense_pages, 0u);
  for (uint64_t slot = 0; slot < 100; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

// The same kind is never there twice, whichever way it becomes so.
TEST_F(RecompressTest, TheDenseKindMayBecomeTheCurrentOneAndLeaveAgain) {
  Engine engine;
  const auto current = [&](const char* name) {
    ASSERT_TRUE(
        engine.zswap->SwitchPool(Codec(name), kDefault, "zsmalloc").ok());
  };
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 100);
  RecompressAll(engine);
  current("zstd");
  Fill(engine, 100, 100);
  ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 1u);
  EXPECT_EQ(stats.dense_pages, 0u);  // there is no dense tier now
  EXPECT_EQ(engine.zswap->Recompress(100), 0u);
  current("lz4");
  stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 2u);
  EXPECT_EQ(stats.dense_pages, 200u);  // the old pool is the dense one
  EXPECT_EQ(stats.migrated_pages, 0u);
  // The other way round: the current kind is asked for as the dense one.
  ASSERT_TRUE(Dense(engine, "lz4").ok());
  EXPECT_EQ(Flushed(engine).pools, 1u);
  for (uint64_t slot = 0; slot < 200; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, TheDensePoolFollowsTheZpool) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 100);
  RecompressAll(engine);
  ASSERT_TRUE(engine.zswap->SwitchPool(Codec("lz4"), kDefault, "zbud").ok());
  const ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 2u);
  EXPECT_EQ(stats.dense_pages, 100u);
  for (uint64_t slot = 0; slot < 100; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, AFailedChangeChangesNothing) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 20);
  RecompressAll(engine);
  EXPECT_EQ(Dense(engine, "zstd", 1000).error(), EINVAL);
  EXPECT_EQ(
      engine.zswap->SwitchPool(Codec("deflate"), 1000, "zsmalloc").error(),
      EINVAL);
  const ZswapStats stats = Flushed(engine);
  EXPECT_EQ(stats.pools, 2u);
  EXPECT_EQ(stats.dense_pages, 20u);
  for (uint64_t slot = 0; slot < 20; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, PagesThatCannotBeReadStayForALoadToFind) {
  Engine engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 20);
  FaultyCodec::decompress_error = EIO;
  RecompressAll(engine);
  EXPECT_EQ(Flushed(engine).dense_pages, 0u);
  FaultyCodec::Heal();
  for (uint64_t slot = 0; slot < 20; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

// B65: an entry that is loaded, or replaced, between the moment it was chosen
// and the moment it has moved.
Engine* racing = nullptr;

TEST_F(RecompressTest, AnEntryThatIsTakenWhileItMovesIsNotLost) {
  Engine engine;
  racing = &engine;
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  Fill(engine, 0, 8);
  zswap_test_hooks.before_replace = [] {
    zswap_test_hooks.before_replace = nullptr;
    // All eight are claimed now.
    for (uint64_t slot = 0; slot < 4; ++slot) {
      CHECK(LoadsText(*racing, slot, Keep::kIfRoom));
    }
    CHECK(racing->Store(4, 9).ok());
    racing->zswap->Rename(Slot{5}, Slot{50});
    racing->zswap->Invalidate(Slot{6}, 1);
  };
  RecompressAll(engine);
  engine.zswap->CheckInvariants();
  EXPECT_EQ(engine.zswap->Stats().stored_pages, 3u);
  EXPECT_EQ(engine.LoadError(0), ENOENT);
  EXPECT_TRUE(engine.LoadIs(4, 9));
  PageBuffer page;
  ASSERT_TRUE(engine.zswap->Load(Slot{50}, page).ok());
  EXPECT_EQ(page, Text(5));
  EXPECT_TRUE(LoadsText(engine, 7));
}

TEST_F(RecompressTest, TendRecompressesInTheBackgroundOnlyWhenThePoolFills) {
  Engine engine({.total_pages = 400});
  ASSERT_TRUE(Dense(engine, "zstd").ok());
  const auto tend = [&] {
    for (int i = 0; i < 200; ++i) {
      engine.zswap->Tend();
      engine.zswap->FlushWork();
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  };
  Fill(engine, 0, 150);
  tend();
  EXPECT_EQ(Flushed(engine).recompressed_pages, 0u);
  Fill(engine, 150, 200);
  tend();
  EXPECT_GT(Flushed(engine).recompressed_pages, 0u);
  for (uint64_t slot = 0; slot < 350; ++slot) {
    EXPECT_TRUE(LoadsText(engine, slot));
  }
}

TEST_F(RecompressTest, NothingIsLostWhileThreadsRecompressAndSwitch) {
  constexpr uint64_t kSlots = 300;
  Engine engine({.total_pages = 200, .device_pages = 4000});
  std::atomic<bool> done{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(7 + t);
      std::vector<bool> there(kSlots);
      while (!done) {
        const uint64_t i = random() % kSlots;
        const uint64_t slot = t * kSlots + i;
        if (!there[i]) {
          wrong += !engine.zswap->Store(Slot{slot}, Text(slot)).ok();
          there[i] = true;
        } else {
          PageBuffer page;
          const Result<bool> kept = engine.zswap->Load(
              Slot{slot}, page, random() % 2 == 0 ? Keep::kNo : Keep::kIfRoom);
          wrong += !kept.ok() || page != Text(slot);
          there[i] = kept.ok() && kept.value();
        }
      }
    });
  }
  threads.emplace_back([&] {
    while (!done) (void)engine.zswap->Recompress(16);
  });
  const char* const names[] = {"zstd", "deflate", nullptr, "lz4", "copy"};
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(Dense(engine, names[i % 5]).ok());
    if (i % 3 == 0) {
      ASSERT_TRUE(engine.zswap
                      ->SwitchPool(Codec(i % 2 == 0 ? "lz4" : "zstd"), kDefault,
                                   "zsmalloc")
                      .ok());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(Flushed(engine).recompressed_pages, 0u);
}

}  // namespace
}  // namespace uzswap
