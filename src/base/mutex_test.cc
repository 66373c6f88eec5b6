// SPDX-License-Identifier: Apache-2.0
#include "base/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/os.h"

namespace uzswap {
namespace {

constinit LockClass test_class{"test"};

template <typename Function>
void RunThreads(int count, Function function) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(function);
  for (std::thread& thread : threads) thread.join();
}

TEST(Mutex, LosesNoUpdate) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 50'000;
  Mutex mutex(test_class);
  uint64_t count = 0;
  RunThreads(kThreads, [&] {
    for (int i = 0; i < kRounds; ++i) {
      ScopedLock lock(mutex);
      ++count;
    }
  });
  EXPECT_EQ(count, uint64_t{kThreads} * kRounds);
}

// Every holder gives the CPU away, so that waiters really sleep in the kernel.
TEST(Mutex, WakesSleepers) {
  Mutex mutex(test_class);
  uint64_t count = 0;
  RunThreads(4, [&] {
    for (int i = 0; i < 200; ++i) {
      ScopedLock lock(mutex);
      const uint64_t seen = count;
      timespec nap{.tv_sec = 0, .tv_nsec = 20'000};
      nanosleep(&nap, nullptr);
      count = seen + 1;
    }
  });
  EXPECT_EQ(count, 800u);
}

TEST(Mutex, TryLockFailsWhileHeldElsewhere) {
  Mutex mutex(test_class);
  ASSERT_TRUE(mutex.TryLock());
  std::thread([&] {
    const bool got = mutex.TryLock();
    EXPECT_FALSE(got);
    if (got) mutex.Unlock();
  }).join();
  mutex.Unlock();
  ASSERT_TRUE(mutex.TryLock());
  mutex.AssertHeld();
  mutex.Unlock();
}

TEST(Mutex, ResetFreesItInTheChild) {
  Mutex mutex(test_class);
  mutex.Lock();
  mutex.ResetInChild();
  std::thread([&] { ScopedLock lock(mutex); }).join();
  lockdep::ResetThread();
}

TEST(RwLock, WritersExcludeEverybody) {
  RwLock lock(test_class);
  uint64_t a = 0;
  uint64_t b = 0;
  std::atomic<int> torn{0};
  std::atomic<int> role{0};
  RunThreads(4, [&] {
    const bool writer = role.fetch_add(1) % 2 == 0;
    for (int i = 0; i < 20'000; ++i) {
      if (writer) {
        ScopedExclusiveLock held(lock);
        ++a;
        ++b;
      } else {
        ScopedSharedLock held(lock);
        if (a != b) ++torn;
      }
    }
  });
  EXPECT_EQ(torn.load(), 0);
  EXPECT_EQ(a, 40'000u);
  EXPECT_EQ(b, 40'000u);
}

TEST(RwLock, ReadersShare) {
  RwLock lock(test_class);
  std::atomic<int> inside{0};
  RunThreads(3, [&] {
    ScopedSharedLock held(lock);
    ++inside;
    // Ends only if all three are inside together.
    while (inside.load() < 3) os::Yield();
  });
  EXPECT_EQ(inside.load(), 3);
}

TEST(RwLock, WaitingWriterIsNotStarved) {
  RwLock lock(test_class);
  std::atomic<bool> stop{false};
  std::atomic<int> written{0};
  // Readers overlap all the time: without precedence the lock is never free.
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop.load()) {
        ScopedSharedLock held(lock);
        timespec nap{.tv_sec = 0, .tv_nsec = 100'000};
        nanosleep(&nap, nullptr);
      }
    });
  }
  std::thread writer([&] {
    for (int i = 0; i < 20; ++i) {
      ScopedExclusiveLock held(lock);
      ++written;
    }
  });
  const uint64_t begin = os::MonotonicNs();
  while (written.load() < 20 && os::MonotonicNs() - begin < 20'000'000'000u) {
    os::Yield();
  }
  EXPECT_EQ(written.load(), 20);
  stop = true;  // lets a starved writer through, so that the test ends
  for (std::thread& reader : readers) reader.join();
  writer.join();
}

// Holders sleep, so that both kinds of waiters reach the kernel.
TEST(RwLock, WakesSleepersOfBothKinds) {
  RwLock lock(test_class);
  uint64_t written = 0;
  std::atomic<uint64_t> read{0};
  std::atomic<int> role{0};
  RunThreads(4, [&] {
    const bool writer = role.fetch_add(1) % 2 == 0;
    for (int i = 0; i < 200; ++i) {
      timespec nap{.tv_sec = 0, .tv_nsec = 30'000};
      if (writer) {
        ScopedExclusiveLock held(lock);
        nanosleep(&nap, nullptr);
        ++written;
      } else {
        ScopedSharedLock held(lock);
        nanosleep(&nap, nullptr);
        ++read;
      }
    }
  });
  EXPECT_EQ(written, 400u);
  EXPECT_EQ(read.load(), 400u);
}

}  // namespace
}  // namespace uzswap
