// SPDX-License-Identifier: Apache-2.0
#include "cli/cgroup.h"

#include <gtest/gtest.h>

#include "cli/fake_root_test_support.h"
#include "cli/options.h"

namespace uzswap::cli {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
const std::string kCgroups = "/sys/fs/cgroup";

class Cgroup : public FakeRoot {
 protected:
  // In bytes; 0: none.
  uint64_t Least() {
    const auto least = LeastCgroupLimit(root_);
    return least ? least->bytes : 0;
  }
  std::string Problem() {
    AutoMemory memory(root_);
    const Check check = memory.Find();
    return check ? check->sentence : "";
  }
};

TEST_F(Cgroup, TheOwnLimitCounts) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "268435456\n");
  EXPECT_EQ(Least(), 256 * kMiB);
  EXPECT_EQ(LeastCgroupLimit(root_)->file,
            root_ + "/sys/fs/cgroup/box/memory.max");
}

TEST_F(Cgroup, TheLeastOfAllAboveWins) {
  UseV2("/a/b/c");
  Write(kCgroups + "/a/b/c/memory.max", "max\n");
  Write(kCgroups + "/a/b/memory.max", "134217728\n");
  Write(kCgroups + "/a/memory.max", "536870912\n");
  EXPECT_EQ(Least(), 128 * kMiB);
  Write(kCgroups + "/a/memory.max", "67108864\n");
  EXPECT_EQ(Least(), 64 * kMiB);
}

TEST_F(Cgroup, AHighThatThrottlesIsALimit) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "268435456\n");
  Write(kCgroups + "/box/memory.high", "201326592\n");
  EXPECT_EQ(Least(), 192 * kMiB);
}

TEST_F(Cgroup, MaxAndHugeNumbersAreNoLimit) {
  UseV2("/box");
  for (const char* text : {"max\n", "", "\n", "9223372036854771712\n",
                           "99999999999999999999999\n", "-1\n", "12x\n"}) {
    Write(kCgroups + "/box/memory.max", text);
    EXPECT_EQ(Least(), 0u) << text;
  }
}

