// SPDX-License-Identifier: Apache-2.0
// Real system calls on memory that cannot be accessed unless it is pinned.
#include "preload/arguments.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <string>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::Call;
using testing::fake;
using testing::kPage;
using testing::Number;

class ArgumentsTest : public ::testing::Test {
 protected:
  ArgumentsTest() : m_(fake.Manage(64 * kPage)) {}
  ~ArgumentsTest() override {
    fake.Forget();
    SetPinLimit(UINT64_MAX);
  }
  // An address on a page of its own; consecutive calls give other pages.
  uint64_t New(uint64_t bytes = 8) {
    const uint64_t at = m_ + next_ * kPage;
    next_ += (bytes + kPage - 1) / kPage + 1;
    return at;
  }
  // The same, across a page boundary.
  uint64_t NewAcross(uint64_t bytes) {
    return New(2 * kPage) + kPage - bytes / 2;
  }
  uint64_t Text(const char* text) {
    const uint64_t at = NewAcross(strlen(text));
    fake.Put(at, text, strlen(text) + 1);
    return at;
  }
  // As dispatch does it.
  int64_t Do(SyscallFrame call) {
    Pins pins;
    listed_ = PinArguments(call, pins);
    const int64_t r = uzswap_raw_syscall(
        call.number(), static_cast<long>(call.rdi), static_cast<long>(call.rsi),
        static_cast<long>(call.rdx), static_cast<long>(call.r10),
        static_cast<long>(call.r8), static_cast<long>(call.r9));
    pins.CheckInvariants();
    pins.Release();
    EXPECT_EQ(fake.TotalPins(), 0) << call.number();
    return r;
  }
  template <typename... T>
  int64_t Do(long number, T... arguments) {
    return Do(Call(number, static_cast<uint64_t>(arguments)...));
  }

  uint64_t m_;
  uint64_t next_ = 0;
  bool listed_ = false;
};

TEST_F(ArgumentsTest, ReadAndWriteThroughAPipe) {
  const uint64_t fds = New();
  ASSERT_EQ(Do(SYS_pipe2, fds, 0), 0);
  const int in = fake.Get<int>(fds);
  const int out = fake.Get<int>(fds + 4);
  const uint64_t buffer = NewAcross(100);
  fake.Put(buffer, "hello", 5);
  EXPECT_EQ(Do(SYS_write, out, buffer, 100), 100);
  EXPECT_EQ(Do(SYS_ioctl, in, 0x541b /* FIONREAD */, fds), 0);
  EXPECT_EQ(fake.Get<int>(fds), 100);
  const uint64_t back = NewAcross(100);
  EXPECT_EQ(Do(SYS_read, in, back, 100), 100);
  EXPECT_EQ(fake.Get<char>(back + 4), 'o');

  // Forty buffers, each on another page than its neighbour.
  const uint64_t vector = NewAcross(40 * sizeof(iovec));
  for (uint64_t i = 0; i < 40; ++i) {
    fake.Put(vector + i * sizeof(iovec),
             iovec{reinterpret_cast<void*>(m_ + (20 + i) * kPage + 8), 2});
  }
  EXPECT_EQ(Do(SYS_writev, out, vector, 40), 80);
  EXPECT_EQ(Do(SYS_readv, in, vector, 40), 80);
  EXPECT_EQ(Do(SYS_writev, out, 2, 3), -EFAULT);
  EXPECT_EQ(Do(SYS_writev, out, vector, 5000), -EINVAL);
  close(in);
  close(out);
}

