// SPDX-License-Identifier: Apache-2.0
#include "cli/tree_limits.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>

namespace uzswap::cli {
namespace {

class TreeLimitsTest : public ::testing::Test {
 protected:
  TreeLimitsTest() { tree->limit = 1 << 20; }
  uzswap_member& Member(uint32_t pid, uint32_t parent, uint64_t used) {
    uzswap_member& member = tree->member[tree->members++];
    member.pid = pid;
    member.parent = parent;
    member.granted = member.used = used;
    return member;
  }
  TreeLimits Limits() {
    return TreeLimits(
        tree.get(), [this](pid_t pid) { return !dead.contains(pid); },
        [this](pid_t pid) -> std::optional<Charge> {
          if (!charges.contains(pid)) return {};
          return charges[pid];
        });
  }

  static uint32_t NowMs() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint32_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  }
  static void StepWhenDue(TreeLimits& limits) {
    usleep(static_cast<useconds_t>(limits.timeout_ms() + 1) * 1000);
    limits.Step();
  }

  std::unique_ptr<uzswap_tree> tree = std::make_unique<uzswap_tree>();
  std::set<pid_t> dead;
  std::map<pid_t, Charge> charges;
};

std::string Why(const std::string& name, const std::string& value) {
  uint64_t parsed = 0;
  const Check c = ParseLimit(name, value, &parsed);
  return c ? c->sentence : "";
}

TEST_F(TreeLimitsTest, ValuesThatCannotBeAreRefusedWithTheirName) {
  EXPECT_EQ(Why("memory", "512M"), "");
  EXPECT_EQ(Why("soft_memory", "none"), "");
  EXPECT_NE(Why("memory", "none").find("memory 'none' is not a size"),
            std::string::npos);
  EXPECT_NE(Why("memory", "1M").find("minimum is 16.0 MiB"), std::string::npos);
  EXPECT_NE(Why("process_memory", "x").find("or none"), std::string::npos);
  EXPECT_NE(Why("on_full", "panic").find("exceed, wait, kill"),
            std::string::npos);
  EXPECT_FALSE(IsLimit("compressor"));
}

TEST_F(TreeLimitsTest, WhatIsSetIsReadBackAndWakesEverybody) {
  uzswap_member& member = Member(10, 0, 1000);
  TreeLimits limits = Limits();
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"memory", "96M"},
                                          {"soft_memory", "1G"},
                                          {"process_memory", "33000K"},
                                          {"backing_size", "none"},
                                          {"on_full", "wait"}}) {
    const uint32_t before = member.wake;
    uint64_t parsed = 0;
    ASSERT_FALSE(ParseLimit(name, value, &parsed)) << name;
    limits.Set(name, parsed);
    EXPECT_EQ(limits.Value(name), value);
    EXPECT_EQ(member.wake, before + 1);
  }
  EXPECT_EQ(tree->limit, 96u * 256);
  EXPECT_EQ(tree->on_full, UZSWAP_ON_FULL_WAIT);
}

TEST_F(TreeLimitsTest, WhatTheDeadHadIsFree) {
  Member(10, 0, 1000);
  uzswap_member& killed = Member(11, 0, 5000);
  dead = {11};
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(killed.pid, 0u);
  EXPECT_EQ(killed.granted, 0u);
  EXPECT_EQ(limits.used_bytes(), 1000u * 4096);
}

TEST_F(TreeLimitsTest, FamiliesAreChargedForEachSharedPageOnce) {
  uzswap_member& parent = Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  uzswap_member& stranger = Member(12, 0, 1000);
  stranger.shared = 7;
  charges[10] = {1000, 600};
  charges[11] = {1000, 500};
  charges[12] = {1000, 1};  // not asked for
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(parent.shared, 400u);
  EXPECT_EQ(child.shared, 500u);
  // What they are granted follows: nobody gains room by it.
  EXPECT_EQ(parent.granted, 600u);
  EXPECT_EQ(child.granted, 500u);
  charges.erase(11);
  dead = {11};
  charges[10] = {1000, 1000};
  usleep(100'000);
  limits.Step();
  EXPECT_EQ(parent.granted, 1000u);
  EXPECT_EQ(stranger.shared, 0u);
}

// What was parted from before one is measured is part of what is measured; the
// rest stays counted until the next time.
TEST_F(TreeLimitsTest, WhatIsPartedFromMeanwhileStaysCharged) {
  uzswap_member& parent = Member(10, 0, 1000);
  Member(11, 10, 1000);
  charges[10] = charges[11] = {1000, 600};
  parent.parted = 30;
  TreeLimits limits(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t pid) -> std::optional<Charge> {
        parent.parted += 7;
        return charges[pid];
      });
  limits.Step();
  EXPECT_EQ(parent.parted, 44u);
  EXPECT_EQ(parent.shared, 400u);
  EXPECT_EQ(parent.parted_seen, 30u);
  EXPECT_EQ(uzswap_shared(&parent), 386) << "7 at each of two looks";
}

