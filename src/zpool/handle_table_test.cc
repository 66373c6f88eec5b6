// SPDX-License-Identifier: Apache-2.0
#include "zpool/handle_table.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(table_.metadata_bytes(), PageCeil(kLimit * 4));
}

TEST_F(HandleTableTest, ReturnedHandlesAreReusedBeforeTheTableGrows) {
  const uint32_t a = table_.Take();
  const uint32_t b = table_.Take();
  table_.Return(a);
  table_.Return(b);
  table_.CheckInvariants(0);
  EXPECT_EQ(table_.Take(), b);
  EXPECT_EQ(table_.Take(), a);
  EXPECT_FALSE(table_.WasGiven(b + 1));
  table_.CheckInvariants(2);
}

#ifdef UZSWAP_TEST_HOOKS
TEST_F(HandleTableTest, ARefusedPageCostsOneHandleAndNothingElse) {
  zpool_failure::FailNth(1);
  uint64_t live = 0;
  while (table_.Take() != 0) ++live;
  EXPECT_EQ(live, kPageSize / 4 - 1);
  table_.CheckInvariants(live);
  EXPECT_EQ(table_.Take(), live + 1);
}
#endif

// Threads return handles in another order than they took them, so that the top
// of the stack is often the same again above a different rest.
TEST_F(HandleTableTest, NoTwoThreadsEverOwnTheSameHandle) {
  std::vector<std::thread> threads;
  for (uint32_t id = 1; id <= 4; ++id) {
    threads.emplace_back([this, id] {
      for (int round = 0; round < 200'000; ++round) {
        const uint32_t a = table_.Take();
        const uint32_t b = table_.Take();
        const uint32_t c = table_.Take();
        table_.Set(a, id << 24 | a);
        table_.Set(b, id << 24 | b);
        table_.Set(c, id << 24 | c);
        ASSERT_EQ(table_.Get(b), id << 24 | b);
        table_.Return(c);
        ASSERT_EQ(table_.Get(a), id << 24 | a);
        ASSERT_EQ(table_.Get(b), id << 24 | b);
        table_.Return(b);
        table_.Return(a);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  table_.CheckInvariants(0);
}

}  // namespace
}  // namespace uzswap
