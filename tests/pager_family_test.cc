// SPDX-License-Identifier: Apache-2.0
// A forked child and its parent under one limit: a page that both have is
// charged once, and once more before one of them writes to it.
#include <linux/futex.h>

#include <climits>

#include "pager_model.h"

namespace pager_test {
namespace {

constexpr size_t kPages = 1024;
constexpr size_t kHalf = kPages / 2;
constexpr size_t kBytes = kPages * kPage;
constexpr size_t kBlock = 64;
// Faults after which a process sees that another has taken a part of the limit.
constexpr uint64_t kBetweenLooks = 64;

class PagerFamily : public testing::Test {
 protected:
  void SetUp() override { InstallHandler(); }
  void TearDown() override {
    EndChild();
    CheckInvariants();
    if (base_ != nullptr) {
      EXPECT_EQ(uzswap_munmap(base_, kBytes), 0);
    }
    uzswap_close();
    munmap(tree_, sizeof(*tree_));
  }

  // Copies of all pages do not fit, unless there is more room.
  void OpenAndFill(uint64_t room = 11 * kMiB) {
    OpenUzswap({.method = UZSWAP_EVICT_WP,
                .room = room,
                .backing = "/tmp",
                .tree = tree_});
    base_ = MapManaged(kBytes);
    Write(0, kPages, 1);
  }
  void Write(size_t first, size_t end, uint64_t version) {
    for (size_t i = first; i < end; ++i) {
      FillPage(base_ + i * kPage, i, version);
    }
  }
  size_t Wrong(size_t first, size_t end, uint64_t version) {
    size_t wrong = 0;
    for (size_t i = first; i < end; ++i) {
      wrong += !PageIs(base_ + i * kPage, i, version);
    }
    return wrong;
  }

  // A child that lives until EndChild, which then runs `last` in it.
  template <typename F>
  void StartChild(F last) {
    ASSERT_EQ(pipe(end_), 0);
    child_ = Fork([&] {
      close(end_[1]);
      char byte;
      (void)!read(end_[0], &byte, 1);
      return last();
    });
    close(end_[0]);
  }
  void StartChild() {
    StartChild([] { return 0; });
  }
  void EndChild() {
    if (child_ == 0) return;
    close(end_[1]);
    EXPECT_EQ(ExitCodeOf(child_), 0);
    child_ = 0;
  }
  // Of the parent, so far.
  uint64_t Parted() const { return tree_->member[0].parted; }

  uzswap_tree* const tree_ = NewTree();
  char* base_ = nullptr;

