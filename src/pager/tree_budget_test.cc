// SPDX-License-Identifier: Apache-2.0
#include "pager/tree_budget.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace uzswap {
namespace {

constexpr PageCount kLimit = 64 * 1024;

// The table lies in memory that forked processes share. Others are children
// that sleep, so that their places belong to somebody alive.
class TreeBudgetTest : public ::testing::Test {
 protected:
  TreeBudgetTest()
      : tree(static_cast<uzswap_tree*>(
            mmap(nullptr, sizeof(uzswap_tree), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    tree->limit = kLimit;
    tree->capacity = UZSWAP_TREE_MEMBERS;
    budget.Attach(tree, 0);
  }
  ~TreeBudgetTest() override {
    for (const pid_t pid : children) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    munmap(tree, sizeof(*tree));
  }

  // A place of another process.
  uzswap_member& Other(PageCount granted, PageCount used) {
    const pid_t pid = fork();
    if (pid == 0) {
      for (;;) pause();
    }
    children.push_back(pid);
    uzswap_member& member = tree->member[tree->members++];
    member.pid = static_cast<uint32_t>(pid);
    member.granted = granted;
    member.used = used;
    return member;
  }
  void Kill(const uzswap_member& member) {
    const auto pid = static_cast<pid_t>(member.pid);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    std::erase(children, pid);
  }
  // Of who has lacked that many pages just now.
  static uint64_t Pressure(uint64_t pages) {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return pages << 32 |
           static_cast<uint32_t>(t.tv_sec * 1000 + t.tv_nsec / 1000000);
  }
  PageCount Granted() const {
    PageCount sum = 0;
    for (unsigned i = 0; i < tree->members; ++i) {
      if (tree->member[i].pid != 0) sum += tree->member[i].granted;
    }
    return sum;
  }
  // Asks until it is granted nothing more, giving others time to evict.
  void AskAll(PageCount used) {
    for (int i = 0; i < 400; ++i) {
      (void)budget.Ask(used, 256);
      used = std::max(used, budget.limit());
      for (unsigned m = 0; m < tree->members; ++m) {
        uzswap_member& member = tree->member[m];
        if (member.pid != static_cast<uint32_t>(getpid())) {
          member.used = std::min(member.used, member.granted);
        }
      }
      usleep(300);  // a question in vain is not repeated at once
    }
  }

  uzswap_tree* const tree;
  std::unique_ptr<TreeBudget> owned = std::make_unique<TreeBudget>();
  TreeBudget& budget = *owned;
  std::vector<pid_t> children;
};

TEST_F(TreeBudgetTest, WhoIsAloneMayHaveAllOfIt) {
  budget.Join(100);
  EXPECT_EQ(budget.limit(), kLimit);
  EXPECT_FALSE(budget.Crowded());
  budget.CheckInvariants();
  tree->limit = kLimit / 2;
  EXPECT_EQ(budget.limit(), kLimit / 2);
  tree->limit = kLimit * 2;
  EXPECT_TRUE(budget.Ask(kLimit, kLimit));
  EXPECT_EQ(budget.limit(), kLimit * 2);
  budget.CheckInvariants();
}

TEST_F(TreeBudgetTest, WhatItHasAlreadyIsPartOfWhatItIsGranted) {
  budget.Join(kLimit - 1024);
  EXPECT_EQ(budget.limit(), kLimit);
}

TEST_F(TreeBudgetTest, WithoutATableThereIsOneOfItsOwn) {
  const auto alone = std::make_unique<TreeBudget>();
  alone->Attach(nullptr, 1234);
  alone->Join(100);
  EXPECT_EQ(alone->limit(), 1234u);
  alone->CheckInvariants();
}

TEST_F(TreeBudgetTest, WhatOthersDoNotUseIsTakenAtOnce) {
  uzswap_member& other = Other(kLimit, kLimit / 8);
  budget.Join(100);
  EXPECT_TRUE(budget.Ask(100, kLimit / 4));
  EXPECT_GE(budget.limit(), kLimit / 4);
  EXPECT_GE(other.granted, other.used);
  EXPECT_EQ(other.wake, 0u);  // nothing it would have to do
  EXPECT_LE(Granted(), kLimit);
}

TEST_F(TreeBudgetTest, ANewcomerGetsItsShareFromWhoUsesEverything) {
  uzswap_member& other = Other(kLimit, kLimit);
  other.pressure = Pressure(1000000);
  budget.Join(100);
  AskAll(100);
  // The floor at least; and the other is told to give way.
  EXPECT_GE(budget.limit(), kLimit / 4);
  EXPECT_GT(other.wake, 0u);
  EXPECT_GE(other.granted, kLimit / 4);
  EXPECT_LE(Granted(), kLimit);
  budget.CheckInvariants();
}

TEST_F(TreeBudgetTest, WhoLacksNothingGivesWayToWhoDoes) {
  uzswap_member& idle = Other(kLimit / 2, kLimit / 2);
  budget.Join(100);
  AskAll(100);
  EXPECT_GE(budget.limit(), kLimit * 3 / 4);
  EXPECT_LT(idle.granted, kLimit / 8);
  EXPECT_GE(idle.granted, TreeBudget::kLeast);
  // It comes back and lacks everything: it is sure of its share.
  uzswap_member& own = tree->member[1];
  ASSERT_EQ(own.pid, static_cast<uint32_t>(getpid()));
  EXPECT_LE(own.granted, kLimit);
}

TEST_F(TreeBudgetTest, NobodyIsSqueezedBelowItsShareByWhoHasMore) {
  uzswap_member& other = Other(kLimit / 4, kLimit / 4);
  budget.Join(100);
  for (int i = 0; i < 300; ++i) {
    other.pressure = Pressure(100);  // it lacks a little
    (void)budget.Ask(budget.limit(), 256);
    usleep(300);
  }
  EXPECT_GE(other.granted, kLimit / 4 - 4096 / 4);
  EXPECT_LE(Granted(), kLimit);
}

TEST_F(TreeBudgetTest, TheDeadLeaveWhatTheyHad) {
  uzswap_member& other = Other(kLimit, kLimit);
  budget.Join(100);
  Kill(other);
  usleep(150'000);
  EXPECT_TRUE(budget.Ask(100, kLimit / 2));
  EXPECT_EQ(other.pid, 0u);
  EXPECT_GE(budget.limit(), kLimit / 2);
}

TEST_F(TreeBudgetTest, WhatWhoEndsHasIsFreeAtTheMomentOfItsDeath) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    budget.Join(100);
    budget.Publish(kLimit / 2);
    budget.End();
    (void)!write(ready[1], "x", 1);
    for (;;) pause();
  }
  children.push_back(pid);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  budget.Join(100);
  for (int i = 0; i < 100; ++i) {
    (void)budget.Ask(budget.limit(), 1024);
    usleep(300);
  }
  EXPECT_LE(budget.limit(), kLimit / 2) << "it still has its memory";
  Kill(tree->member[0]);
  usleep(3000);  // the last question was in vain
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  // Nobody looks for all the dead now.
  tree->looked_ms =
      static_cast<uint32_t>(t.tv_sec * 1000 + t.tv_nsec / 1000000);
  (void)budget.Ask(100, kLimit);
  EXPECT_EQ(budget.limit(), kLimit);
}

TEST_F(TreeBudgetTest, WhatOnlyTheDeadWereChargedForIsTheirRelativesOwn) {
  budget.Join(2000);
  uzswap_member& own = tree->member[0];
  uzswap_member& child = Other(1000, 500);
  child.parent = own.pid;
  own.shared = 600;
  own.granted = 5000;
  Kill(child);
  usleep(30'000);
  budget.Look(1400);
  EXPECT_EQ(child.pid, 0u);
  EXPECT_EQ(own.shared, 100u);
  EXPECT_EQ(own.used, 1900u);
  EXPECT_EQ(own.granted, 5500u);
}

TEST_F(TreeBudgetTest, AForkIsUnderWayUntilTheChildHasItsPlace) {
  budget.Join(100);
  budget.BeginFork();
  EXPECT_NE(tree->member[0].forks, tree->member[0].forks_joined);
  const pid_t child = fork();
  if (child == 0) {
    budget.JoinAsChild(100);
    budget.End();
    _exit(tree->member[1].forks == tree->member[1].forks_joined ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(tree->member[0].forks, tree->member[0].forks_joined);
}

TEST_F(TreeBudgetTest, WhoHasMoreThanItsGrantOrEndsGivesWay) {
  uzswap_member& other = Other(kLimit / 2, kLimit / 2);
  budget.Join(100);
  EXPECT_FALSE(budget.OthersGiveWay());
  other.granted = kLimit / 4;
  EXPECT_TRUE(budget.OthersGiveWay());
  other.used = kLimit / 4;
  EXPECT_FALSE(budget.OthersGiveWay());
  other.ending = 1;
  EXPECT_TRUE(budget.OthersGiveWay());
}

TEST_F(TreeBudgetTest, ALockOfTheDeadIsTakenFromThem) {
  uzswap_member& other = Other(kLimit / 2, kLimit / 2);
  tree->lock = other.pid;
  Kill(other);
  budget.Join(100);
  EXPECT_EQ(tree->lock, 0u);
  EXPECT_EQ(budget.limit(), kLimit);
}

TEST_F(TreeBudgetTest, ALockThatIsHeldIsNotWaitedFor) {
  uzswap_member& other = Other(kLimit / 2, kLimit / 2);
  budget.Join(100);
  tree->lock = other.pid;
  EXPECT_FALSE(budget.Ask(100, 1024));
  tree->lock = 0;
}

TEST_F(TreeBudgetTest, ALoweredLimitTakesFromEverybody) {
  uzswap_member& first = Other(kLimit / 2, kLimit / 2);
  budget.Join(100);
  AskAll(100);
  tree->limit = kLimit / 4;
  budget.Look(budget.limit());
  EXPECT_LE(Granted(), kLimit / 4);
  EXPECT_GT(first.wake, 0u);
}

TEST_F(TreeBudgetTest, AProcessLimitHoldsWhateverIsGranted) {
  budget.Join(100);
  tree->process_limit = 1000;
  EXPECT_EQ(budget.limit(), 1000u);
}

TEST_F(TreeBudgetTest, WhoWasTakenForDeadJoinsAgain) {
  budget.Join(100);
  tree->member[0].pid = 0;
  tree->member[0].granted = 0;
  budget.Look(100);
  EXPECT_EQ(budget.limit(), kLimit);
  budget.CheckInvariants();
}

TEST_F(TreeBudgetTest, LeavingGivesAllBack) {
  budget.Join(100);
  budget.Leave();
  EXPECT_EQ(Granted(), 0u);
  EXPECT_LT(budget.limit(), kLimit);
  budget.Join(100);
  EXPECT_EQ(budget.limit(), kLimit);
}

TEST_F(TreeBudgetTest, AForkedChildIsChargedForNothingAtFirst) {
  budget.Join(kLimit / 2);
  budget.Publish(kLimit / 2);
  const pid_t child = fork();
  if (child == 0) {
    budget.JoinAsChild(kLimit / 2);
    const bool right =
        budget.shared() == kLimit / 2 && budget.limit() >= TreeBudget::kLeast &&
        tree->member[1].parent == static_cast<uint32_t>(getppid());
    budget.Leave();
    _exit(right && tree->member[1].pid == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// Many processes ask, use, leave and are killed at any moment; what is granted
// never exceeds the limit by more than what newcomers are sure of.
TEST_F(TreeBudgetTest, KilledAtAnyMomentTheTableStaysRight) {
  constexpr int kProcesses = 6;
  std::minstd_rand random(20261127);
  const auto start = [&](uint64_t seed) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    std::minstd_rand own(seed);
    budget.Join(100);
    for (;;) {
      const PageCount used =
          std::min<PageCount>(budget.limit(), own() % kLimit);
      (void)budget.Ask(used, own() % 2048);
      budget.Look(used);
      if (own() % 64 == 0) {
        budget.Leave();
        budget.Join(100);
      }
    }
  };
  for (int i = 0; i < kProcesses; ++i) children.push_back(start(random()));
  for (int round = 0; round < 60; ++round) {
    usleep(static_cast<useconds_t>(3000 + random() % 3000));
    const size_t at = random() % children.size();
    kill(children[at], SIGKILL);
    waitpid(children[at], nullptr, 0);
    children[at] = start(random());
    EXPECT_LE(Granted(), kLimit + kProcesses * TreeBudget::kLeast * 4);
  }
  for (const pid_t pid : children) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  children.clear();
  usleep(150'000);
  budget.Join(100);
  usleep(1000);
  (void)budget.Ask(100, kLimit);
  EXPECT_EQ(budget.limit(), kLimit);
  budget.CheckInvariants();
}

}  // namespace
}  // namespace uzswap
