// SPDX-License-Identifier: Apache-2.0
// Clean pages: read back, kept in zswap as well, dropped again for nothing; and
// every way in which one can be written to, named anew or forgotten.
#include "pager_model.h"

namespace pager_test {
namespace {

constexpr size_t kPages = 2048;
constexpr size_t kBytes = kPages * kPage;

// A page that is not part of a stream is not kept when most are in memory.
constexpr uint64_t kOthers = 8;

// An area whose pages are clean, but for a few.
class PagerClean : public PagerTest {
 protected:
  void SetUp() override {
    PagerTest::SetUp();
    Open({.method = GetParam(), .room = (kExactMemory ? 48 : 512) * kMiB});
    base_ = MapManaged(kBytes);
    for (size_t i = 0; i < kPages; ++i) FillPage(base_ + i * kPage, i, 1);
    uzswap_evict_all();
    ReadAll();
    ASSERT_GE(Stats().stored_pages, kPages - kOthers);
    ASSERT_GE(Stats().resident_bytes, kBytes);
  }
  void TearDown() override {
    if (base_ != nullptr) {
      EXPECT_EQ(uzswap_munmap(base_, kBytes), 0);
    }
    EXPECT_EQ(Stats().stored_pages, 0u);
    PagerTest::TearDown();
  }
  void ReadAll() {
    for (size_t i = 0; i < kPages; ++i) Wrong(i, 1);
  }
  void Wrong(size_t page, uint64_t version) {
    ASSERT_TRUE(PageIs(base_ + page * kPage, page, version)) << page;
  }
  char* base_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Methods, PagerClean,
                         testing::Values(UZSWAP_EVICT_WP, UZSWAP_EVICT_MOVE),
                         MethodName);

TEST_P(PagerClean, UnchangedPagesLeaveWithoutBeingStoredAgain) {
  const uint64_t stores = Stats().zswpout;
  const uint64_t clean = Stats().pages_out_clean;
  uzswap_evict_all();
  EXPECT_LE(Stats().zswpout, stores + kOthers);
  EXPECT_GE(Stats().pages_out_clean - clean, kPages - kOthers);
  EXPECT_LT(Stats().resident_bytes, kMiB);
  ReadAll();
}

TEST_P(PagerClean, AWriteIsNeverLost) {
  for (size_t i = 0; i < kPages; ++i) FillPage(base_ + i * kPage, i, 2);
  EXPECT_EQ(Stats().stored_pages, 0u);
  uzswap_evict_all();
  for (size_t i = 0; i < kPages; ++i) Wrong(i, 2);
}

TEST_P(PagerClean, TheKernelMayWriteToAPinnedOne) {
  uzswap_pin(base_, kBytes);
  EXPECT_EQ(Stats().stored_pages, 0u);
  std::vector<char> text(kBytes, 'x');
  const iovec local = {.iov_base = text.data(), .iov_len = kBytes};
  const iovec remote = {.iov_base = base_, .iov_len = kBytes};
  EXPECT_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0),
            static_cast<ssize_t>(kBytes));
  uzswap_unpin(base_, kBytes);
  uzswap_evict_all();
  EXPECT_EQ(memcmp(base_, text.data(), kBytes), 0);
}

TEST_P(PagerClean, DiscardingThemDiscardsTheCopies) {
  ASSERT_EQ(uzswap_madvise(base_, kBytes / 2, MADV_DONTNEED), 0);
  EXPECT_LE(Stats().stored_pages, kPages / 2);
  uzswap_evict_all();
  for (size_t i = 0; i < kPages / 2; ++i) ASSERT_EQ(base_[i * kPage], 0);
  for (size_t i = kPages / 2; i < kPages; ++i) Wrong(i, 1);
}

TEST_P(PagerClean, AForkedChildWritesForItself) {
  const pid_t child = Fork([&] {
    for (size_t i = 0; i < kPages; i += 2) FillPage(base_ + i * kPage, i, 2);
    uzswap_evict_all();
    for (size_t i = 0; i < kPages; ++i) {
      if (!PageIs(base_ + i * kPage, i, i % 2 == 0 ? 2 : 1)) return 1;
    }
    return 0;
  });
  for (size_t i = 1; i < kPages; i += 2) FillPage(base_ + i * kPage, i, 3);
  uzswap_evict_all();
  EXPECT_EQ(ExitCodeOf(child), 0);
  for (size_t i = 0; i < kPages; ++i) Wrong(i, i % 2 == 0 ? 1 : 3);
}