 private:
  AlternateStack stack_;
  pid_t child_ = 0;
  int end_[2] = {};
};

TEST_F(PagerFamily, TheFirstWriteToASharedPageIsCharged) {
  OpenAndFill();
  StartChild([this] { return Wrong(0, kPages, 1) == 0 ? 0 : 1; });
  const uint64_t before = Parted();
  EXPECT_EQ(Wrong(0, kPages, 1), 0u);
  EXPECT_EQ(Stats().faults_shared, 0u) << "who reads needs no frame";
  Write(0, kHalf, 2);
  EXPECT_EQ(Stats().faults_shared, kHalf);
  EXPECT_GE(Parted() - before, kHalf);
  Write(0, kHalf, 3);
  EXPECT_EQ(Stats().faults_shared, kHalf) << "the second write is free";
  EXPECT_EQ(Wrong(0, kHalf, 3), 0u);
  EXPECT_EQ(Wrong(kHalf, kPages, 1), 0u);
}

TEST_F(PagerFamily, WhatTheOtherHasCopiedIsNotChargedAgain) {
  OpenAndFill();
  StartChild([this] {
    Write(0, kHalf, 4);
    if (Stats().faults_shared != 0) return 1;
    Write(kHalf, kHalf + kBlock, 4);
    if (Stats().faults_shared != kBlock) return 2;
    CheckInvariants();
    return Wrong(0, kHalf + kBlock, 4) == 0 ? 0 : 3;
  });
  Write(0, kHalf, 2);
  EndChild();
  EXPECT_EQ(Wrong(0, kHalf, 2), 0u);
  EXPECT_EQ(Wrong(kHalf, kPages, 1), 0u);
}

TEST_F(PagerFamily, WhenTheChildHasEndedBlocksAreLetGoAtOnce) {
  OpenAndFill();
  StartChild();
  EndChild();
  const uint64_t faults = Stats().faults;
  Write(0, kPages, 2);
  EXPECT_EQ(Stats().faults_shared, 0u);
  EXPECT_LE(Stats().faults - faults, kPages / kBlock + 2);
  EXPECT_EQ(Wrong(0, kPages, 2), 0u);
}

TEST_F(PagerFamily, WhereAllCopiesFitNothingIsProtected) {
  OpenAndFill(64 * kMiB);
  StartChild();
  const uint64_t faults = Stats().faults;
  Write(0, kPages, 2);
  EXPECT_EQ(Stats().faults, faults);
}

TEST_F(PagerFamily, FramesOfThePoolAreChargedWhenTheyAreWrittenOrLeft) {
  OpenAndFill(9 * kMiB);
  uzswap_evict_all();
  Write(0, kHalf, 2);  // the others stay in the pool
  StartChild([this] { return Wrong(kHalf, kPages, 1) == 0 ? 0 : 1; });
  const uint64_t before = Parted();
  const uint64_t frames = Stats().pool_bytes / kPage;
  ASSERT_GT(frames, kHalf / 8);
  Write(kHalf, kPages, 3);  // every object is freed
  // Some pages came with others before the fork.
  const uint64_t parted = Parted() - before - Stats().faults_shared;
  EXPECT_GE(parted, frames / 2);
  EXPECT_LE(parted, frames * 2);
}

TEST_F(PagerFamily, WhoDropsWhatOthersHaveIsChargedForItsPart) {
  OpenAndFill();
  StartChild([this] { return Wrong(0, kPages, 1) == 0 ? 0 : 1; });
  uzswap_member& own = tree_->member[0];
  // As it would be measured: half of each page is the child's.
  own.parted_seen = own.parted;
  own.shared = kHalf;
  EXPECT_GE(uzswap_evict_all(), kPages - 2 * kBlock);
  EXPECT_LE(uzswap_shared(&own), -static_cast<int64_t>(kHalf - 4 * kBlock));
  EXPECT_EQ(Wrong(0, kPages, 1), 0u);
}

// By itself, that is by its keeper: all that it has is its child's as well, so
// nothing else can leave.
TEST_F(PagerFamily, WhoIsAboveItsGrantGivesUpWhatOthersHave) {
  OpenAndFill();
  StartChild([this] { return Wrong(0, kPages, 1) == 0 ? 0 : 1; });
  uzswap_member& own = tree_->member[0];
  own.parted_seen = own.parted;
  own.shared = kHalf;
  Write(0, 2 * kBlock, 2);  // faults, so the keeper is there
  if (!uzswap::GetInstance()->pager.HasKeeper()) {
    GTEST_SKIP() << "no threads of our own in this build";
  }
  const uint64_t before = Stats().resident_bytes / kPage;
  own.granted = own.used - kHalf / 2;
  __atomic_fetch_add(&own.wake, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &own.wake, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  for (int i = 0; i < 500; ++i) {
    if (Stats().resident_bytes / kPage + kHalf / 2 <= before) break;
    usleep(10'000);
  }
  EXPECT_LE(Stats().resident_bytes / kPage + kHalf / 2, before);
  EXPECT_EQ(Wrong(2 * kBlock, kPages, 1), 0u);
}

TEST_F(PagerFamily, TheLimitIsKeptWhileAllPagesBecomeTwo) {
  OpenAndFill(9 * kMiB);
  StartChild([this] { return Wrong(0, kPages, 1) == 0 ? 0 : 1; });
  const uint64_t child = tree_->member[1].granted;
  Write(0, kPages, 2);
  EXPECT_LE(tree_->member[0].used + child, tree_->limit + kBetweenLooks);
  EXPECT_EQ(Stats().limit_exceeded, 0u);
  EXPECT_EQ(Wrong(0, kPages, 2), 0u);
}

TEST_F(PagerFamily, AllCallsTakeSharedPagesAsTheyAre) {
  OpenAndFill();
  StartChild([this] {
    uzswap_evict_all();
    return Wrong(0, kPages, 1) == 0 ? 0 : 1;
  });
  const auto page = [this](size_t i) { return base_ + i * kPage; };
  uzswap_pin(page(1), kPage);
  int bytes[2];
  ASSERT_EQ(pipe(bytes), 0);
  ASSERT_EQ(write(bytes[1], "x", 1), 1);
  EXPECT_EQ(read(bytes[0], page(1), 1), 1) << "the kernel writes to it";
  uzswap_unpin(page(1), kPage);
  EXPECT_EQ(*page(1), 'x');
  EXPECT_EQ(uzswap_madvise(page(2), kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(*page(2), 0);
  EXPECT_EQ(uzswap_mprotect(page(4), 4 * kPage, PROT_READ), 0);
  EXPECT_EQ(Wrong(4, 8, 1), 0u);
  EXPECT_EQ(uzswap_mprotect(page(4), 4 * kPage, PROT_READ | PROT_WRITE), 0);
  Write(4, 8, 5);
  EXPECT_EQ(uzswap_mremap(page(8), 8 * kPage, 8 * kPage,
                          MREMAP_MAYMOVE | MREMAP_FIXED, page(16)),
            reinterpret_cast<long>(page(16)));
  for (size_t i = 0; i < 8; ++i) EXPECT_TRUE(PageIs(page(16 + i), 8 + i, 1));
  uzswap_evict_all();
  CheckInvariants();
  EXPECT_EQ(Wrong(4, 8, 5), 0u);
  EXPECT_EQ(Wrong(24, kPages, 1), 0u);
}

TEST_F(PagerFamily, AGrandchildHasThemToo) {
  OpenAndFill();
  StartChild([this] {
    const pid_t grandchild = Fork([this] {
      Write(0, kPages, 7);
      CheckInvariants();
      return Wrong(0, kPages, 7) == 0 ? 0 : 1;
    });
    Write(kHalf, kPages, 6);
    const int code = ExitCodeOf(grandchild);
    if (code != 0) return 10 + code;
    return Wrong(0, kHalf, 1) + Wrong(kHalf, kPages, 6) == 0 ? 0 : 2;
  });
  Write(0, kHalf, 2);
  EndChild();
  EXPECT_EQ(Wrong(0, kHalf, 2), 0u);
  EXPECT_EQ(Wrong(kHalf, kPages, 1), 0u);
}

}  // namespace
}  // namespace pager_test
