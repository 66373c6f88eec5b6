// SPDX-License-Identifier: Apache-2.0
#include "pager/bounce.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

namespace uzswap {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte*> TakeAll(BounceBuffers* buffers) {
  std::vector<std::byte*> taken;
  for (uint64_t i = 0; i < BounceBuffers::kCount; ++i) {
    taken.push_back(buffers->Get());
  }
  return taken;
}

TEST(BounceBuffers, EachIsGivenToOneThreadAtATime) {
  BounceBuffers buffers;
  ASSERT_TRUE(buffers.Init().ok());
  const std::vector<std::byte*> taken = TakeAll(&buffers);
  EXPECT_EQ(std::set(taken.begin(), taken.end()).size(), BounceBuffers::kCount);
  buffers.Put(taken[3]);
  EXPECT_EQ(buffers.Get(), taken[3]);
  for (const std::byte* one : taken) buffers.Put(one);
  buffers.Release();
}

// The sleepers are more than one, and the puts come in one go: the first of
// them ends "all taken", the others find it ended.
TEST(BounceBuffers, EverySleeperIsWoken) {
  constexpr int kSleepers = 40;
  BounceBuffers buffers;
  ASSERT_TRUE(buffers.Init().ok());
  std::vector<std::byte*> taken = TakeAll(&buffers);
  std::atomic<int> started{0};
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kSleepers; ++i) {
    threads.emplace_back([&] {
      ++started;
      buffers.Put(buffers.Get());
      ++done;
    });
  }
  while (started != kSleepers) std::this_thread::sleep_for(milliseconds(1));
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(done, 0);
  for (const std::byte* one : taken) buffers.Put(one);
  for (int i = 0; i < 5000 && done != kSleepers; ++i) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(done, kSleepers);
  // Ends the test even if some still sleep.
  while (done != kSleepers) {
    taken = TakeAll(&buffers);
    for (const std::byte* one : taken) buffers.Put(one);
    std::this_thread::sleep_for(milliseconds(1));
  }
  for (std::thread& thread : threads) thread.join();
  buffers.Release();
}

TEST(BounceBuffers, ManyThreadsAllGetThrough) {
  BounceBuffers buffers;
  ASSERT_TRUE(buffers.Init().ok());
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 64; ++t) {
    threads.emplace_back([&buffers, &wrong, t] {
      for (int i = 0; i < 2000; ++i) {
        const ScopedBounce bounce(buffers);
        const auto mark = static_cast<std::byte>(t);
        bounce.page(0)[0] = mark;
        if (i % 16 == 0) std::this_thread::yield();
        wrong += bounce.page(0)[0] != mark;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  buffers.Release();
}

}  // namespace
}  // namespace uzswap
