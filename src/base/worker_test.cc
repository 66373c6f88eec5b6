// SPDX-License-Identifier: Apache-2.0
// Each test of WorkerTest runs with the thread that the worker makes itself
// and, because a sanitizer must know every thread, with one of the standard
// library's.
#include "base/worker.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/os.h"
#include "base/worker_test_support.h"

namespace uzswap {
namespace {

uint64_t VirtualPages() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages;
}

INSTANTIATE_TEST_SUITE_P(Starters, WorkerTest,
                         testing::Values(Kind::kRaw, Kind::kLibrary),
                         [](const auto& info) {
                           return info.param == Kind::kRaw ? "Raw" : "Library";
                         });

TEST_P(WorkerTest, FlushWaitsUntilTheItemHasRun) {
  Item item;
  worker_.Flush(item.work);  // not queued: at once
  ASSERT_TRUE(worker_.Queue(item.work));
  worker_.Flush(item.work);
  EXPECT_EQ(item.runs.load(), 1);
}

TEST_P(WorkerTest, QueueingBeforeItStartsCollapsesToOneRun) {
  std::atomic<bool> gate{false};
  std::atomic<bool> started{false};
  Item first;
  first.gate = &gate;
  first.started = &started;
  Item second;
  ASSERT_TRUE(worker_.Queue(first.work));
  while (!started.load()) os::Yield();
  ASSERT_TRUE(worker_.Queue(second.work));
  EXPECT_FALSE(worker_.Queue(second.work));
  EXPECT_FALSE(worker_.Queue(second.work));
  // The first runs already, so this is a new run.
  EXPECT_TRUE(worker_.Queue(first.work));
  worker_.CheckInvariants();
  gate = true;
  worker_.Drain();
  EXPECT_EQ(second.runs.load(), 1);
  EXPECT_EQ(first.runs.load(), 2);
}

struct Again {
  Work work{.run = [](Work* work) {
    auto* const again = reinterpret_cast<Again*>(work);
    if (again->runs.fetch_add(1) < 4) again->worker->Queue(*work);
  }};
  Worker* worker = nullptr;
  std::atomic<int> runs{0};
};

TEST_P(WorkerTest, AnItemMayQueueItselfAgain) {
  Again again;
  again.worker = &worker_;
  ASSERT_TRUE(worker_.Queue(again.work));
  worker_.Drain();
  EXPECT_EQ(again.runs.load(), 5);
}

struct Dying {
  Work work{.run = [](Work* work) {
    // Its memory goes back to the system, so that a later access dies.
    CHECK(os::Unmap(work, kPageSize).ok());
  }};
};

TEST_P(WorkerTest, AnItemMayFreeItself) {
  // All at once: a sanitizer does not see that an address is used again.
  std::vector<Dying*> items;
  for (int i = 0; i < 100; ++i) {
    const Result<void*> memory = os::Map(kPageSize);
    ASSERT_TRUE(memory.ok());
    items.push_back(new (memory.value()) Dying);
  }
  for (Dying* item : items) ASSERT_TRUE(worker_.Queue(item->work));
  worker_.Drain();
}

TEST_P(WorkerTest, CancelKeepsAQueuedItemFromRunning) {
  std::atomic<bool> gate{false};
  Item first;
  first.gate = &gate;
  Item second;
  ASSERT_TRUE(worker_.Queue(first.work));
  ASSERT_TRUE(worker_.Queue(second.work));
  EXPECT_TRUE(worker_.Cancel(second.work));
  EXPECT_FALSE(worker_.Cancel(second.work));
  worker_.CheckInvariants();
  gate = true;
  worker_.Drain();
  EXPECT_EQ(first.runs.load(), 1);
  EXPECT_EQ(second.runs.load(), 0);
  ASSERT_TRUE(worker_.Queue(second.work));
  worker_.Flush(second.work);
  EXPECT_EQ(second.runs.load(), 1);
}

TEST_P(WorkerTest, CancelWaitsForARunningItem) {
  std::atomic<bool> gate{false};
  std::atomic<bool> started{false};
  Item item;
  item.gate = &gate;
  item.started = &started;
  ASSERT_TRUE(worker_.Queue(item.work));
  while (!started.load()) os::Yield();
  std::atomic<bool> cancelled{false};
  std::thread canceller([&] {
    EXPECT_FALSE(worker_.Cancel(item.work));
    EXPECT_EQ(item.runs.load(), 1);
    cancelled = true;
  });
  usleep(20'000);
  EXPECT_FALSE(cancelled.load());
  gate = true;
  canceller.join();
}

TEST_P(WorkerTest, ManyThreadsQueueAndFlush) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 500;
  Item shared;
  std::deque<Item> own(kThreads);
  // A Cancel that waits for a run may remove what others queue meanwhile, so
  // that it alone could not be counted.
  std::mutex counting;
  int accepted = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        {
          std::lock_guard lock(counting);
          accepted += worker_.Queue(shared.work);
        }
        EXPECT_TRUE(worker_.Queue(own[t].work));
        worker_.Flush(own[t].work);
        EXPECT_EQ(own[t].runs.load(), i + 1);
        if (i % 16 != 0) continue;
        std::lock_guard lock(counting);
        accepted -= worker_.Cancel(shared.work);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  worker_.Drain();
  EXPECT_EQ(shared.runs.load(), accepted);
}

TEST_P(WorkerTest, TenThousandCyclesLeaveNothingBehind) {
  Item item;
  const int rounds = kSanitized ? 1000 : 10'000;
  uint64_t before = 0;
  for (int i = 0; i < rounds; ++i) {
    ASSERT_TRUE(worker_.Queue(item.work));
    worker_.Flush(item.work);
    // By then its stack and what the library caches are there.
    if (i == 200) before = VirtualPages();
  }
  EXPECT_EQ(item.runs.load(), rounds);
  worker_.Drain();
  ExpectNoThread();
  if (GetParam() == Kind::kRaw) {
    EXPECT_LE(VirtualPages(), before);
  }
}

TEST_P(WorkerTest, ThreadEndsWhenTheQueueIsEmpty) {
  Item item;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(worker_.Queue(item.work));
    ExpectNoThread();
    EXPECT_EQ(item.runs.load(), i + 1);
  }
}