TEST_F(ArgumentsTest, PathsAndStatStructures) {
  EXPECT_EQ(Do(SYS_stat, Text("/proc/self/status"), NewAcross(144)), 0);
  const int64_t fd =
      Do(SYS_openat, AT_FDCWD, Text("/proc/self"), O_RDONLY | O_DIRECTORY);
  ASSERT_GE(fd, 0);
  EXPECT_GT(Do(SYS_getdents64, fd, NewAcross(8000), 8000), 0);
  EXPECT_EQ(Do(SYS_newfstatat, fd, Text("maps"), NewAcross(144), 0), 0);
  EXPECT_EQ(Do(SYS_statx, fd, Text("maps"), 0, 0x7ff, NewAcross(256)), 0);
  EXPECT_EQ(Do(SYS_fstatfs, fd, NewAcross(120)), 0);
  EXPECT_GT(Do(SYS_readlinkat, fd, Text("exe"), NewAcross(400), 400), 0);
  EXPECT_GT(Do(SYS_getcwd, NewAcross(400), 400), 0);
  EXPECT_EQ(Do(SYS_faccessat, fd, Text("no such file"), R_OK), -ENOENT);
  EXPECT_EQ(Do(SYS_access, 7, R_OK), -EFAULT);
  const int64_t r =
      Do(SYS_getxattr, Text("/proc"), Text("user.x"), NewAcross(64), 64);
  EXPECT_NE(r, -EFAULT);
  close(static_cast<int>(fd));
}

TEST_F(ArgumentsTest, AStringPinsNoMoreThanItsOwnPagesIfOthersAreAbsent) {
  const uint64_t page = New(3 * kPage);
  fake.Put(page + kPage - 4, "abc", 4);  // ends with its page
  SyscallFrame call = Call(SYS_chdir, page + kPage - 4);
  Pins pins;
  EXPECT_TRUE(PinArguments(call, pins));
  EXPECT_TRUE(fake.IsPinned(page));
  EXPECT_FALSE(fake.IsPinned(page + kPage));
  pins.Release();
  fake.Put(page + kPage - 4, "abcd", 5);  // now it does not
  EXPECT_TRUE(PinArguments(call, pins));
  EXPECT_TRUE(fake.IsPinned(page + kPage));
  pins.Release();
}

TEST_F(ArgumentsTest, AStringThatNeverEndsIsPinnedForPathMaxOnly) {
  const std::string endless(3 * kPage, 'x');
  const uint64_t at = New(4 * kPage);
  fake.Put(at, endless.data(), endless.size());
  EXPECT_EQ(Do(SYS_chdir, at), -ENAMETOOLONG);
  SyscallFrame call = Call(SYS_chdir, at + 8);
  Pins pins;
  EXPECT_TRUE(PinArguments(call, pins));
  EXPECT_TRUE(fake.IsPinned(at, 2 * kPage));
  EXPECT_FALSE(fake.IsPinned(at + 2 * kPage));
  pins.Release();
}

TEST_F(ArgumentsTest, MessagesWithNameControlAndSeveralBuffers) {
  const uint64_t fds = New();
  ASSERT_EQ(Do(SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, fds), 0);
  const int one = fake.Get<int>(fds);
  const int two = fake.Get<int>(fds + 4);
  struct Rights {
    size_t length;  // cmsghdr
    int level;
    int type;
    int fd;
    int padding;
  };
  const uint64_t control = NewAcross(sizeof(Rights));
  fake.Put(control, Rights{CMSG_LEN(4), SOL_SOCKET, SCM_RIGHTS, one, 0});
  const uint64_t vector = NewAcross(2 * sizeof(iovec));
  fake.Put(vector, iovec{reinterpret_cast<void*>(NewAcross(10)), 10});
  fake.Put(vector + 16, iovec{reinterpret_cast<void*>(NewAcross(6)), 6});
  const uint64_t message = NewAcross(sizeof(mmsghdr));
  mmsghdr header{};
  header.msg_hdr.msg_iov = reinterpret_cast<iovec*>(vector);
  header.msg_hdr.msg_iovlen = 2;
  header.msg_hdr.msg_control = reinterpret_cast<void*>(control);
  header.msg_hdr.msg_controllen = sizeof(Rights);
  fake.Put(message, header);
  EXPECT_EQ(Do(SYS_sendmsg, one, message, 0), 16);
  EXPECT_EQ(Do(SYS_sendmmsg, one, message, 1, 0), 1);
  EXPECT_EQ(fake.Get<mmsghdr>(message).msg_len, 16u);

  header.msg_hdr.msg_name = reinterpret_cast<void*>(NewAcross(110));
  header.msg_hdr.msg_namelen = 110;
  fake.Put(message, header);
  EXPECT_EQ(Do(SYS_recvmsg, two, message, 0), 16);
  EXPECT_EQ(fake.Get<mmsghdr>(message).msg_hdr.msg_flags & MSG_CTRUNC, 0);
  close(fake.Get<Rights>(control).fd);
  fake.Put(message, header);
  EXPECT_EQ(Do(SYS_recvmmsg, two, message, 1, 0, 0), 1);
  close(fake.Get<Rights>(control).fd);
  EXPECT_EQ(Do(SYS_recvmsg, two, 12345, MSG_DONTWAIT), -EFAULT);
  close(one);
  close(two);
}

