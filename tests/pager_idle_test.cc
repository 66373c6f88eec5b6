// SPDX-License-Identifier: Apache-2.0
// Idle aging: memory that is not used goes although there is plenty; memory
// that is used, if only by reads that nobody sees, hardly pays for it.
#include "pager_fixture.h"

namespace pager_test {
namespace {

constexpr size_t kPages = 4096;
constexpr size_t kBytes = kPages * kPage;
constexpr uint64_t kMilliseconds = 1000000;
constexpr uint64_t kIdle = 60 * kMilliseconds;
constexpr uint64_t kLong = 240 * kMilliseconds;
constexpr uint64_t kAll = uint64_t{1} << 40;

uint64_t Now() { return uzswap::os::MonotonicNs(); }

class PagerIdle : public PagerTest {
 protected:
  void SetUp() override {
    PagerTest::SetUp();
    Open({.method = GetParam(), .room = (kExactMemory ? 64 : 512) * kMiB});
    base_ = MapManaged(kBytes);
    for (size_t i = 0; i < kPages; ++i) FillPage(base_ + i * kPage, i, 1);
  }
  void TearDown() override {
    EXPECT_EQ(uzswap_munmap(base_, kBytes), 0);
    PagerTest::TearDown();
  }
  uzswap::Pager& pager() { return uzswap::GetInstance()->pager; }
  // As if `seconds` had passed between two calls, so that allowances grow;
  // what is idle is measured by the real clock.
  uint64_t ReclaimFor(unsigned seconds, uint64_t idle = kIdle) {
    uint64_t gone = 0;
    for (unsigned i = 0; i < seconds; ++i) {
      later_ += 1000 * kMilliseconds;
      gone += pager().ReclaimIdle(Now() + later_, idle, kAll);
    }
    return gone;
  }
  std::vector<unsigned char> Present() {
    std::vector<unsigned char> present(kPages);
    EXPECT_EQ(mincore(base_, kBytes, present.data()), 0);
    return present;
  }
  char* base_ = nullptr;
  uint64_t later_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Methods, PagerIdle, testing::Values(UZSWAP_EVICT_WP),
                         MethodName);

TEST_P(PagerIdle, IdleMemoryGoesWithoutAFault) {
  const uint64_t faults = Stats().faults;
  const uint64_t rss = RssBytes();
  EXPECT_EQ(pager().ReclaimIdle(Now(), kLong, kAll), 0u) << "not idle yet";
  usleep(100000);
  const uint64_t gone = ReclaimFor(100);
  EXPECT_GE(gone, kPages - 512 - 64);
  EXPECT_EQ(Stats().faults, faults);
  EXPECT_GE(Stats().pages_idle, gone);
  EXPECT_EQ(Stats().pages_promoted, 0u);
  if (kExactMemory) {
    EXPECT_LT(RssBytes(), rss - kBytes / 3);
  }
  for (size_t i = 0; i < kPages; ++i) {
    ASSERT_TRUE(PageIs(base_ + i * kPage, i, 1)) << i;
  }
}

TEST_P(PagerIdle, OldestFirstAndNoMoreThanAsked) {
  uzswap_evict_all();
  // The second half comes back first; addresses are looked at in their order.
  for (size_t i = kPages / 2; i < kPages; ++i) {
    ASSERT_TRUE(PageIs(base_ + i * kPage, i, 1));
  }
  usleep(250000);
  for (size_t i = 0; i < kPages / 2; ++i) {
    ASSERT_TRUE(PageIs(base_ + i * kPage, i, 1));
  }
  usleep(80000);
  const uint64_t gone = pager().ReclaimIdle(Now(), kIdle, 64);
  EXPECT_GT(gone, 0u);
  EXPECT_LT(gone, 128u) << "a block more than asked at most";
  EXPECT_GE(ReclaimFor(8), 64u);
  // The halves meet in a block.
  const std::vector<unsigned char> present = Present();
  for (size_t i = 0; i < kPages / 2 - 64; ++i) {
    EXPECT_NE(present[i] & 1, 0) << i;
  }
}

TEST_P(PagerIdle, AWorkingSetThatIsOnlyReadHardlyComesAndGoes) {
  usleep(100000);
  uint64_t sum = 0;
  for (int round = 0; round < 40; ++round) {
    for (size_t i = 0; i < kPages; ++i) {
      sum += static_cast<volatile unsigned char&>(
          reinterpret_cast<unsigned char&>(base_[i * kPage]));
    }
    usleep(10000);
    later_ += 1000 * kMilliseconds;
    pager().ReclaimIdle(Now() + later_, kIdle, kAll);
  }
  EXPECT_NE(sum, 0u);
  // Forty seconds by the clock that counts; 0.2 % in a minute would be 6
  // pages. A block has 64, so it is the first that ends it.
  EXPECT_GT(Stats().pages_promoted, 0u);
  EXPECT_LE(Stats().pages_promoted, 192u);
  EXPECT_LE(Stats().pages_idle, 192u);
}

TEST_P(PagerIdle, WhatWasInUseAllTheSameIsLeftAloneForLonger) {
  usleep(100000);
  ASSERT_GT(pager().ReclaimIdle(Now(), kIdle, 64), 0u);
  const std::vector<unsigned char> tried = Present();
  for (size_t i = 0; i < kPages; ++i) {
    ASSERT_TRUE(PageIs(base_ + i * kPage, i, 1));
  }
  EXPECT_GT(Stats().pages_promoted, 0u);
  EXPECT_EQ(ReclaimFor(1), 0u) << "that was more than the target";
  // The debt is paid after ten minutes. All pages look idle for a while.
  later_ += 700000 * kMilliseconds;
  usleep(300000);
  const uint64_t begin = Now();
  EXPECT_GT(ReclaimFor(100, kLong), kPages / 2);
  if (Now() - begin > 150 * kMilliseconds) GTEST_SKIP() << "a busy machine";
  const std::vector<unsigned char> present = Present();
  for (size_t i = 0; i < kPages; ++i) {
    if ((tried[i] & 1) == 0) {
      EXPECT_NE(present[i] & 1, 0) << i;
    }
  }
}

TEST_P(PagerIdle, UseOfAllKindsKeepsABlock) {
  usleep(270000);
  // A system call's pins are use.
  for (size_t i = 0; i < kPages; i += 32) {
    ASSERT_EQ(uzswap_pin_resident(base_ + i * kPage, 1), 0);
    uzswap_unpin(base_ + i * kPage, 1);
  }
  // The time is what the last fault or look saw it to be.
  EXPECT_EQ(pager().ReclaimIdle(Now(), kLong, 0), 0u);
  for (size_t i = 0; i < kPages; i += 32) {
    ASSERT_EQ(uzswap_pin_resident(base_ + i * kPage, 1), 0);
    uzswap_unpin(base_ + i * kPage, 1);
  }
  EXPECT_EQ(pager().ReclaimIdle(Now(), kLong, kAll), 0u);
  usleep(270000);
  EXPECT_GT(pager().ReclaimIdle(Now(), kLong, kAll), 0u);
}

}  // namespace
}  // namespace pager_test
