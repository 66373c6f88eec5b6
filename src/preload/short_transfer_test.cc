// SPDX-License-Identifier: Apache-2.0
// Transfers larger than what may be pinned at once become shorter ones.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <thread>
#include <vector>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::Call;
using testing::fake;
using testing::kPage;

constexpr uint64_t kLimit = 1 << 20;

class ShortTransferTest : public ::testing::Test {
 protected:
  ShortTransferTest() : m_(fake.Manage(8 * kLimit)) { SetPinLimit(4 * kLimit); }
  ~ShortTransferTest() override {
    pins_.Release();
    EXPECT_EQ(fake.TotalPins(), 0);
    fake.Forget();
    SetPinLimit(UINT64_MAX);
  }
  int64_t Execute(const SyscallFrame& call) {
    return uzswap_raw_syscall(
        call.number(), static_cast<long>(call.rdi), static_cast<long>(call.rsi),
        static_cast<long>(call.rdx), static_cast<long>(call.r10),
        static_cast<long>(call.r8), static_cast<long>(call.r9));
  }
  // The program's result, all parts taken together.
  int64_t Whole(const SyscallFrame& frame) {
    SyscallFrame call = frame;
    EXPECT_TRUE(PinArguments(call, pins_));
    const int64_t r = FinishTransfer(frame, call, Execute(call), pins_);
    pins_.Release();
    return r;
  }
  uint64_t Vector(const std::vector<std::pair<uint64_t, uint64_t>>& buffers) {
    uint64_t at = m_ + 7 * kLimit;
    for (const auto& [base, bytes] : buffers) {
      fake.Put(at, iovec{reinterpret_cast<void*>(base), bytes});
      at += sizeof(iovec);
    }
    return m_ + 7 * kLimit;
  }
  uint64_t Message(uint64_t vector, uint64_t count, uint64_t at) {
    mmsghdr message{};
    message.msg_hdr.msg_iov = reinterpret_cast<iovec*>(vector);
    message.msg_hdr.msg_iovlen = count;
    fake.Put(at, message);
    return at;
  }

  uint64_t m_;
  Pins pins_;
};

TEST_F(ShortTransferTest, AReadIsShortenedNotBroken) {
  const int fd = open("/dev/zero", O_RDONLY);
  ASSERT_GE(fd, 0);
  SyscallFrame call = Call(SYS_read, fd, m_ + 1, 3 * kLimit);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(call.rdx, kLimit - 1);
  EXPECT_EQ(Execute(call), kLimit - 1);
  close(fd);
}

TEST_F(ShortTransferTest, AVectorLosesTheBuffersThatAreTooMany) {
  const int fd = open("/dev/zero", O_RDONLY);
  ASSERT_GE(fd, 0);
  const uint64_t vector = Vector({{m_, 0},
                                  {m_, kLimit / 2},
                                  {m_ + kLimit, kLimit / 4},
                                  {m_ + 2 * kLimit, kLimit}});
  SyscallFrame call = Call(SYS_readv, fd, vector, 4);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(call.rsi, vector);
  EXPECT_EQ(call.rdx, 3u);
  EXPECT_EQ(Execute(call), kLimit * 3 / 4);
  close(fd);
}

TEST_F(ShortTransferTest, AFirstBufferThatIsTooLargeIsCutInACopy) {
  const int fd = open("/dev/zero", O_RDONLY);
  ASSERT_GE(fd, 0);
  const uint64_t vector = Vector({{m_, 0}, {m_, 2 * kLimit}, {m_, 5}});
  SyscallFrame call = Call(SYS_readv, fd, vector, 3);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_NE(call.rsi, vector);
  EXPECT_EQ(call.rdx, 1u);
  EXPECT_EQ(Execute(call), kLimit);
  EXPECT_EQ(fake.Get<iovec>(vector + sizeof(iovec)).iov_len, 2 * kLimit);
  close(fd);
}

TEST_F(ShortTransferTest, AShortenedMessageReportsBackInTheProgramsHeader) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const uint64_t message =
      Message(Vector({{m_, 100}, {m_ + kLimit, 2 * kLimit}}), 2,
              m_ + 7 * kLimit + kPage);
  SyscallFrame call = Call(SYS_sendmsg, fds[0], message, 0);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_NE(call.rsi, message);
  EXPECT_EQ(Execute(call), 100);
  pins_.Release();
  EXPECT_EQ(fake.Get<msghdr>(message).msg_iovlen, 2u);

  auto header = fake.Get<msghdr>(message);
  header.msg_flags = 0x7777;
  header.msg_controllen = 0;
  fake.Put(message, header);
  call = Call(SYS_recvmsg, fds[1], message, 0);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_NE(call.rsi, message);
  EXPECT_EQ(Execute(call), 100);
  pins_.Release();
  EXPECT_EQ(fake.Get<msghdr>(message).msg_flags, 0);
  EXPECT_EQ(fake.Get<msghdr>(message).msg_iovlen, 2u);
  close(fds[0]);
  close(fds[1]);
}

