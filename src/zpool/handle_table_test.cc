// SPDX-License-Identifier: Apache-2.0
#include "zpool/handle_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "zpool/failure.h"

namespace uzswap {
namespace {

class HandleTableTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(table_.Init(kLimit).ok()); }
  void TearDown() override { table_.Release(); }

  static constexpr uint64_t kLimit = 100'000;
  HandleTable table_;
};

TEST_F(HandleTableTest, GivesOutEveryHandleOnceAndThenNone) {
  std::set<uint32_t> handles;
  for (uint64_t i = 1; i < kLimit; ++i) {
    const uint32_t handle = table_.Take();
    ASSERT_NE(handle, 0u);
    ASSERT_TRUE(handles.insert(handle).second);
  }
  EXPECT_EQ(table_.Take(), 0u);
  table_.CheckInvariants(kLimit - 1);
  EXPECT_EQ(table_.metadata_bytes(), PageCeil(kLimit * 8));
}

TEST_F(HandleTableTest, ReturnedHandlesAreReusedBeforeTheTableGrows) {
  const uint32_t a = table_.Take();
  const uint32_t b = table_.Take();
  table_.Return(a);
  table_.Return(b);
  table_.CheckInvariants(0);
  const std::set<uint32_t> again = {table_.Take(), table_.Take()};
  EXPECT_EQ(again, (std::set<uint32_t>{a, b}));
  EXPECT_FALSE(table_.WasGiven(b + 1));
  table_.CheckInvariants(2);
}

#ifdef UZSWAP_TEST_HOOKS
TEST_F(HandleTableTest, ARefusedPageCostsOneHandleAndNothingElse) {
  zpool_failure::FailNth(1);
  uint64_t live = 0;
  while (table_.Take() != 0) ++live;
  EXPECT_EQ(live, kPageSize / 8 - 1);
  table_.CheckInvariants(live);
  EXPECT_EQ(table_.Take(), live + 1);
}
#endif

TEST_F(HandleTableTest, AnObjectMovesOnlyWhileNobodyUsesIt) {
  const uint32_t handle = table_.Take();
  table_.Set(handle, 7);
  EXPECT_EQ(table_.BeginUse(handle), 7u);
  EXPECT_EQ(table_.BeginUse(handle), 7u);
  EXPECT_TRUE(table_.InUse(handle));
  EXPECT_FALSE(table_.BeginMove(handle, 7));
  table_.EndUse(handle);
  EXPECT_FALSE(table_.BeginMove(handle, 7));
  table_.EndUse(handle);
  EXPECT_FALSE(table_.BeginMove(handle, 6));  // it is elsewhere
  ASSERT_TRUE(table_.BeginMove(handle, 7));
  EXPECT_FALSE(table_.BeginMove(handle, 7));
  std::atomic<uint32_t> found{0};
  std::thread user([&] {
    found = table_.BeginUse(handle);
    table_.EndUse(handle);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(found, 0u);  // it waits
  table_.Set(handle, 9);
  user.join();
  EXPECT_EQ(found, 9u);
  EXPECT_FALSE(table_.InUse(handle));
}

// Each thread returns the handle it took first and keeps the one that was
// below it: the top of the stack is then the same again, what follows is not.
TEST_F(HandleTableTest, NoTwoThreadsEverOwnTheSameHandle) {
  std::vector<std::thread> threads;
  for (uint32_t id = 1; id <= 4; ++id) {
    threads.emplace_back([this, id] {
      for (int round = 0; round < 300'000; ++round) {
        const uint32_t top = table_.Take();
        table_.Set(top, id << 24 | top);
        const uint32_t kept = table_.Take();
        table_.Set(kept, id << 24 | kept);
        ASSERT_EQ(table_.Get(top), id << 24 | top);
        table_.Return(top);
        ASSERT_EQ(table_.Get(kept), id << 24 | kept);
        table_.Return(kept);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  table_.CheckInvariants(0);
}

}  // namespace
}  // namespace uzswap