TEST_P(WorkerTest, StopAllDrainsAndRefuses) {
  std::deque<Item> items(10);
  for (Item& item : items) ASSERT_TRUE(worker_.Queue(item.work));
  worker_.StopAll();
  for (Item& item : items) EXPECT_EQ(item.runs.load(), 1);
  EXPECT_FALSE(worker_.Queue(items[0].work));
}

// ---- without a thread of the worker's ---------------------------------------

class WorkerAlone : public testing::Test {
 protected:
  void SetUp() override { Worker::SetStarter(RefuseThread); }
  void TearDown() override {
    worker_.StopAll();
    Worker::SetStarter(nullptr);
  }
  Worker worker_;
};

TEST_F(WorkerAlone, WorkThatGetsNoThreadWaitsForRunPending) {
  std::vector<int> order;
  std::deque<Item> items(4);
  for (int i = 0; i < 4; ++i) {
    items[i].order = &order;
    items[i].number = i;
    ASSERT_TRUE(worker_.Queue(items[i].work));
    EXPECT_FALSE(worker_.Queue(items[i].work));
  }
  EXPECT_TRUE(order.empty());
  worker_.CheckInvariants();
  worker_.RunPending();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(WorkerAlone, FlushAndStopAllRunWhatHasNoThread) {
  Item item;
  ASSERT_TRUE(worker_.Queue(item.work));
  worker_.Flush(item.work);
  EXPECT_EQ(item.runs.load(), 1);
  ASSERT_TRUE(worker_.Queue(item.work));
  worker_.StopAll();
  EXPECT_EQ(item.runs.load(), 2);
}

TEST_F(WorkerAlone, NeverRunsTwoItemsAtOnce) {
  static std::atomic<int> inside{0};
  static std::atomic<int> most{0};
  struct Counter {
    Work work{.run = [](Work*) {
      const int now = ++inside;
      if (now > most.load()) most = now;
      os::Yield();
      --inside;
    }};
  };
  std::deque<Counter> items(4);
  std::vector<std::thread> threads;
  for (Counter& item : items) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        worker_.Queue(item.work);
        worker_.RunPending();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most.load(), 1);
}

#ifdef UZSWAP_DEBUG

TEST_F(WorkerAlone, LockdepKnowsThatFlushWaitsForWhatTheItemTakes) {
  static LockClass taken_class{"taken"};
  static Mutex taken{taken_class};
  static LockClass item_class{"(completion)item"};
  static std::vector<std::string> reports;
  Work work{.run = [](Work*) { ScopedLock lock(taken); },
            .lock_class = &item_class};
  // A worker's class is shared by all, so this spoils it for the process.
  const auto test = [&] {
    lockdep::SetReportHandler([](const lockdep::Report& report) {
      reports.emplace_back(report.summary);
    });
    worker_.Queue(work);
    worker_.Flush(work);
    if (!reports.empty()) return false;
    ScopedLock lock(taken);
    worker_.Flush(work);
    return reports.size() == 2 &&
           reports[0].find("taking (completion)worker under taken") !=
               std::string::npos &&
           reports[1].find("taking (completion)item under taken") !=
               std::string::npos;
  };
  EXPECT_EXIT(_exit(test() ? 0 : 1), testing::ExitedWithCode(0), "");
}

#endif  // UZSWAP_DEBUG

using WorkerDeathTest = WorkerAlone;

TEST_F(WorkerDeathTest, AnItemMayNotFlushOnItsOwnWorker) {
  static Worker* worker = nullptr;
  worker = &worker_;
  Work work{.run = [](Work* self) { worker->Flush(*self); }};
  ASSERT_TRUE(worker_.Queue(work));
  EXPECT_DEATH(worker_.RunPending(), "check failed|waiting for itself");
  worker_.Cancel(work);
}

}  // namespace
}  // namespace uzswap
