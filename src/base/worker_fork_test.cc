// SPDX-License-Identifier: Apache-2.0
// Fork while work is queued, running, or being queued by others.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "base/os.h"
#include "base/worker.h"
#include "base/worker_test_support.h"

namespace uzswap {
namespace {

INSTANTIATE_TEST_SUITE_P(Starters, WorkerTest,
                         testing::Values(Kind::kRaw, Kind::kLibrary),
                         [](const auto& info) {
                           return info.param == Kind::kRaw ? "Raw" : "Library";
                         });

// Runs check in a child and expects 0 of it.
template <typename Function>
void InChild(Worker& worker, Function check) {
  worker.PrepareFork();
  worker.LockForFork();
  const pid_t child = fork();
  if (child == 0) {
    lockdep::ResetThread();
    worker.ChildAfterFork();
    worker.CheckInvariants();
    alarm(60);
    _exit(check() ? 0 : 1);
  }
  worker.ParentAfterFork();
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_P(WorkerTest, QueuedWorkSurvivesForkOnBothSides) {
  std::deque<Item> items(3);
  Worker::SetStarter(RefuseThread);
  for (Item& item : items) ASSERT_TRUE(worker_.Queue(item.work));
  Worker::SetStarter(GetParam() == Kind::kRaw ? nullptr : StartLibraryThread);
  InChild(worker_, [&] {
    for (Item& item : items) {
      if (item.runs.load() != 0 || worker_.Queue(item.work)) return false;
    }
    Item fourth;
    // Starts a thread, which runs what was queued before, too.
    if (!kSanitized && !worker_.Queue(fourth.work)) return false;
    if (!kSanitized) worker_.Flush(fourth.work);
    worker_.RunPending();
    for (Item& item : items) {
      if (item.runs.load() != 1) return false;
    }
    return true;
  });
  // In the parent the end of the fork starts the thread.
  for (Item& item : items) {
    for (int i = 0; i < 5000 && item.runs.load() == 0; ++i) usleep(1000);
    EXPECT_EQ(item.runs.load(), 1);
  }
}

TEST_P(WorkerTest, NothingStartsBetweenPrepareForkAndTheFork) {
  Item item;
  worker_.PrepareFork();
  ASSERT_TRUE(worker_.Queue(item.work));
  worker_.RunPending();
  usleep(20'000);
  EXPECT_EQ(item.runs.load(), 0);
  EXPECT_EQ(Threads(), threads_);
  worker_.ParentAfterFork();
  for (int i = 0; i < 5000 && item.runs.load() == 0; ++i) usleep(1000);
  EXPECT_EQ(item.runs.load(), 1);
}

TEST_P(WorkerTest, NobodyIsInTheQueueAtTheFork) {
  Item item;
  worker_.PrepareFork();
  worker_.LockForFork();
  std::atomic<bool> queued{false};
  std::thread other([&] {
    worker_.Queue(item.work);
    queued = true;
  });
  usleep(20'000);
  EXPECT_FALSE(queued.load());
  worker_.ParentAfterFork();
  other.join();
  worker_.Flush(item.work);
  EXPECT_EQ(item.runs.load(), 1);
}

// Long: runs until told to end, and may be started anew at any time.
struct Long {
  Work work{.run = [](Work* work) {
    auto* const self = reinterpret_cast<Long*>(work);
    self->starts.fetch_add(1);
    while (!self->end.load()) {
      os::Yield();
      self->inside.store(true);
      os::Yield();
      self->inside.store(false);
      self->worker->YieldPoint();
    }
    self->ends.fetch_add(1);
  }};
  Worker* worker = nullptr;
  std::atomic<bool> inside{false};
  std::atomic<bool> end{false};
  std::atomic<int> starts{0};
  std::atomic<int> ends{0};
};

TEST_P(WorkerTest, ForkHappensAtAYieldPointAndTheChildStartsTheItemAnew) {
  Long item;
  item.worker = &worker_;
  ASSERT_TRUE(worker_.Queue(item.work));
  while (item.starts.load() == 0) os::Yield();
  for (int i = 0; i < 20; ++i) {
    InChild(worker_, [&] {
      if (item.inside.load()) return false;
      if (item.starts.load() != 1 || item.ends.load() != 0) return false;
      item.end = true;
      worker_.Flush(item.work);
      return item.starts.load() == 2 && item.ends.load() == 1;
    });
  }
  EXPECT_EQ(item.starts.load(), 1);
  item.end = true;
  worker_.Flush(item.work);
  EXPECT_EQ(item.ends.load(), 1);
}

TEST_P(WorkerTest, ForkWaitsForTheEndOfAnItemThatNeverYields) {
  Item item;
  std::atomic<bool> gate{false};
  std::atomic<bool> started{false};
  item.gate = &gate;
  item.started = &started;
  ASSERT_TRUE(worker_.Queue(item.work));
  while (!started.load()) os::Yield();
  std::thread opener([&] {
    usleep(20'000);
    gate = true;
  });
  InChild(worker_, [&] { return item.runs.load() == 1; });
  opener.join();
}

TEST_P(WorkerTest, ForksWhileOthersQueueLoseNothing) {
  std::atomic<bool> end{false};
  std::deque<Item> items(3);
  std::vector<std::thread> threads;
  for (Item& item : items) {
    threads.emplace_back([&] {
      for (int i = 0; !end.load(); ++i) {
        worker_.Queue(item.work);
        if (i % 3 == 0) worker_.Flush(item.work);
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    InChild(worker_, [&] {
      worker_.RunPending();
      for (Item& item : items) {
        const int runs = item.runs.load();
        if (item.work.queued) return false;
        Worker::SetStarter(RefuseThread);
        if (!worker_.Queue(item.work)) return false;
        worker_.RunPending();
        if (item.runs.load() != runs + 1) return false;
      }
      return true;
    });
  }
  end = true;
  for (std::thread& thread : threads) thread.join();
  worker_.Drain();
}

TEST_P(WorkerTest, WorkThatFoundNoThreadIsDoneWhenSomebodyLooks) {
  Item item;
  Worker::SetStarter(RefuseThread);
  ASSERT_TRUE(worker_.Queue(item.work));
  EXPECT_EQ(item.runs.load(), 0);
  worker_.RunStranded();
  EXPECT_EQ(item.runs.load(), 1);
  worker_.RunStranded();
  EXPECT_EQ(item.runs.load(), 1);
}

TEST_P(WorkerTest, NoThreadIsStartedOnceForbidden) {
  const int before = Threads();
  worker_.ForbidThreads();
  Item item;
  ASSERT_TRUE(worker_.Queue(item.work));
  EXPECT_EQ(Threads(), before);
  EXPECT_EQ(item.runs.load(), 0);
  worker_.RunStranded();
  EXPECT_EQ(item.runs.load(), 1);
}

// As a vfork child, which has our memory but not our process, and is not told.
TEST_P(WorkerTest, AnotherProcessStartsNoThreadAndRunsNothing) {
  worker_.BindToProcess();
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    Item item;
    const int before = Threads();
    const bool queued = worker_.Queue(item.work);
    worker_.RunStranded();
    _exit(queued && item.runs.load() == 0 && Threads() == before ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace uzswap
