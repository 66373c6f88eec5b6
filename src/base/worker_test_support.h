// SPDX-License-Identifier: Apache-2.0
// For the tests of Worker: an item that counts, and a fixture that checks at
// the end of each test that no thread is left.
#ifndef UZSWAP_BASE_WORKER_TEST_SUPPORT_H_
#define UZSWAP_BASE_WORKER_TEST_SUPPORT_H_

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "base/os.h"
#include "base/worker.h"

namespace uzswap {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

enum class Kind { kRaw, kLibrary };

inline int Threads() {
  int count = 0;
  DIR* directory = opendir("/proc/self/task");
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count;
}

inline Status StartLibraryThread(RawThread::Entry entry, void* argument) {
  std::thread(entry, argument).detach();
  return kOk;
}

inline Status RefuseThread(RawThread::Entry, void*) {
  return Status::Error(EAGAIN);
}

// Counts its runs. What it does besides is set before it is queued. It runs on
// a thread without libc.
struct Item {
  Work work{.run = Run};
  std::atomic<int> runs{0};
  std::atomic<bool>* gate = nullptr;     // waits until it is true
  std::atomic<bool>* started = nullptr;  // told at the beginning
  std::vector<int>* order = nullptr;     // of tests without a raw thread
  int number = 0;

  static void Run(Work* work) {
    // work is the first member.
    auto* const item = reinterpret_cast<Item*>(work);
    if (item->started != nullptr) item->started->store(true);
    while (item->gate != nullptr && !item->gate->load()) os::Yield();
    if (item->order != nullptr) item->order->push_back(item->number);
    item->runs.fetch_add(1);
  }
};

class WorkerTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    if (GetParam() == Kind::kRaw && kSanitized) {
      GTEST_SKIP() << "a sanitizer's run-time library must know every thread";
    }
    Worker::SetStarter(GetParam() == Kind::kRaw ? nullptr : StartLibraryThread);
    // What the library keeps of its first thread is no leak of ours. A thread
    // that was joined can be in the list for a moment.
    std::thread([] {}).join();
    threads_ = Threads();
    for (int i = 0; i < 20; ++i) {
      usleep(500);
      threads_ = std::min(threads_, Threads());
    }
  }
  void TearDown() override {
    worker_.CheckInvariants();
    worker_.StopAll();
    if (!IsSkipped()) ExpectNoThread();
    Worker::SetStarter(nullptr);
  }
  void ExpectNoThread() const {
    for (int i = 0; i < 2000 && Threads() != threads_; ++i) usleep(1000);
    EXPECT_EQ(Threads(), threads_);
  }

  Worker worker_;
  int threads_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_WORKER_TEST_SUPPORT_H_