TEST_F(ShortTransferTest, ABatchEndsInFrontOfTheMessageThatIsTooMuch) {
  const uint64_t vector = Vector({{m_, kLimit / 4 * 3}});
  const uint64_t other = vector + 4 * kPage;
  fake.Put(other, iovec{reinterpret_cast<void*>(m_ + 2 * kLimit), kLimit / 2});
  const uint64_t batch = Message(vector, 1, m_ + 7 * kLimit + kPage);
  Message(other, 1, batch + sizeof(mmsghdr));
  SyscallFrame call = Call(SYS_sendmmsg, 1, batch, 2, 0);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(call.rsi, batch);
  EXPECT_EQ(call.rdx, 1u);
}

TEST_F(ShortTransferTest, AFirstMessageThatIsTooLargeIsCutAlone) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const uint64_t vector = Vector({{m_, 2 * kLimit}});
  const uint64_t batch = Message(vector, 1, m_ + 7 * kLimit + kPage);
  Message(vector, 1, batch + sizeof(mmsghdr));
  SyscallFrame call = Call(SYS_sendmmsg, fds[0], batch, 2, MSG_DONTWAIT);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_NE(call.rsi, batch);
  EXPECT_EQ(call.rdx, 1u);
  EXPECT_EQ(Execute(call), 1);
  pins_.Release();
  const auto length = fake.Get<mmsghdr>(batch).msg_len;
  EXPECT_GT(length, 0u);
  EXPECT_LE(length, kLimit);
  close(fds[0]);
  close(fds[1]);
}

TEST_F(ShortTransferTest, AFileIsWrittenAndReadWhole) {
  const int fd = static_cast<int>(syscall(SYS_memfd_create, "file", 0));
  ASSERT_GE(fd, 0);
  constexpr uint64_t kBytes = 3 * kLimit + 5;
  for (uint64_t at = 0; at < kBytes; at += 8) fake.Put(m_ + at, at);
  EXPECT_EQ(Whole(Call(SYS_write, fd, m_, kBytes)), kBytes);
  EXPECT_EQ(Whole(Call(SYS_pwrite64, fd, m_ + 8, kBytes - 8, 8)), kBytes - 8);
  const uint64_t to = m_ + 4 * kLimit;
  EXPECT_EQ(Whole(Call(SYS_pread64, fd, to, kBytes, 0)), kBytes);
  for (uint64_t at = 0; at + 8 <= kBytes; at += 8 * 509) {
    ASSERT_EQ(fake.Get<uint64_t>(to + at), at);
  }
  // The end of the file comes in a later part.
  EXPECT_EQ(Whole(Call(SYS_pread64, fd, to, 4 * kLimit, 2 * kLimit)),
            kLimit + 5);
  EXPECT_EQ(Whole(Call(SYS_read, fd, to, 4 * kLimit)), 0);
  close(fd);
}

TEST_F(ShortTransferTest, ABlockingWriteToAStreamIsWhole) {
  for (const bool pipes : {true, false}) {
    int fds[2];
    ASSERT_EQ(pipes ? pipe(fds) : socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    constexpr uint64_t kBytes = 3 * kLimit;
    uint64_t got = 0;
    std::thread reader([&fds, &got] {
      char buffer[8192];
      while (got < kBytes) {
        const ssize_t r = read(fds[0], buffer, sizeof(buffer));
        if (r <= 0) return;
        got += static_cast<uint64_t>(r);
      }
    });
    EXPECT_EQ(Whole(pipes ? Call(SYS_write, fds[1], m_, kBytes)
                          : Call(SYS_sendto, fds[1], m_, kBytes)),
              kBytes);
    reader.join();
    EXPECT_EQ(got, kBytes);
    close(fds[0]);
    close(fds[1]);
  }
}

TEST_F(ShortTransferTest, AReadFromAPipeDoesNotWaitForMore) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  if (fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) < 0) GTEST_SKIP();
  SetPinLimit(0);  // the least: kAlwaysBytes
  const std::string bytes(Pins::kAlwaysBytes, 'x');
  ASSERT_EQ(write(fds[1], bytes.data(), bytes.size()),
            static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(Whole(Call(SYS_read, fds[0], m_, kLimit)), Pins::kAlwaysBytes);
  close(fds[0]);
  close(fds[1]);
}

TEST_F(ShortTransferTest, WhatIsNotATransferIsPinnedWhole) {
  SyscallFrame call = Call(SYS_setxattr, 0, 0, m_, 3 * kLimit, 0);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(call.r10, 3 * kLimit);
  EXPECT_TRUE(fake.IsPinned(m_, 3 * kLimit));
}

// The upper half of an int argument may be anything; the kernel ignores it.
TEST_F(ShortTransferTest, TheUpperHalfOfAnIntArgumentCountsForNothing) {
  constexpr uint64_t kStale = uint64_t{0xdead} << 32;
  SyscallFrame call = Call(SYS_getdents64, 0, m_, kStale | 100);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(call.rdx, kStale | 100);
  EXPECT_EQ(fake.TotalPins(), 1);
  pins_.Release();
  call = Call(SYS_poll, m_, kStale | 0xffffffff, 0);
  EXPECT_TRUE(PinArguments(call, pins_));
  EXPECT_EQ(fake.TotalPins(), 0);
}

}  // namespace
}  // namespace uzswap::preload
