// SPDX-License-Identifier: Apache-2.0
#include "preload/descriptor_calls.cc"

#include <gtest/gtest.h>
#include <linux/close_range.h>
#include <sys/wait.h>

#include <thread>

#include "base/os.h"
#include "base/own_descriptors.h"
#include "preload/fake_pager_test_support.h"

namespace uzswap::preload {
namespace {

using testing::Call;
using testing::fake;

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

int64_t Do(const SyscallFrame& frame) {
  int64_t result = -12345;
  EXPECT_TRUE(DescriptorCall(frame, &result)) << frame.number();
  return result;
}

bool Taken(const SyscallFrame& frame) {
  int64_t result = 0;
  return DescriptorCall(frame, &result);
}

// The pager holds 900, 902 and 905; 898 … 910 are open.
class DescriptorCallTest : public ::testing::Test {
 protected:
  DescriptorCallTest() {
    for (int fd = 898; fd <= 910; ++fd) EXPECT_EQ(dup2(1, fd), fd);
    fake.descriptors = {902, 900, 905};
    RefreshDescriptors();
  }
  ~DescriptorCallTest() override {
    for (int fd = 898; fd <= 910; ++fd) close(fd);
  }
  std::string Open() {
    std::string open;
    for (int fd = 898; fd <= 910; ++fd) open += IsOpen(fd) ? 'o' : '.';
    return open;
  }
};

TEST_F(DescriptorCallTest, OursAreNotOpenToTheProgram) {
  for (const int fd : {900, 902, 905}) {
    EXPECT_EQ(Do(Call(SYS_close, fd)), -EBADF);
    EXPECT_EQ(Do(Call(SYS_fcntl, fd, F_GETFD)), -EBADF);
    EXPECT_EQ(Do(Call(SYS_dup, fd)), -EBADF);
    EXPECT_EQ(Do(Call(SYS_dup2, 1, fd)), -EBADF);
    EXPECT_EQ(Do(Call(SYS_dup2, fd, fd)), -EBADF);
    EXPECT_EQ(Do(Call(SYS_dup3, fd, 5, 0)), -EBADF);
    // The kernel looks at the low half only.
    EXPECT_EQ(Do(Call(SYS_close, (uint64_t{7} << 32) | fd)), -EBADF);
  }
  EXPECT_EQ(Open(), std::string(13, 'o'));
}

TEST_F(DescriptorCallTest, NobodyReadsOrWritesOurs) {
  for (const long number :
       {SYS_read, SYS_write, SYS_pwrite64, SYS_writev, SYS_pwritev2,
        SYS_ftruncate, SYS_lseek, SYS_ioctl, SYS_sendfile}) {
    EXPECT_TRUE(Taken(Call(number, 900))) << number;
    EXPECT_FALSE(Taken(Call(number, 899))) << number;
  }
}

TEST_F(DescriptorCallTest, OthersArePassedOn) {
  for (const int fd : {0, 899, 901, 906, 100000, -1}) {
    EXPECT_FALSE(Taken(Call(SYS_close, fd)));
    EXPECT_FALSE(Taken(Call(SYS_fcntl, fd, F_GETFD)));
    EXPECT_FALSE(Taken(Call(SYS_dup2, fd, 3)));
  }
  EXPECT_FALSE(Taken(Call(SYS_read, 3)));
  EXPECT_FALSE(Taken(Call(SYS_getdents64, 900)));
}

TEST_F(DescriptorCallTest, CloseRangeClosesAroundOurs) {
  EXPECT_EQ(Do(Call(SYS_close_range, 899, 903, 0)), 0);
  EXPECT_EQ(Open(), "o.o.o.ooooooo");
  EXPECT_EQ(Do(Call(SYS_close_range, 900, 900, 0)), 0);
  EXPECT_EQ(Do(Call(SYS_close_range, 905, UINT_MAX, 0)), 0);
  EXPECT_EQ(Open(), "o.o.o.oo.....");
  EXPECT_EQ(Do(Call(SYS_close_range, 5, 4, 0)), -EINVAL);
  EXPECT_EQ(Do(Call(SYS_close_range, 899, 910, 64)), -EINVAL);
}

TEST_F(DescriptorCallTest, CloseRangeForExecIsLeftToTheKernel) {
  EXPECT_EQ(Do(Call(SYS_close_range, 899, 903, CLOSE_RANGE_CLOEXEC)), 0);
  EXPECT_EQ(fcntl(901, F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(Open(), std::string(13, 'o'));
}

// A table of descriptors that was shared is the caller's own afterwards, and
// still has ours in it.
TEST_F(DescriptorCallTest, CloseRangeCanUnshareFirst) {
  for (const unsigned last : {903u, UINT_MAX}) {
    const long child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    ASSERT_GE(child, 0);
    if (child == 0) {
      const int64_t r =
          Do(Call(SYS_close_range, 899, last, CLOSE_RANGE_UNSHARE));
      const bool right = r == 0 && IsOpen(900) && IsOpen(902) && IsOpen(905) &&
                         !IsOpen(899) && !IsOpen(901) && !IsOpen(903) &&
                         IsOpen(910) == (last == 903);
      _exit(right ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(static_cast<pid_t>(child), &status, 0), child);
    EXPECT_EQ(status, 0) << last;
    EXPECT_EQ(Open(), std::string(13, 'o'));
  }
}

TEST_F(DescriptorCallTest, TheListIsReadAgainAfterAFork) {
  fake.descriptors = {901};
  RefreshDescriptorsInChild();
  EXPECT_FALSE(Taken(Call(SYS_close, 900)));
  EXPECT_EQ(Do(Call(SYS_close, 901)), -EBADF);
  EXPECT_FALSE(Taken(Call(SYS_close, 905)));
}

TEST_F(DescriptorCallTest, AChangeIsSeenByTheNextCall) {
  OwnDescriptorsChange();
  // One is given back; another is lower than any before.
  fake.descriptors = {899, 902};
  EXPECT_EQ(Do(Call(SYS_close, 899)), -EBADF);
  EXPECT_EQ(Do(Call(SYS_close, 902)), -EBADF);
  EXPECT_FALSE(Taken(Call(SYS_close, 900)));
  OwnDescriptorsChange();
  fake.descriptors = {902, 910};
  EXPECT_EQ(Do(Call(SYS_close_range, 898, 910, 0)), 0);
  EXPECT_EQ(Open(), "....o.......o");
  OwnDescriptorsChange();
  fake.descriptors = {902};
  EXPECT_FALSE(Taken(Call(SYS_read, 910)));
}

TEST_F(DescriptorCallTest, AsManyAsThereCanBeAreHidden) {
  fake.descriptors.clear();
  for (int i = 0; i < UZSWAP_DESCRIPTORS; ++i) {
    fake.descriptors.push_back(2000 + i);
  }
  RefreshDescriptors();
  for (const int fd : fake.descriptors) {
    EXPECT_EQ(Do(Call(SYS_close, fd)), -EBADF) << fd;
  }
  EXPECT_FALSE(Taken(Call(SYS_close, 2000 + UZSWAP_DESCRIPTORS)));
}

TEST_F(DescriptorCallTest, WhatStaysHiddenIsNeverMissed) {
  std::atomic<bool> done{false};
  std::thread changes([&done] {
    while (!done.load()) {
      for (const auto& list : {std::vector<int>{902, 900}, {899, 902}, {902}}) {
        fake.descriptors = list;
        RefreshDescriptors();
      }
    }
  });
  int missed = 0;
  for (int i = 0; i < 200000; ++i) missed += !Taken(Call(SYS_close, 902));
  done.store(true);
  changes.join();
  EXPECT_EQ(missed, 0);
}

TEST_F(DescriptorCallTest, AsynchronousIoIsRefused) {
  for (const long number :
       {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
        SYS_io_setup, SYS_io_submit, SYS_io_getevents, 333}) {
    EXPECT_EQ(Do(Call(number)), -ENOSYS) << number;
  }
}

}  // namespace
}  // namespace uzswap::preload
