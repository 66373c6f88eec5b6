// SPDX-License-Identifier: Apache-2.0
#include "device/block_map.h"

#include <gtest/gtest.h>

#include <set>

namespace uzswap {
namespace {

TEST(BlockMap, FreeingTwiceDies) {
  BlockMap map;
  ASSERT_TRUE(map.Init(10).ok());
  const uint64_t index = map.Take().value();
  map.Put(index);
  EXPECT_DEATH(map.Put(index), "check failed");
  map.Release();
}

TEST(BlockMap, KeptBlocksAreNeverHandedOutAgain) {
  BlockMap map;
  ASSERT_TRUE(map.Init(100).ok());
  std::set<uint64_t> kept;
  for (int i = 0; i < 60; ++i) kept.insert(map.Take().value());
  map.KeepUsed();
  for (const uint64_t index : kept) map.Put(index);
  for (int i = 0; i < 40; ++i) {
    const Result<uint64_t> index = map.Take();
    ASSERT_TRUE(index.ok());
    EXPECT_FALSE(kept.contains(index.value()));
  }
  EXPECT_EQ(map.Take().error(), ENOSPC);
  map.CheckInvariants();
  map.Release();
}

TEST(BlockMap, TheFirstFreeBlockIsTaken) {
  BlockMap map;
  ASSERT_TRUE(map.Init(1000).ok());
  for (uint64_t i = 0; i < 300; ++i) EXPECT_EQ(map.Take().value(), i);
  for (const uint64_t i : {200, 7, 130}) map.Put(i);
  map.CheckInvariants();
  for (const uint64_t i : {7, 130, 200, 300}) {
    EXPECT_EQ(map.Take().value(), i);
  }
  map.CheckInvariants();
  map.Release();
}

TEST(BlockMap, RisingOrderWhileFresh) {
  BlockMap map;
  ASSERT_TRUE(map.Init(1000).ok());
  for (uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(map.Take().value(), i);
  map.Put(500);
  EXPECT_EQ(map.Take().value(), 500u);
  EXPECT_EQ(map.metadata_bytes(), kPageSize);
  map.CheckInvariants();
  map.Release();
}

}  // namespace
}  // namespace uzswap
