// SPDX-License-Identifier: Apache-2.0
// What runs on a raw thread here is engine code and atomics: it has no libc.
#include "base/raw_thread.h"

#include <dirent.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/os.h"

namespace uzswap {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UZSWAP_SKIP_RAW_THREADS \
  GTEST_SKIP() << "a sanitizer's run-time library must know every thread"
#else
#define UZSWAP_SKIP_RAW_THREADS (void)0
#endif

int Threads() {
  int count = 0;
  DIR* directory = opendir("/proc/self/task");
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count;
}

size_t Mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) ++count;
  return count;
}

constinit __thread uint64_t thread_local_value = 0;
constinit std::atomic<uint64_t> seen_local{~uint64_t{0}};
constinit std::atomic<uint64_t> seen_mask{0};
constinit std::atomic<int> seen_tid{0};
constinit std::atomic<uintptr_t> seen_stack{0};

void Observe(void* argument) {
  seen_local = thread_local_value;
  thread_local_value = 77;
  uint64_t mask = 0;
  (void)os::Syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0,
                    reinterpret_cast<int64_t>(&mask), sizeof(mask));
  seen_mask = mask;
  seen_tid = os::ThreadId();
  seen_stack = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  *static_cast<std::atomic<int>*>(argument) += 1;
}

TEST(RawThread, RunsWithZeroThreadLocalsAndAllSignalsBlocked) {
  UZSWAP_SKIP_RAW_THREADS;
  RawThread thread;
  std::atomic<int> runs{0};
  thread_local_value = 5;
  // The second thread gets the memory of the first.
  for (int i = 1; i <= 2; ++i) {
    ASSERT_TRUE(thread.Start(Observe, &runs).ok());
    thread.Join();
    EXPECT_EQ(runs.load(), i);
    EXPECT_EQ(seen_local.load(), 0u);
    const uint64_t cannot_be_blocked =
        uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1);
    EXPECT_EQ(seen_mask.load() | cannot_be_blocked, ~uint64_t{0});
    EXPECT_NE(seen_tid.load(), os::ThreadId());
  }
  EXPECT_EQ(thread_local_value, 5u);
  thread.Release();
}

TEST(RawThread, JoinMeansThatTheThreadIsGone) {
  UZSWAP_SKIP_RAW_THREADS;
  const int before = Threads();
  RawThread thread;
  std::atomic<int> runs{0};
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(thread.Start(Observe, &runs).ok());
    thread.Join();
    ASSERT_EQ(Threads(), before);
  }
  EXPECT_EQ(runs.load(), 100);
  thread.Release();
}

TEST(RawThread, ReleaseGivesTheMemoryBack) {
  UZSWAP_SKIP_RAW_THREADS;
  RawThread thread;
  std::atomic<int> runs{0};
  const size_t before = Mappings();
  ASSERT_TRUE(thread.Start(Observe, &runs).ok());
  thread.Release();
  EXPECT_EQ(Mappings(), before);
  thread.Release();
  // And it can be used again.
  ASSERT_TRUE(thread.Start(Observe, &runs).ok());
  thread.Release();
  EXPECT_EQ(runs.load(), 2);
}

TEST(RawThread, TheStackStandsOnAGuardPage) {
  UZSWAP_SKIP_RAW_THREADS;
  RawThread thread;
  std::atomic<int> runs{0};
  ASSERT_TRUE(thread.Start(Observe, &runs).ok());
  thread.Join();
  std::ifstream maps("/proc/self/maps");
  uintptr_t guard_end = 0;
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t start = 0;
    uintptr_t end = 0;
    char permissions[5] = {};
    ASSERT_EQ(sscanf(line.c_str(), "%lx-%lx %4s", &start, &end, permissions),
              3);
    if (start <= seen_stack && seen_stack < end) {
      found = true;
      EXPECT_EQ(guard_end, start);
    }
    guard_end = strcmp(permissions, "---p") == 0 ? end : 0;
  }
  EXPECT_TRUE(found);
  thread.Release();
}

TEST(RawThread, StartingAgainWaitsForTheThreadBefore) {
  UZSWAP_SKIP_RAW_THREADS;
  RawThread thread;
  std::atomic<int> runs{0};
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(thread.Start(Observe, &runs).ok());
  }
  thread.Release();
  EXPECT_EQ(runs.load(), 2000);
}

TEST(RawThread, EverybodyWhoJoinsIsWoken) {
  UZSWAP_SKIP_RAW_THREADS;
  static std::atomic<bool> go{false};
  RawThread thread;
  for (int round = 0; round < 20; ++round) {
    go = false;
    const auto wait = [](void*) {
      while (!go) os::Yield();
    };
    ASSERT_TRUE(thread.Start(wait, nullptr).ok());
    std::vector<std::thread> joiners;
    for (int i = 0; i < 4; ++i) joiners.emplace_back([&] { thread.Join(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    go = true;
    for (std::thread& joiner : joiners) joiner.join();
  }
  thread.Release();
}

TEST(RawThread, LockingWithOtherThreadsWorks) {
  UZSWAP_SKIP_RAW_THREADS;
  struct Shared {
    LockClass lock_class{"shared"};
    Mutex mutex{lock_class};
    uint64_t count = 0;
  } shared;
  const auto count = [](void* argument) {
    auto* const s = static_cast<Shared*>(argument);
    for (int i = 0; i < 20'000; ++i) {
      ScopedLock lock(s->mutex);
      ++s->count;
    }
  };
  RawThread first;
  RawThread second;
  ASSERT_TRUE(first.Start(count, &shared).ok());
  ASSERT_TRUE(second.Start(count, &shared).ok());
  count(&shared);
  first.Release();
  second.Release();
  EXPECT_EQ(shared.count, 60'000u);
}

void Overflow(void*) {
  volatile char* sp = static_cast<char*>(__builtin_frame_address(0));
  for (size_t i = 0; i < 2 * RawThread::kStackBytes; i += 512) sp[-i] = 1;
}

TEST(RawThreadDeathTest, OverflowingTheStackKills) {
  UZSWAP_SKIP_RAW_THREADS;
  const auto overflow = [] {
    RawThread thread;
    if (thread.Start(Overflow, nullptr).ok()) thread.Join();
  };
  EXPECT_EXIT(overflow(), testing::KilledBySignal(SIGSEGV), "");
}

// In a child, as an ordinary user: root has no limit of threads.
bool FailsCleanlyAndRecovers() {
  constexpr uid_t nobody = 65534;
  if (geteuid() == 0 && setuid(nobody) != 0) return false;
  rlimit limit{};
  if (getrlimit(RLIMIT_NPROC, &limit) != 0) return false;
  const rlim_t old = limit.rlim_cur;
  limit.rlim_cur = 0;
  if (setrlimit(RLIMIT_NPROC, &limit) != 0) return false;
  RawThread thread;
  std::atomic<int> runs{0};
  const Status started = thread.Start(Observe, &runs);
  limit.rlim_cur = old;
  if (setrlimit(RLIMIT_NPROC, &limit) != 0) return false;
  if (started.error() != EAGAIN || runs.load() != 0) return false;
  if (!thread.Start(Observe, &runs).ok()) return false;
  thread.Release();
  return runs.load() == 1;
}

TEST(RawThreadDeathTest, FailsCleanlyWhenTheSystemHasNoThreads) {
  UZSWAP_SKIP_RAW_THREADS;
  EXPECT_EXIT(_exit(FailsCleanlyAndRecovers() ? 0 : 1),
              testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace uzswap
