// SPDX-License-Identifier: Apache-2.0
#include "base/thread_table.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "base/os.h"

namespace uzswap {
namespace {

unsigned Listed(int tid) {
  unsigned found = 0;
  for (unsigned i = 0; i < thread_table::kCapacity; ++i) {
    if (thread_table::At(i).tid.load() == tid) ++found;
  }
  return found;
}

TEST(ThreadTable, AThreadKeepsItsRecord) {
  ThreadRecord& self = thread_table::Self();
  EXPECT_EQ(&self, &thread_table::Self());
  EXPECT_EQ(self.tid.load(), os::ThreadId());
  EXPECT_EQ(Listed(os::ThreadId()), 1u);
}

TEST(ThreadTable, ThreadsThatLiveTogetherHaveRecordsOfTheirOwn) {
  constexpr int kThreads = 32;
  std::atomic<int> inside{0};
  std::vector<ThreadRecord*> records(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      records[i] = &thread_table::Self();
      ++inside;
      while (inside.load() < kThreads) os::Yield();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set(records.begin(), records.end()).size(), size_t{kThreads});
}

TEST(ThreadTable, LeavingFreesTheRecord) {
  int tid = 0;
  std::thread([&] {
    tid = os::ThreadId();
    thread_table::Self();
    thread_table::Leave();
  }).join();
  EXPECT_EQ(Listed(tid), 0u);
}

// None of these threads says goodbye.
TEST(ThreadTable, RecordsOfDeadThreadsAreTakenOver) {
  for (unsigned i = 0; i < thread_table::kCapacity + 50; ++i) {
    bool listed = false;
    std::thread([&] {
      ThreadRecord& self = thread_table::Self();
      self.depth.store(1);
      listed = Listed(os::ThreadId()) == 1;
    }).join();
    ASSERT_TRUE(listed) << i;
  }
}

TEST(ThreadTable, AFullTableStillServesEverybody) {
  std::vector<std::thread> threads;
  std::atomic<unsigned> inside{0};
  std::atomic<bool> end{false};
  const unsigned count = thread_table::kCapacity + 8;
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([&] {
      ThreadRecord& self = thread_table::Self();
      self.depth.store(1);
      ++inside;
      while (!end.load()) usleep(1000);
      EXPECT_EQ(&self, &thread_table::Self());
    });
  }
  while (inside.load() < count) usleep(1000);
  end = true;
  for (std::thread& thread : threads) thread.join();
}

TEST(ThreadTable, AChildHasOnlyItself) {
  std::atomic<bool> ready{false};
  std::atomic<bool> end{false};
  std::atomic<int> other{0};
  std::thread thread([&] {
    thread_table::Self();
    other = os::ThreadId();
    ready = true;
    while (!end.load()) os::Yield();
  });
  while (!ready.load()) os::Yield();
  const ThreadRecord* self = &thread_table::Self();
  const pid_t child = fork();
  if (child == 0) {
    thread_table::ResetInChild();
    const bool good = Listed(other.load()) == 0 &&
                      Listed(os::ThreadId()) == 1 &&
                      self == &thread_table::Self();
    _exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  // A reset by mistake in the parent forgets nobody who lives.
  thread_table::ResetInChild();
  EXPECT_EQ(Listed(other.load()), 1u);
  end = true;
  thread.join();
}

}  // namespace
}  // namespace uzswap