TEST_F(ArgumentsTest, SocketNamesAndOptions) {
  const int64_t fd = Do(SYS_socket, AF_INET, SOCK_DGRAM, 0);
  ASSERT_GE(fd, 0);
  const uint64_t name = NewAcross(16);
  const uint64_t length = NewAcross(4);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  fake.Put(name, any);
  EXPECT_EQ(Do(SYS_bind, fd, name, 16), 0);
  fake.Put(length, socklen_t{16});
  EXPECT_EQ(Do(SYS_getsockname, fd, name, length), 0);
  const uint64_t data = NewAcross(50);
  EXPECT_EQ(Do(SYS_sendto, fd, data, 50, 0, name, 16), 50);
  EXPECT_EQ(Do(SYS_recvfrom, fd, data, 50, MSG_DONTWAIT, name, length), 50);
  const uint64_t value = NewAcross(4);
  fake.Put(length, socklen_t{4});
  EXPECT_EQ(Do(SYS_getsockopt, fd, SOL_SOCKET, SO_RCVBUF, value, length), 0);
  EXPECT_EQ(Do(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVBUF, value, 4), 0);
  // A filter that accepts everything.
  const uint64_t program = NewAcross(16);
  const uint64_t code = NewAcross(8);
  fake.Put(code, sock_filter{BPF_RET | BPF_K, 0, 0, 0xffffffff});
  fake.Put(program, sock_fprog{1, reinterpret_cast<sock_filter*>(code)});
  EXPECT_EQ(Do(SYS_setsockopt, fd, SOL_SOCKET, SO_ATTACH_FILTER, program, 16),
            0);
  // ifconf holds a pointer that only its own driver knows.
  ifconf interfaces{};
  interfaces.ifc_len = 10 * sizeof(ifreq);
  interfaces.ifc_buf = reinterpret_cast<char*>(NewAcross(400));
  const uint64_t list = NewAcross(sizeof(interfaces));
  fake.Put(list, interfaces);
  EXPECT_EQ(Do(SYS_ioctl, fd, 0x8912 /* SIOCGIFCONF */, list), 0);
  close(static_cast<int>(fd));
}

TEST_F(ArgumentsTest, Waiting) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  const uint64_t set = NewAcross(128);
  const uint64_t time = NewAcross(16);
  const uint64_t mask = NewAcross(8);
  const uint64_t poll = NewAcross(8);
  fake.Put(poll, pollfd{fds[1], POLLOUT, 0});
  fake.Put(set, uint64_t{1} << fds[1]);
  EXPECT_EQ(Do(SYS_poll, poll, 1, 0), 1);
  EXPECT_EQ(Do(SYS_ppoll, poll, 1, time, mask, 8), 1);
  EXPECT_EQ(Do(SYS_select, 64, 0, set, 0, time), 1);
  const uint64_t pair = NewAcross(16);
  const struct { uint64_t set, size; } mask_and_size = {mask, 8};
  fake.Put(pair, mask_and_size);
  EXPECT_EQ(Do(SYS_pselect6, 64, 0, set, 0, time, pair), 1);
  const int64_t epoll = Do(SYS_epoll_create1, 0);
  const uint64_t event = NewAcross(12);
  fake.Put(event, epoll_event{EPOLLOUT, {.u64 = 7}});
  EXPECT_EQ(Do(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, fds[1], event), 0);
  const uint64_t events = NewAcross(12);
  EXPECT_EQ(Do(SYS_epoll_wait, epoll, events, 100, 0), 1);
  EXPECT_EQ(Do(SYS_epoll_pwait, epoll, events, 100, 0, mask, 8), 1);
  EXPECT_EQ(Do(SYS_epoll_pwait2, epoll, events, 100, time, mask, 8), 1);
  const uint64_t word = NewAcross(8);
  const uint64_t aligned = (word + 3) & ~uint64_t{3};
  EXPECT_EQ(Do(SYS_futex, aligned, FUTEX_WAIT_PRIVATE, 0, time), -ETIMEDOUT);
  EXPECT_EQ(Do(SYS_futex, aligned, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1, New(), 0),
            0);
  const uint64_t waiter = NewAcross(24);
  const struct {
    uint64_t value, word;
    uint32_t flags, reserved;
  } wait = {0, aligned, FUTEX_32 | FUTEX_PRIVATE_FLAG, 0};
  fake.Put(waiter, wait);
  EXPECT_EQ(Do(SYS_futex_waitv, waiter, 1, 0, time, CLOCK_MONOTONIC),
            -ETIMEDOUT);
  EXPECT_EQ(Do(SYS_nanosleep, time, NewAcross(16)), 0);
  for (const int fd : {fds[0], fds[1], static_cast<int>(epoll)}) close(fd);
}