TEST_P(PagerClean, AMoveTakesTheirContentAlong) {
  void* hole = mmap(nullptr, kBytes + 2 * kPage, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(hole, MAP_FAILED);
  char* to = static_cast<char*>(hole) + kPage;
  ASSERT_EQ(
      uzswap_mremap(base_, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, to),
      reinterpret_cast<long>(to));
  base_ = to;
  FillPage(base_ + 5 * kPage, 5, 2);
  uzswap_evict_all();
  for (size_t i = 0; i < kPages; ++i) Wrong(i, i == 5 ? 2 : 1);
}

TEST_P(PagerClean, ProtectionOfTheProgramsComesAndGoes) {
  ASSERT_EQ(uzswap_mprotect(base_, kBytes, PROT_READ), 0);
  ASSERT_EQ(uzswap_mprotect(base_, kBytes, PROT_READ | PROT_WRITE), 0);
  for (size_t i = 0; i < kPages; i += 3) FillPage(base_ + i * kPage, i, 2);
  uzswap_evict_all();
  for (size_t i = 0; i < kPages; ++i) Wrong(i, i % 3 == 0 ? 2 : 1);
}

TEST_P(PagerClean, TheyCanBeGivenBackToTheKernel) {
  ASSERT_EQ(uzswap_unmanage(base_, kBytes), 0);
  EXPECT_EQ(Stats().stored_pages, 0u);
  for (size_t i = 0; i < kPages; ++i) FillPage(base_ + i * kPage, i, 2);
  for (size_t i = 0; i < kPages; ++i) Wrong(i, 2);
  ASSERT_EQ(munmap(base_, kBytes), 0);
  base_ = nullptr;
}

// Reading and then writing every page costs a fault more; it must not go on.
TEST_P(PagerClean, CopiesStopWherePagesAreWrittenAfterAll) {
  uint64_t before = 0;
  uint64_t in_last_round = kPages;
  for (uint64_t round = 2; round < 8; ++round) {
    before = Stats().faults_clean;
    for (size_t i = 0; i < kPages; ++i) {
      Wrong(i, round - 1);
      FillPage(base_ + i * kPage, i, round);
    }
    in_last_round = Stats().faults_clean - before;
    uzswap_evict_all();
  }
  EXPECT_LT(in_last_round, kPages / 2);
  for (size_t i = 0; i < kPages; ++i) Wrong(i, 7);
}

// Each thread reads, then adds one, in its own word of every page.
TEST_P(PagerClean, ThreadsThatWriteWhileOthersEvictLoseNothing) {
  constexpr int kThreads = 3;
  constexpr uint64_t kRounds = 4;
  for (size_t i = 0; i < kPages; ++i) memset(base_ + i * kPage, 0, kPage);
  std::atomic<bool> done{false};
  std::thread evictor = Spawn([&] {
    while (!done) uzswap_evict_all();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.push_back(Spawn([&, t] {
      Random random(1234 + static_cast<uint64_t>(t));
      for (uint64_t round = 0; round < kRounds; ++round) {
        for (size_t i = 0; i < kPages; ++i) {
          auto* word = reinterpret_cast<volatile uint64_t*>(
              base_ + i * kPage + static_cast<size_t>(t) * 64);
          const uint64_t seen = *word;
          if (seen != round) abort();
          if (random.Below(4) == 0) sched_yield();
          *word = seen + 1;
        }
      }
    }));
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  evictor.join();
  size_t wrong = 0;
  for (size_t i = 0; i < kPages; ++i) {
    for (size_t t = 0; t < kThreads; ++t) {
      wrong +=
          *reinterpret_cast<uint64_t*>(base_ + i * kPage + t * 64) != kRounds;
    }
  }
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace pager_test
