// SPDX-License-Identifier: Apache-2.0
#include "base/watchdog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "base/mutex.h"
#include "base/os.h"
#include "base/worker.h"

namespace uzswap {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

// A clock of the test's, and what Check prints.
struct Checker {
  Checker() { Watchdog::Enable(); }

  int After(uint64_t seconds) {
    now += seconds * kSecond;
    testing::internal::CaptureStderr();
    const int stuck = Watchdog::Check(now, 10 * kSecond);
    text = testing::internal::GetCapturedStderr();
    return stuck;
  }
  bool Says(const std::string& words) const {
    return text.find(words) != std::string::npos;
  }

  static inline uint64_t now = 1000 * kSecond;
  std::string text;
};

TEST(Watchdog, NamesTheOperationWithoutProgress) {
  Checker checker;
  {
    const WatchdogScope outer("fault");
    const WatchdogScope inner("reclaim");
    EXPECT_EQ(checker.After(1), 0);
    EXPECT_EQ(checker.After(9), 0);
    EXPECT_EQ(checker.After(1), 1);
    EXPECT_TRUE(checker.Says("watchdog: thread " +
                             std::to_string(os::ThreadId()) +
                             " has made no progress for 10000 ms in reclaim "
                             "in fault\n"))
        << checker.text;
  }
  EXPECT_EQ(checker.After(20), 0);
}

TEST(Watchdog, ProgressOfAnyKindResetsTheClock) {
  Checker checker;
  const WatchdogScope outer("store");
  EXPECT_EQ(checker.After(1), 0);
  EXPECT_EQ(checker.After(9), 0);
  Watchdog::Step();
  EXPECT_EQ(checker.After(9), 0);
  { const WatchdogScope inner("compress"); }
  EXPECT_EQ(checker.After(9), 0);
  EXPECT_EQ(checker.After(10), 1);
}

TEST(Watchdog, AThreadOutsideOperationsMayIdle) {
  Checker checker;
  { const WatchdogScope scope("load"); }
  EXPECT_EQ(checker.After(1), 0);
  EXPECT_EQ(checker.After(100), 0);
  EXPECT_EQ(checker.After(100), 0);
}

TEST(Watchdog, OperationsNestDeeperThanTheyAreNamed) {
  Checker checker;
  for (int i = 0; i < 10; ++i) Watchdog::Begin("deep");
  EXPECT_EQ(checker.After(1), 0);
  EXPECT_EQ(checker.After(10), 1);
  for (int i = 0; i < 10; ++i) Watchdog::End();
  EXPECT_EQ(checker.After(20), 0);
}

TEST(Watchdog, AnEndWithoutBeginIsHarmless) {
  Checker checker;
  Watchdog::End();
  const WatchdogScope scope("load");
  EXPECT_EQ(checker.After(1), 0);
  EXPECT_EQ(checker.After(10), 1);
}

TEST(Watchdog, CostsNanoseconds) {
  constexpr int kRounds = 1'000'000;
  Watchdog::Enable();
  const uint64_t begin = os::MonotonicNs();
  for (int i = 0; i < kRounds; ++i) {
    const WatchdogScope scope("load");
  }
  const uint64_t ns = (os::MonotonicNs() - begin) / kRounds;
  RecordProperty("ns_per_scope", static_cast<int>(ns));
  // Generous: sanitizers and busy machines.
  EXPECT_LT(ns, 1000u);
}

#ifdef UZSWAP_DEBUG

constinit LockClass a_class{"lock a"};
constinit LockClass b_class{"lock b"};

// Waits until Check has something to say of a thread that sleeps.
int CheckUntilStuck(Checker& checker) {
  int stuck = 0;
  for (int i = 0; i < 5000 && stuck == 0; ++i) {
    usleep(1000);
    stuck = checker.After(1);
  }
  return stuck;
}

TEST(Watchdog, SaysWhoHoldsWhatAStuckThreadWaitsFor) {
  static Mutex a(a_class);
  static Mutex b(b_class);
  Checker checker;
  b.Lock();
  std::atomic<int> tid{0};
  std::thread stuck([&] {
    tid = os::ThreadId();
    const WatchdogScope scope("store");
    ScopedLock first(a);
    ScopedLock second(b);
  });
  while (tid.load() == 0) os::Yield();
  usleep(50'000);
  EXPECT_EQ(CheckUntilStuck(checker), 1);
  EXPECT_TRUE(checker.Says("thread " + std::to_string(tid.load()) +
                           " has made no progress"))
      << checker.text;
  const size_t holds = checker.text.find("it holds: ");
  const size_t waits = checker.text.find("it waits for: ");
  const size_t whose = checker.text.find(
      "which thread " + std::to_string(os::ThreadId()) + " holds: ");
  ASSERT_NE(holds, std::string::npos) << checker.text;
  ASSERT_NE(waits, std::string::npos) << checker.text;
  ASSERT_NE(whose, std::string::npos) << checker.text;
  const auto line = [&](size_t at) {
    return checker.text.substr(at, checker.text.find('\n', at) - at);
  };
  EXPECT_NE(line(holds).find("(lock a)"), std::string::npos) << checker.text;
  EXPECT_NE(line(waits).find("(lock b)"), std::string::npos) << checker.text;
  EXPECT_NE(line(whose).find("(lock b)"), std::string::npos) << checker.text;
  EXPECT_NE(line(waits).find("watchdog_test.cc:"), std::string::npos);
  b.Unlock();
  stuck.join();
  EXPECT_EQ(checker.After(20), 0) << checker.text;
}

TEST(Watchdog, SaysWhatWorkAFlushWaitsFor) {
  static std::atomic<bool> end{false};
  static std::atomic<int> runner{0};
  static Worker worker;
  Worker::SetStarter([](RawThread::Entry entry, void* argument) {
    std::thread(entry, argument).detach();
    return kOk;
  });
  Work work{.run = [](Work*) {
    runner = os::ThreadId();
    while (!end.load()) {
      usleep(1000);
      worker.YieldPoint();  // it makes progress
    }
  }};
  ASSERT_TRUE(worker.Queue(work));
  std::thread flusher([&] {
    const WatchdogScope scope("flush");
    worker.Flush(work);
  });
  Checker checker;
  while (runner.load() == 0) os::Yield();
  EXPECT_EQ(CheckUntilStuck(checker), 1);
  EXPECT_TRUE(checker.Says("it waits for: ((completion)worker)"))
      << checker.text;
  EXPECT_TRUE(checker.Says("which thread " + std::to_string(runner.load()) +
                           " holds: ((completion)worker)"))
      << checker.text;
  end = true;
  flusher.join();
  worker.StopAll();
  Worker::SetStarter(nullptr);
}

#endif  // UZSWAP_DEBUG

}  // namespace
}  // namespace uzswap