// A futex call leaves in the registers that it ignores whatever was there.
TEST_F(ArgumentsTest, FutexWakePinsNothingButTheWord) {
  SyscallFrame call =
      Call(SYS_futex, New(), FUTEX_WAKE_PRIVATE, 1, New(), New());
  Pins pins;
  EXPECT_TRUE(PinArguments(call, pins));
  EXPECT_EQ(fake.TotalPins(), 1);
  pins.Release();
}

TEST_F(ArgumentsTest, SignalsAndChildren) {
  const uint64_t mask = NewAcross(8);
  fake.Put(mask, uint64_t{1} << (SIGUSR1 - 1));
  const uint64_t old = NewAcross(8);
  ASSERT_EQ(Do(SYS_rt_sigprocmask, SIG_BLOCK, mask, old, 8), 0);
  const uint64_t info = NewAcross(128);
  siginfo_t sent{};
  sent.si_code = SI_QUEUE;
  fake.Put(info, sent);
  EXPECT_EQ(Do(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, info), 0);
  EXPECT_EQ(Do(SYS_rt_sigpending, NewAcross(8), 8), 0);
  EXPECT_EQ(Do(SYS_rt_sigtimedwait, mask, info, NewAcross(16), 8), SIGUSR1);
  const int64_t fd = Do(SYS_signalfd4, -1, mask, 8, 0);
  EXPECT_GE(fd, 0);
  close(static_cast<int>(fd));
  ASSERT_EQ(Do(SYS_rt_sigprocmask, SIG_SETMASK, old, 0, 8), 0);
  for (const bool waitid : {false, true}) {
    const pid_t child = fork();
    if (child == 0) _exit(3);
    const uint64_t usage = NewAcross(144);
    if (waitid) {
      EXPECT_EQ(Do(SYS_waitid, P_PID, child, info, WEXITED, usage), 0);
    } else {
      EXPECT_EQ(Do(SYS_wait4, child, NewAcross(4), 0, usage), child);
    }
  }
}

TEST_F(ArgumentsTest, ClocksTimersAndLimits) {
  EXPECT_EQ(Do(SYS_clock_gettime, CLOCK_REALTIME, NewAcross(16)), 0);
  EXPECT_EQ(Do(SYS_gettimeofday, NewAcross(16), NewAcross(8)), 0);
  const uint64_t timer = NewAcross(32);
  const int64_t fd = Do(SYS_timerfd_create, CLOCK_MONOTONIC, 0);
  EXPECT_EQ(Do(SYS_timerfd_settime, fd, 0, timer, NewAcross(32)), 0);
  close(static_cast<int>(fd));
  EXPECT_EQ(Do(SYS_getitimer, ITIMER_REAL, timer), 0);
  EXPECT_EQ(Do(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, NewAcross(16)), 0);
  EXPECT_EQ(Do(SYS_getrusage, RUSAGE_SELF, NewAcross(144)), 0);
  EXPECT_EQ(Do(SYS_sysinfo, NewAcross(112)), 0);
  EXPECT_EQ(Do(SYS_uname, NewAcross(390)), 0);
  EXPECT_GE(Do(SYS_times, NewAcross(32)), 0);
  EXPECT_GE(Do(SYS_getgroups, 60, NewAcross(240)), 0);
  EXPECT_GT(Do(SYS_sched_getaffinity, 0, 128, NewAcross(128)), 0);
  EXPECT_EQ(Do(SYS_getcpu, NewAcross(4), NewAcross(4), 0), 0);
  EXPECT_EQ(Do(SYS_getrandom, NewAcross(200), 200, 0), 200);
  EXPECT_EQ(Do(SYS_prctl, PR_SET_NAME, Text("a name")), 0);
  EXPECT_EQ(Do(SYS_prctl, PR_GET_NAME, NewAcross(16)), 0);
}