TEST_F(TreeLimitsTest, WhoTakesAPlaceMeanwhileIsNotMeasuredForWhoHadIt) {
  Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  child.parted = 30;
  charges[10] = charges[11] = {1000, 600};
  TreeLimits limits(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t pid) -> std::optional<Charge> {
        if (pid == 10) child.parted = child.parent = 0;  // it execs
        return charges[pid];
      });
  limits.Step();
  EXPECT_EQ(child.parted_seen, 0u);
  EXPECT_EQ(child.granted, 1000u);
  EXPECT_EQ(child.used, 1000u);
  child.parent = 10;  // the same, and it has forked again
  child.parted = 30;
  TreeLimits again(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t pid) -> std::optional<Charge> {
        if (pid == 10) child.parted = 2;
        return charges[pid];
      });
  again.Step();
  EXPECT_EQ(uzswap_shared(&child), -2);
}

TEST_F(TreeLimitsTest, WhatWasPartedFromInAFamilyThatIsGoneIsForgotten) {
  uzswap_member& parent = Member(10, 0, 1000);
  parent.parted = 30;
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(uzswap_shared(&parent), 0);
  EXPECT_EQ(parent.used, 970u);
}

TEST_F(TreeLimitsTest, WhoseSharedPagesBecomeTwoIsWokenAtOnce) {
  uzswap_member& parent = Member(10, 0, 1000);
  Member(11, 10, 1000);
  tree->limit = 1500;
  charges[10] = charges[11] = {1000, 500};
  TreeLimits limits = Limits();
  limits.Step();
  const uint32_t before = parent.wake;
  int soonest = limits.timeout_ms();
  for (int i = 0; i < 10; ++i) {
    StepWhenDue(limits);
    soonest = std::min(soonest, limits.timeout_ms());
  }
  EXPECT_LE(soonest, 5);
  EXPECT_EQ(parent.wake, before) << "nothing has changed";
  charges[10] = charges[11] = {1000, 900};
  StepWhenDue(limits);
  EXPECT_NE(parent.wake, before);
}

TEST_F(TreeLimitsTest, ARelativeThatDiedIsNotChargedOnceMore) {
  uzswap_member& parent = Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  tree->limit = 1000;
  charges[10] = charges[11] = {1000, 500};
  TreeLimits limits = Limits();
  limits.Step();
  const uint32_t before = parent.wake;
  dead = {11};
  charges.erase(11);
  charges[10] = {1000, 1000};
  StepWhenDue(limits);
  EXPECT_EQ(child.pid, 0u);
  EXPECT_EQ(parent.granted + child.granted, 1000u);
  EXPECT_EQ(parent.wake, before);
}

TEST_F(TreeLimitsTest, WhoEndsHasItsMemoryUntilItIsDead) {
  Member(10, 0, 1000);
  uzswap_member& ending = Member(11, 0, 500);
  ending.ending = NowMs();
  ending.granted = 0;
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(limits.used_bytes(), 1500u * 4096);
  dead = {11};
  StepWhenDue(limits);  // not only when all are looked at
  EXPECT_EQ(limits.used_bytes(), 1000u * 4096);
}

TEST_F(TreeLimitsTest, WhoEndedLongAgoIsGoneWhateverItsNumberSays) {
  uzswap_member& ended = Member(11, 0, 500);
  ended.ending = NowMs() - 6000;
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(limits.used_bytes(), 0u);
}

TEST_F(TreeLimitsTest, WhoWasDroppedIsPassedOnOnce) {
  uzswap_member& parent = Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 600);
  parent.shared = 500;
  charges[10] = {1000, 1000};
  tree->lock = 77;  // held by somebody alive
  dead = {11};
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(child.pid, 11u) << "next time";
  dead = {11, 77};
  usleep(100'000);
  limits.Step();
  EXPECT_EQ(child.pid, 0u);
  EXPECT_EQ(parent.granted, 1500u);
  EXPECT_EQ(parent.used, 1500u);
  EXPECT_EQ(parent.shared, 0u);
}