TEST_F(Cgroup, V1BesideV2) {
  UseV1("/docker/1234");
  Write(kCgroups + "/memory/docker/1234/memory.limit_in_bytes", "134217728\n");
  Write(kCgroups + "/memory/docker/memory.limit_in_bytes",
        "9223372036854771712\n");
  Write(kCgroups + "/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, V1TellsOfAncestorsThatCannotBeSeen) {
  UseV1("/box");
  Write(kCgroups + "/memory/box/memory.limit_in_bytes", "134217728\n");
  Write(kCgroups + "/memory/box/memory.stat",
        "cache 1\nhierarchical_memory_limit 100663296\ntotal_rss 7\n");
  EXPECT_EQ(Least(), 96 * kMiB);
}

// Docker without a cgroup namespace: the path is the host's, and the file
// system begins at the own cgroup.
TEST_F(Cgroup, AMountThatBeginsAtTheOwnCgroup) {
  UseV1("/docker/1234");
  Remove(kCgroups);
  Write("/proc/self/mountinfo",
        "33 31 0:29 /docker/1234 /sys/fs/cgroup/memory ro - cgroup cgroup "
        "rw,memory\n");
  Write(kCgroups + "/memory/memory.limit_in_bytes", "134217728\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, APathThatDoesNotExistIsWhatIsMounted) {
  UseV2("/elsewhere/deeper");
  Remove(kCgroups);
  Write(kCgroups + "/memory.max", "134217728\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, V1APathThatDoesNotExistIsWhatIsMounted) {
  UseV1("/elsewhere");
  Remove(kCgroups + "/memory/elsewhere");
  Write(kCgroups + "/memory/memory.stat",
        "hierarchical_memory_limit 100663296\n");
  EXPECT_EQ(Least(), 96 * kMiB);
}

TEST_F(Cgroup, APathFromOutsideOfTheNamespaceIsWhatIsMounted) {
  UseV2("/../../sibling");
  Remove(kCgroups);
  Write(kCgroups + "/memory.max", "134217728\n");
  // Were the path followed, this would be read.
  Write("/sys/sibling/memory.max", "1048576\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, ANameThatOnlyBeginsTheSameIsNotBelow) {
  UseV2("/boxes");
  Write("/proc/self/mountinfo",
        "30 1 0:26 /box /mnt/one rw - cgroup2 cgroup2 rw\n");
  Write("/mnt/onees/memory.max", "1048576\n");
  Write("/mnt/one/memory.max", "134217728\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, OfSeveralMountsTheOneThatShowsMostAbove) {
  UseV2("/a/b");
  Write("/proc/self/mountinfo",
        "30 1 0:26 /a/b /mnt/own rw - cgroup2 cgroup2 rw\n"
        "31 1 0:26 / /mnt/all rw - cgroup2 cgroup2 rw\n"
        "32 1 0:26 /a /mnt/some rw - cgroup2 cgroup2 rw\n");
  Write("/mnt/own/memory.max", "268435456\n");
  Write("/mnt/all/a/b/memory.max", "268435456\n");
  Write("/mnt/all/memory.max", "134217728\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, BlanksInMountPoints) {
  UseV2("/box");
  Write("/proc/self/mountinfo",
        "30 1 0:26 / /my\\040cgroups rw - cgroup2 cgroup2 rw\n");
  Write("/my cgroups/box/memory.max", "134217728\n");
  EXPECT_EQ(Least(), 128 * kMiB);
}

TEST_F(Cgroup, AnEighthIsSparedAndAtLeast32MiB) {
  UseV2("/box");
  AutoMemory memory(root_);
  Write(kCgroups + "/box/memory.max", "1073741824\n");
  ASSERT_FALSE(memory.Find());
  EXPECT_EQ(memory.Limit(), 896 * kMiB);
  Write(kCgroups + "/box/memory.max", "134217728\n");
  ASSERT_FALSE(memory.Find());
  EXPECT_EQ(memory.Limit(), 96 * kMiB);
}

TEST_F(Cgroup, TheMachineIsABound) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "1099511627776\n");
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  EXPECT_EQ(memory.Limit(), uint64_t{14} << 30);
}

TEST_F(Cgroup, NoLimitIsSaid) {
  UseV2("/box");
  EXPECT_EQ(Problem(),
            "--memory auto: no cgroup of this process limits its memory; give "
            "--memory SIZE");
  Write("/proc/self/mountinfo", "22 1 0:21 / /proc rw - proc proc rw\n");
  EXPECT_EQ(Problem(),
            "--memory auto: the cgroups of this process cannot be seen; give "
            "--memory SIZE");
  Remove("/proc");
  EXPECT_NE(Problem(), "");
}

TEST_F(Cgroup, TooLittleIsSaid) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", std::to_string(48 * kMiB));
  EXPECT_EQ(Problem(), "");
  Write(kCgroups + "/box/memory.max", std::to_string(48 * kMiB - 1));
  EXPECT_EQ(Problem(), "--memory auto: " + root_ +
                           "/sys/fs/cgroup/box/memory.max allows 48.0 MiB, but "
                           "32.0 MiB of it are for the kernel and the page "
                           "cache and the minimum is 16.0 MiB; give --memory "
                           "SIZE");
}

TEST_F(Cgroup, ChangesAreFollowedBothWays) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "134217728\n");
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  EXPECT_FALSE(memory.Changed());
  Write(kCgroups + "/box/memory.max", "268435456\n");
  EXPECT_TRUE(memory.Changed());
  EXPECT_EQ(memory.Limit(), 224 * kMiB);
  EXPECT_FALSE(memory.Changed());
  // On a cgroup above.
  Write(kCgroups + "/memory.max", "134217728\n");
  EXPECT_TRUE(memory.Changed());
  EXPECT_EQ(memory.Limit(), 96 * kMiB);
}

TEST_F(Cgroup, ALimitThatGoesLeavesTheMachine) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "134217728\n");
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  Write(kCgroups + "/box/memory.max", "max\n");
  EXPECT_TRUE(memory.Changed());
  EXPECT_EQ(memory.Limit(), uint64_t{14} << 30);
  Write(kCgroups + "/box/memory.max", "1099511627776\n");
  EXPECT_FALSE(memory.Changed());
  Write(kCgroups + "/box/memory.max", "1\n");
  EXPECT_TRUE(memory.Changed());
  EXPECT_EQ(memory.Limit(), kMinimumMemory);
}

TEST_F(Cgroup, WhatCannotBeReadAnyMoreChangesNothing) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "134217728\n");
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  Remove("/proc");
  EXPECT_FALSE(memory.Changed());
  EXPECT_EQ(memory.Limit(), 96 * kMiB);
}

TEST_F(Cgroup, AMoveToAnotherCgroupIsFollowed) {
  UseV2("/box");
  Write(kCgroups + "/box/memory.max", "134217728\n");
  Write(kCgroups + "/other/memory.max", "268435456\n");
  AutoMemory memory(root_);
  ASSERT_FALSE(memory.Find());
  Write("/proc/self/cgroup", "0::/other\n");
  EXPECT_TRUE(memory.Changed());
  EXPECT_EQ(memory.Limit(), 224 * kMiB);
}

}  // namespace
}  // namespace uzswap::cli
