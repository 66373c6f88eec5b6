// SPDX-License-Identifier: Apache-2.0
// Migration to a compressor that packs less, when there is no room for it.
#include <gtest/gtest.h>

#include <atomic>

#include "base/worker_test_support.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

constexpr uint64_t kPages = 3000;

class MigrationTest : public testing::Test {
 protected:
  MigrationTest() {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
    engine_.zswap->SetMigrationRoom(
        [](const void* room) {
          return static_cast<const std::atomic<bool>*>(room)->load();
        },
        &room_);
    Switch("deflate");
    for (uint64_t i = 0; i < kPages; ++i) {
      EXPECT_TRUE(engine_.Store(i, 1).ok());
    }
    engine_.zswap->FlushWork();
  }
  void Switch(const char* name) {
    const uzswap_compressor* found = registry::Find(name, nullptr).value();
    ASSERT_TRUE(
        engine_.zswap
            ->SwitchPool(*found, UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
            .ok());
  }
  ZswapStats Flushed() {
    engine_.zswap->FlushWork();
    engine_.zswap->CheckInvariants();
    return engine_.zswap->Stats();
  }

  Engine engine_;
  std::atomic<bool> room_{false};
};

TEST_F(MigrationTest, GrowthStopsWithoutRoomAndGoesOnWithIt) {
  const PageCount before = Flushed().pool_pages;
  Switch("lz4");
  const ZswapStats stopped = Flushed();
  EXPECT_EQ(stopped.pools, 2u);
  EXPECT_LT(stopped.migrated_pages, kPages);
  EXPECT_LE(stopped.pool_pages, before + 2 * Zswap::kMigrationFrames);

  engine_.zswap->ContinueMigration();  // there is still none
  EXPECT_EQ(Flushed().migrated_pages, stopped.migrated_pages);

  room_ = true;
  engine_.zswap->ContinueMigration();
  const ZswapStats done = Flushed();
  EXPECT_EQ(done.pools, 1u);
  EXPECT_EQ(done.migrated_pages, kPages);
  EXPECT_GT(done.pool_pages, before + 2 * Zswap::kMigrationFrames);
  for (uint64_t i = 0; i < kPages; ++i) EXPECT_TRUE(engine_.LoadIs(i, 1));
}

TEST_F(MigrationTest, WhatShrinksNeedsNoRoom) {
  room_ = true;
  Switch("lz4");
  ASSERT_EQ(Flushed().pools, 1u);
  room_ = false;
  Switch("deflate");
  EXPECT_EQ(Flushed().pools, 1u);
}

TEST_F(MigrationTest, GoingBackWhileItWaitsMovesWhatHadMoved) {
  Switch("lz4");
  const uint64_t moved = Flushed().migrated_pages;
  Switch("deflate");
  const ZswapStats back = Flushed();
  EXPECT_EQ(back.pools, 1u);
  EXPECT_EQ(back.migrated_pages, 2 * moved);
}

}  // namespace
}  // namespace uzswap