TEST_F(TreeLimitsTest, ForksThatFailedAreForgotten) {
  uzswap_member& parent = Member(10, 0, 1000);
  parent.forks = 3;
  parent.forked_ms = NowMs() - 200;
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(parent.forks_joined, 3u);
}

TEST_F(TreeLimitsTest, AFamilyIsNotMeasuredWhileAChildHasNoPlace) {
  uzswap_member& parent = Member(10, 0, 1000);
  Member(11, 10, 1000);
  charges[10] = charges[11] = {1000, 500};
  TreeLimits limits = Limits();
  limits.Step();
  parent.forked_ms = NowMs();
  parent.forks = 1;
  charges[10] = charges[11] = {1000, 333};  // with one more
  StepWhenDue(limits);
  StepWhenDue(limits);
  EXPECT_EQ(parent.shared, 500u);
  parent.forks_joined = 1;
  StepWhenDue(limits);
  EXPECT_EQ(parent.shared, 667u);
  parent.forks = 2;  // a child that died at once
  charges[10] = charges[11] = {1000, 500};
  usleep(120'000);
  StepWhenDue(limits);
  EXPECT_EQ(parent.shared, 500u);
}

TEST_F(TreeLimitsTest, WhoIsBornWhileAFamilyIsMeasuredIsPartOfNoMeasurement) {
  uzswap_member& parent = Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  bool forks = false;
  TreeLimits limits(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t pid) -> std::optional<Charge> {
        if (forks && pid == 11) ++parent.forks;
        return Charge{1000, !forks ? 500u : pid == 11 ? 333u : 400u};
      });
  limits.Step();
  forks = true;
  StepWhenDue(limits);
  EXPECT_EQ(child.shared, 500u)
      << "a third of it is somebody's without a place";
  EXPECT_EQ(parent.shared, 500u) << "all or nobody";
}

TEST_F(TreeLimitsTest, WhoLeavesWhileAFamilyIsMeasuredIsPartOfNoMeasurement) {
  uzswap_member& parent = Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  bool leaves = false;
  TreeLimits limits(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t pid) -> std::optional<Charge> {
        if (leaves && pid == 11) child.parent = 0;  // it execs
        return Charge{1000, leaves ? 400u : 1000u};
      });
  limits.Step();
  leaves = true;
  StepWhenDue(limits);
  EXPECT_EQ(parent.shared, 0u) << "it has all for itself now";
}

TEST_F(TreeLimitsTest, WhoSleepsIsChargedForAllThatItHas) {
  uzswap_member& parent = Member(10, 0, 1000);
  Member(11, 10, 1000);
  parent.used = 3;  // said when more was shared
  charges[10] = charges[11] = {1000, 600};
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(parent.used, 600u);
}

TEST_F(TreeLimitsTest, APeakAboveTheLimitIsLookedAtTwice) {
  uzswap_member& parent = Member(10, 0, 500);
  uzswap_member& child = Member(11, 10, 500);
  tree->limit = 1000;
  int looks = 0;
  TreeLimits limits(
      tree.get(), [](pid_t) { return true; },
      [&](pid_t) -> std::optional<Charge> {
        // The child has taken at the second look what the parent had at first.
        return Charge{700, looks++ % 4 < 2 ? 700u : 450u};
      });
  limits.Step();
  EXPECT_EQ(tree->peak, 900u);
  EXPECT_EQ(parent.shared, 250u);
  EXPECT_EQ(child.shared, 250u);
}

TEST_F(TreeLimitsTest, WhatCannotBeMeasuredIsChargedInFull) {
  Member(10, 0, 1000);
  uzswap_member& child = Member(11, 10, 1000);
  child.shared = 1000;
  TreeLimits limits = Limits();
  limits.Step();
  EXPECT_EQ(child.shared, 0u);
}

TEST_F(TreeLimitsTest, ThePeakIsThatOfAllTogether) {
  uzswap_member& first = Member(10, 0, 1000);
  Member(11, 0, 500);
  TreeLimits limits = Limits();
  limits.Step();
  first.used = 10;
  EXPECT_EQ(limits.peak_bytes(), 1500u * 4096);
  EXPECT_EQ(limits.used_bytes(), 510u * 4096);
}

TEST_F(TreeLimitsTest, OnesOwnChargeCanBeRead) {
  const auto charge = ReadCharge(getpid());
  ASSERT_TRUE(charge);
  EXPECT_GT(charge->pages, 0u);
  EXPECT_LE(charge->proportional, charge->pages);
  EXPECT_FALSE(ReadCharge(1 << 30));
}

}  // namespace
}  // namespace uzswap::cli
