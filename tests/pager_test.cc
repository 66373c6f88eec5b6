// SPDX-License-Identifier: Apache-2.0
// The pager end to end, by each eviction method: content survives, the limit
// holds, pins hold, streams are prefetched.
#include <errno.h>

#include "pager_fixture.h"

namespace pager_test {
namespace {

constexpr size_t kPages = 64 * kMiB / kPage;
// The pool may be in the middle of growing when it is looked at.
constexpr uint64_t kTolerance = 1 * kMiB;

void FillAll(char* base, size_t pages, uint64_t version) {
  for (size_t i = 0; i < pages; ++i) FillPage(base + i * kPage, i, version);
}

size_t CountWrong(const char* base, size_t pages, uint64_t version) {
  size_t wrong = 0;
  for (size_t i = 0; i < pages; ++i) {
    wrong += !PageIs(base + i * kPage, i, version);
  }
  return wrong;
}

INSTANTIATE_TEST_SUITE_P(Methods, PagerTest,
                         testing::Values(UZSWAP_EVICT_WP, UZSWAP_EVICT_MOVE,
                                         UZSWAP_EVICT_AUTO),
                         MethodName);

TEST_P(PagerTest, FourTimesTheLimitKeepsItsContent) {
  Open({.method = GetParam(), .room = 32 * kMiB});
  char* base = MapManaged(kPages * kPage);
  uint64_t peak = 0;
  for (size_t i = 0; i < kPages; ++i) {
    FillPage(base + i * kPage, i, 1);
    if (i % 512 == 0) peak = std::max(peak, RssBytes());
  }
  EXPECT_EQ(CountWrong(base, kPages, 1), 0u);
  FillAll(base, kPages, 2);
  peak = std::max(peak, RssBytes());
  EXPECT_EQ(CountWrong(base, kPages, 2), 0u);
  if (kExactMemory) {
    EXPECT_LE(peak, limit_ + kTolerance);
  }
  const uzswap_stats stats = Stats();
  if (kExactMemory) {
    EXPECT_EQ(stats.limit_exceeded, 0u);
  }
  EXPECT_GT(stats.pages_out, kPages);
  EXPECT_GT(stats.pages_in, kPages);
  if (kExactMemory) {
    EXPECT_LE(stats.peak_bytes, limit_ + kTolerance);
  }
  EXPECT_GT(stats.peak_without_bytes, kPages * kPage);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
  EXPECT_EQ(Stats().resident_bytes + Stats().staged_bytes, 0u);
  EXPECT_EQ(Stats().stored_bytes, 0u);
}

TEST_P(PagerTest, PagesBeyondThePoolGoToTheBackingStore) {
  Open(
      {.method = GetParam(), .room = WithShadow(12 * kMiB), .backing = "/tmp"});
  char* base = MapManaged(kPages * kPage);
  FillAll(base, kPages, 1);
  EXPECT_GT(Stats().device_bytes, 0u);
  if (kExactMemory) {
    EXPECT_LE(RssBytes(), limit_ + kTolerance);
  }
  EXPECT_EQ(CountWrong(base, kPages, 1), 0u);
  if (kExactMemory) {
    EXPECT_EQ(Stats().limit_exceeded, 0u);
  }
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

TEST_P(PagerTest, UntouchedPagesReadAsZeros) {
  Open({.method = GetParam()});
  char* base = MapManaged(8 * kMiB);
  FillPage(base + 5 * kPage, 5, 1);
  size_t wrong = 0;
  for (size_t i = 0; i < 8 * kMiB; i += 512) {
    if (i / kPage != 5) wrong += base[i] != 0;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(Stats().faults_zero, 0u);
  if (kExactMemory) {
    EXPECT_LT(Stats().faults, 8 * kMiB / kPage / 4);  // neighbours came along
  }
  EXPECT_EQ(uzswap_munmap(base, 8 * kMiB), 0);
}

// Threads own pages (i modulo threads); each writes new versions and checks the
// last one, while another thread throws everything out all the time.
TEST_P(PagerTest, ManyWritersRaceAnEvictor) {
  Open({.method = GetParam(), .room = WithShadow(24 * kMiB)});
  constexpr size_t kThreads = 4;
  constexpr size_t kCount = 40 * kMiB / kPage;
  char* base = MapManaged(kCount * kPage);
  std::atomic<bool> stop{false};
  std::atomic<size_t> wrong{0};
  std::thread chaos = Spawn([&] {
    while (!stop.load()) uzswap_evict_all();
  });
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.push_back(Spawn([&, t] {
      Random random(t + 1);
      std::vector<uint32_t> version(kCount / kThreads, 0);
      for (int i = 0; i < (kExactMemory ? 30000 : 5000); ++i) {
        const size_t mine = random.Below(version.size());
        const size_t page = mine * kThreads + t;
        char* at = base + page * kPage;
        if (version[mine] != 0 && !PageIs(at, page, version[mine])) ++wrong;
        if (random.Below(3) != 0) FillPage(at, page, ++version[mine]);
      }
      for (size_t mine = 0; mine < version.size(); ++mine) {
        const size_t page = mine * kThreads + t;
        if (version[mine] != 0 &&
            !PageIs(base + page * kPage, page, version[mine])) {
          ++wrong;
        }
      }
    }));
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  chaos.join();
  EXPECT_EQ(wrong.load(), 0u);
  if (kExactMemory) {
    EXPECT_LE(Stats().peak_bytes, limit_ + 2 * kTolerance);
  }
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

// Two threads write to different halves of the same pages.
TEST_P(PagerTest, SharedPagesLoseNoWrite) {
  Open({.method = GetParam(), .room = WithShadow(16 * kMiB)});
  constexpr size_t kCount = 256;
  char* base = MapManaged(kCount * kPage);
  std::atomic<bool> stop{false};
  std::atomic<size_t> wrong{0};
  std::thread chaos = Spawn([&] {
    while (!stop.load()) uzswap_evict_all();
  });
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 2; ++t) {
    threads.push_back(Spawn([&, t] {
      // A sanitizer's memory is above the limit: each fault evicts.
      for (uint64_t round = 1; round <= (kExactMemory ? 5000 : 300); ++round) {
        for (size_t i = 0; i < kCount; ++i) {
          auto* word = reinterpret_cast<volatile uint64_t*>(base + i * kPage +
                                                            t * kPage / 2);
          if (*word != round - 1) ++wrong;
          *word = round;
        }
      }
    }));
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  chaos.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

TEST_P(PagerTest, PinnedPagesStayForTheKernel) {
  Open({.method = GetParam(), .room = WithShadow(16 * kMiB)});
  constexpr size_t kBytes = 64 * 1024;
  char* base = MapManaged(4 * kMiB);
  std::atomic<bool> stop{false};
  std::thread chaos = Spawn([&] {
    while (!stop.load()) uzswap_evict_all();
  });
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Random random(7);
  for (int round = 0; round < (kExactMemory ? 1500 : 150); ++round) {
    // Misaligned on purpose: first and last page are pinned in part.
    char* from = base + random.Below(1 * kMiB);
    char* to = base + 2 * kMiB + random.Below(1 * kMiB);
    const auto mark = static_cast<char>(round);
    memset(from, mark, kBytes);
    if (uzswap_pin_resident(from, kBytes) != 0) uzswap_pin(from, kBytes);
    uzswap_pin(to, kBytes);
    ASSERT_EQ(write(ends[1], from, kBytes), static_cast<ssize_t>(kBytes));
    size_t got = 0;
    while (got < kBytes) {
      const ssize_t n = read(ends[0], to + got, kBytes - got);
      ASSERT_GT(n, 0) << errno;
      got += static_cast<size_t>(n);
    }
    uzswap_unpin(from, kBytes);
    uzswap_unpin(to, kBytes);
    ASSERT_EQ(to[0], mark);
    ASSERT_EQ(memcmp(from, to, kBytes), 0);
  }
  stop = true;
  chaos.join();
  close(ends[0]);
  close(ends[1]);
  EXPECT_GT(Stats().pinned_calls, 0u);
  // Everything is unpinned again.
  uzswap_evict_all();
  EXPECT_EQ(Stats().resident_bytes, 0u);
  EXPECT_EQ(uzswap_munmap(base, 4 * kMiB), 0);
}

TEST_P(PagerTest, PinsCount) {
  Open({.method = GetParam()});
  char* base = MapManaged(kMiB);
  base[0] = 1;
  uzswap_pin(base, 1);
  uzswap_pin(base, 1);
  uzswap_unpin(base, 1);
  uzswap_evict_all();
  EXPECT_GT(Stats().resident_bytes, 0u);
  uzswap_unpin(base, 1);
  uzswap_unpin(base, 1);  // one too many does no harm
  uzswap_evict_all();
  EXPECT_EQ(Stats().resident_bytes, 0u);
  EXPECT_EQ(uzswap_pin_resident(base, 1), -EAGAIN);
  EXPECT_EQ(uzswap_pin(base, 1), 1);
  EXPECT_EQ(uzswap_pin_resident(base, 1), 0);
  uzswap_unpin(base, 1);
  uzswap_unpin(base, 1);
  int local = 0;
  EXPECT_EQ(uzswap_pin_resident(&local, sizeof(local)), 0);
  EXPECT_EQ(uzswap_pin_resident(reinterpret_cast<void*>(~0ull), 100), 0);
  // A range from hell pins what is ours in it, and unpins it again.
  EXPECT_EQ(uzswap_pin(base - 64 * kMiB, ~size_t{0} / 2), 1);
  uzswap_unpin(base - 64 * kMiB, ~size_t{0} / 2);
  uzswap_evict_all();
  EXPECT_EQ(Stats().resident_bytes, 0u);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_P(PagerTest, WhenEverythingIsPinnedTheLimitGivesWay) {
  Open({.method = GetParam(), .room = 8 * kMiB});
  char* base = MapManaged(32 * kMiB);
  uzswap_pin(base, 24 * kMiB);
  if (kExactMemory) {
    EXPECT_GT(Stats().limit_exceeded, 0u);
  }
  EXPECT_GE(Stats().resident_bytes, 24 * kMiB);
  uzswap_unpin(base, 24 * kMiB);
  for (size_t i = 0; i < 1000; ++i) base[24 * kMiB + i * kPage] = 1;
  if (kExactMemory) {
    EXPECT_LE(RssBytes(), limit_ + kTolerance);
  }
  EXPECT_EQ(uzswap_munmap(base, 32 * kMiB), 0);
}

// All that may leave is younger than what may not.
TEST_P(PagerTest, PinnedPagesOfTheOldestGenerationDoNotStopReclaim) {
  Open({.method = GetParam(), .room = WithShadow(16 * kMiB)});
  constexpr size_t kBytes = 2 * kMiB;
  constexpr size_t kCount = kPages / 2;
  char* base = MapManaged(kCount * kPage);
  FillAll(base, kBytes / kPage, 1);
  uzswap_pin(base, kBytes);
  Random random(7);
  for (size_t i = 0; i < kCount; ++i) {
    const size_t page = kBytes / kPage + random.Below(kCount - kBytes / kPage);
    FillPage(base + page * kPage, page, 1);
  }
  if (kExactMemory) {
    EXPECT_EQ(Stats().limit_exceeded, 0u);
  }
  uzswap_unpin(base, kBytes);
  EXPECT_EQ(CountWrong(base, kBytes / kPage, 1), 0u);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

// The limit cannot be kept, so each fault wants to make room; what it has just
// brought must not be what leaves, or the program never gets on.
TEST_P(PagerTest, WhatWasJustBroughtInStaysWhenNothingElseCanLeave) {
  Open({.method = GetParam()});
  const std::vector<char> not_managed(24 * kMiB, 1);
  constexpr size_t kBytes = 2 * kMiB;
  constexpr size_t kCount = 200;
  char* base = MapManaged(kBytes + kCount * kPage);
  uzswap_pin(base, kBytes);
  const uint64_t before = Stats().faults;
  for (size_t i = 0; i < kCount; ++i) {
    FillPage(base + kBytes + i * kPage, i, 1);
    ASSERT_LE(Stats().faults - before, 2 * (i + 1));
  }
  EXPECT_EQ(CountWrong(base + kBytes, kCount, 1), 0u);
  uzswap_unpin(base, kBytes);
  EXPECT_EQ(not_managed.back(), 1);
  EXPECT_EQ(uzswap_munmap(base, kBytes + kCount * kPage), 0);
}

TEST_P(PagerTest, AScanLeavesPagesAloneThatAreInUse) {
  if (GetParam() != UZSWAP_EVICT_WP) GTEST_SKIP() << "not so with move";
  Open({.method = GetParam(), .room = 20 * kMiB});
  constexpr size_t kUsed = 256;
  constexpr size_t kCount = kPages / 2;
  char* base = MapManaged(kCount * kPage);
  FillAll(base, kCount, 1);
  const auto use = [&] {
    size_t wrong = 0;
    for (size_t i = 0; i < kUsed; ++i) {
      const size_t page = i * 977 % kUsed * (kCount / kUsed);  // no stream
      wrong += !PageIs(base + page * kPage, page, 1);
    }
    EXPECT_EQ(wrong, 0u);
  };
  for (size_t part = 0; part < 4; ++part) {
    use();
    EXPECT_EQ(CountWrong(base, kCount / 4, 1), 0u);
  }
  use();
  EXPECT_EQ(CountWrong(base, kCount, 1), 0u);
  const uint64_t before = Stats().faults;
  use();
  if (kExactMemory) {
    EXPECT_LT(Stats().faults - before, kUsed / 4);
  }
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

TEST_P(PagerTest, StreamsAreBroughtInAhead) {
  if (!kExactMemory) GTEST_SKIP() << "there is never room to look ahead";
  Open({.method = GetParam(), .room = 64 * kMiB});
  constexpr size_t kCount = 16 * kMiB / kPage;
  char* base = MapManaged(kCount * kPage);
  FillAll(base, kCount, 1);
  uzswap_evict_all();
  uzswap_stats before = Stats();
  EXPECT_EQ(CountWrong(base, kCount, 1), 0u);
  uzswap_stats after = Stats();
  EXPECT_EQ(after.pages_in - before.pages_in, kCount);
  EXPECT_LT(after.faults - before.faults, kCount / 16);
  EXPECT_GT(after.pages_prefetched - before.pages_prefetched, kCount / 2);
  // Backwards as well.
  uzswap_evict_all();
  before = Stats();
  for (size_t i = kCount; i-- > 0;) {
    ASSERT_TRUE(PageIs(base + i * kPage, i, 1));
  }
  after = Stats();
  EXPECT_LT(after.faults - before.faults, kCount / 16);
  // Not at random.
  uzswap_evict_all();
  before = Stats();
  Random random(3);
  for (int i = 0; i < 200; ++i) {
    const size_t page = random.Below(kCount);
    ASSERT_TRUE(PageIs(base + page * kPage, page, 1));
  }
  after = Stats();
  EXPECT_LT(after.pages_in - before.pages_in, 260u);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

TEST(PagerMove, StagedPagesComeBackWithoutDecompression) {
  AlternateStack stack;
  InstallHandler();
  OpenUzswap({.method = UZSWAP_EVICT_MOVE, .room = 32 * kMiB});
  char* base = MapManaged(kPages * kPage);
  size_t filled = 0;
  while (filled < kPages && Stats().staged_bytes == 0) {
    FillPage(base + filled * kPage, filled, 1);
    ++filled;
  }
  ASSERT_LT(filled, kPages);
  const uzswap_stats before = Stats();
  EXPECT_EQ(before.evict_method, uint64_t{UZSWAP_EVICT_MOVE});
  // What was touched first has just left, and is wanted back.
  EXPECT_EQ(CountWrong(base, filled, 1), 0u);
  EXPECT_GT(Stats().faults_soft, before.faults_soft);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
  EXPECT_EQ(Stats().staged_bytes, 0u);
  uzswap_close();
}

TEST(PagerMove, ReadOnlyMemoryLeavesByTheOtherWay) {
  AlternateStack stack;
  InstallHandler();
  OpenUzswap({.method = UZSWAP_EVICT_MOVE});
  char* base = MapManaged(4 * kMiB);
  FillAll(base, 1024, 1);
  ASSERT_EQ(uzswap_mprotect(base, 4 * kMiB, PROT_READ), 0);
  EXPECT_GT(uzswap_evict_all(), 0u);
  EXPECT_EQ(Stats().resident_bytes, 0u);
  EXPECT_EQ(CountWrong(base, 1024, 1), 0u);
  EXPECT_EQ(uzswap_munmap(base, 4 * kMiB), 0);
  uzswap_close();
}

TEST(PagerMove, FramesInUseByAPipeStayWhereTheyAre) {
  AlternateStack stack;
  InstallHandler();
  OpenUzswap({.method = UZSWAP_EVICT_MOVE});
  char* base = MapManaged(kMiB);
  FillAll(base, 256, 1);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const iovec part = {.iov_base = base, .iov_len = kPage};
  ASSERT_EQ(vmsplice(ends[1], &part, 1, 0), static_cast<ssize_t>(kPage));
  uzswap_evict_all();
  EXPECT_EQ(CountWrong(base, 256, 1), 0u);
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
  uzswap_close();
}

}  // namespace
}  // namespace pager_test
