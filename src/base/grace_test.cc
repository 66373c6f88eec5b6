// SPDX-License-Identifier: Apache-2.0
#include "base/grace.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace uzswap {
namespace {

TEST(Grace, WithoutReadersItEndsAtOnce) {
  Grace grace;
  for (int i = 0; i < 1000; ++i) grace.Synchronize();
}

TEST(Grace, ItWaitsForAReaderThatBeganBefore) {
  Grace grace;
  std::atomic<bool> ended{false};
  std::thread waiter;
  {
    const Grace::Reader reader(grace);
    waiter = std::thread([&] {
      grace.Synchronize();
      ended = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(ended);
  }
  waiter.join();
  EXPECT_TRUE(ended);
}

TEST(Grace, ItDoesNotWaitForReadersThatComeLater) {
  Grace grace;
  std::atomic<bool> stop{false};
  // One of the two is always reading, each section begun after the other's.
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        const Grace::Reader reader(grace);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  for (int i = 0; i < 10; ++i) grace.Synchronize();
  stop = true;
  for (std::thread& thread : readers) thread.join();
}

// What is taken out of sight is never seen after the grace period.
TEST(Grace, NobodySeesWhatWasTakenAway) {
  struct Thing {
    std::atomic<bool> alive{true};
  };
  Grace grace;
  Thing things[8];
  std::atomic<Thing*> current{&things[0]};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> seen_dead{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&] {
      while (!stop) {
        const Grace::Reader reader(grace);
        const Thing* thing = current.load();
        for (int i = 0; i < 20; ++i) seen_dead += !thing->alive;
      }
    });
  }
  for (size_t i = 1; i < 500; ++i) {
    Thing& next = things[i % 8];
    next.alive = true;
    Thing* old = current.exchange(&next);
    grace.Synchronize();
    old->alive = false;
  }
  stop = true;
  for (std::thread& thread : readers) thread.join();
  EXPECT_EQ(seen_dead, 0u);
}

}  // namespace
}  // namespace uzswap