TEST_F(ArgumentsTest, SystemVObjects) {
  const int64_t queue = Do(SYS_msgget, IPC_PRIVATE, 0600);
  if (queue == -ENOSYS) GTEST_SKIP() << "no System V IPC";
  ASSERT_GE(queue, 0);
  const uint64_t message = NewAcross(108);
  fake.Put(message, long{1});
  EXPECT_EQ(Do(SYS_msgsnd, queue, message, 100, 0), 0);
  EXPECT_EQ(Do(SYS_msgrcv, queue, message, 100, 0, 0), 100);
  EXPECT_EQ(Do(SYS_msgctl, queue, IPC_STAT, NewAcross(120)), 0);
  EXPECT_EQ(Do(SYS_msgctl, queue, IPC_RMID, 0), 0);
  const int64_t set = Do(SYS_semget, IPC_PRIVATE, 200, 0600);
  ASSERT_GE(set, 0);
  const uint64_t values = NewAcross(400);
  EXPECT_EQ(Do(SYS_semctl, set, 0, SETALL, values), 0);
  EXPECT_EQ(Do(SYS_semctl, set, 0, GETALL, values), 0);
  const uint64_t operations = NewAcross(12);
  fake.Put(operations, sembuf{0, 1, 0});
  fake.Put(operations + 6, sembuf{1, 1, 0});
  EXPECT_EQ(Do(SYS_semop, set, operations, 2), 0);
  EXPECT_EQ(Do(SYS_semctl, set, 0, IPC_RMID, 0), 0);
}

TEST_F(ArgumentsTest, MemoryThatOtherCallsLookAt) {
  const uint64_t vector = NewAcross(4);
  EXPECT_EQ(Do(SYS_mincore, m_, 4 * kPage, vector), 0);
  // A program that reads itself as we do: absent pages on both sides.
  const uint64_t from = NewAcross(100);
  const uint64_t to = NewAcross(100);
  const uint64_t local = NewAcross(16);
  const uint64_t remote = NewAcross(16);
  fake.Put(from + 99, 'z');
  fake.Put(local, iovec{reinterpret_cast<void*>(to), 100});
  fake.Put(remote, iovec{reinterpret_cast<void*>(from), 100});
  EXPECT_EQ(Do(SYS_process_vm_readv, getpid(), local, 1, remote, 1, 0), 100);
  EXPECT_EQ(fake.Get<char>(to + 99), 'z');
}

TEST_F(ArgumentsTest, AnUnlistedCallHas16KiBBehindEachPointerThen64) {
  const uint64_t big = New(20 * kPage);
  SyscallFrame call = Call(479, 5, big, UINT64_MAX, m_ + 50 * kPage);
  Pins pins;
  EXPECT_FALSE(PinArguments(call, pins));
  EXPECT_TRUE(fake.IsPinned(big, 4 * kPage));
  EXPECT_FALSE(fake.IsPinned(big + 4 * kPage));
  EXPECT_TRUE(fake.IsPinned(m_ + 50 * kPage, 4 * kPage));
  fake.Put(big, m_ + 40 * kPage);
  PinMore(call, pins);
  EXPECT_TRUE(fake.IsPinned(big, 16 * kPage));
  EXPECT_TRUE(fake.IsPinned(m_ + 40 * kPage, 16 * kPage));
  pins.Release();
  EXPECT_EQ(fake.TotalPins(), 0);
}

}  // namespace
}  // namespace uzswap::preload
