// SPDX-License-Identifier: Apache-2.0
#include "base/os.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

namespace uzswap {
namespace {

// Pages of the range that are in memory.
size_t ResidentPages(void* address, size_t bytes) {
  std::vector<unsigned char> state(bytes / kPageSize);
  EXPECT_EQ(mincore(address, bytes, state.data()), 0);
  size_t resident = 0;
  for (unsigned char page : state) resident += page & 1;
  return resident;
}

struct TempFile {
  TempFile() : fd(fileno(tmpfile())) {}
  ~TempFile() { os::Close(fd); }
  int fd;
};

TEST(Syscall, PassesSixArgumentsAndReturnsNegativeErrno) {
  EXPECT_EQ(os::Syscall(SYS_close, -1), -EBADF);
  TempFile file;
  ASSERT_EQ(ftruncate(file.fd, 2 * kPageSize), 0);
  ASSERT_TRUE(os::PWrite(file.fd, "second", 7, kPageSize).ok());
  const int64_t r = os::Syscall(SYS_mmap, 0, kPageSize, PROT_READ, MAP_PRIVATE,
                                file.fd, kPageSize);
  ASSERT_GT(r, 0);
  EXPECT_STREQ(reinterpret_cast<const char*>(r), "second");
  EXPECT_TRUE(os::Unmap(reinterpret_cast<void*>(r), kPageSize).ok());
}

TEST(Syscall, LeavesErrnoAlone) {
  errno = 12345;
  EXPECT_EQ(os::Syscall(SYS_close, -1), -EBADF);
  EXPECT_EQ(errno, 12345);
}

TEST(Syscall, RunsInsideItsNamedSection) {
  const auto* code = reinterpret_cast<const char*>(&uzswap_raw_syscall);
  EXPECT_GE(code, __start_uzswap_syscall_text);
  EXPECT_LT(code, __stop_uzswap_syscall_text);
}

TEST(Map, MemoryIsZeroWritableAndGivenBackByDrop) {
  constexpr size_t kBytes = 4 * kPageSize;
  const Result<void*> map = os::Map(kBytes);
  ASSERT_TRUE(map.ok());
  auto* bytes = static_cast<char*>(map.value());
  EXPECT_EQ(bytes[kBytes - 1], 0);
  memset(bytes, 1, kBytes);
  EXPECT_EQ(ResidentPages(bytes, kBytes), 4u);
  EXPECT_TRUE(os::Drop(bytes + kPageSize, 2 * kPageSize).ok());
  EXPECT_EQ(ResidentPages(bytes, kBytes), 2u);
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(bytes[kPageSize], 0);
  EXPECT_TRUE(os::Unmap(bytes, kBytes).ok());
  EXPECT_EQ(os::Drop(bytes, kBytes).error(), ENOMEM);
}

TEST(Map, SparseMemoryCostsOnlyWhatIsTouched) {
  constexpr size_t kBytes = size_t{1} << 30;
  const Result<void*> map = os::Map(kBytes, /*sparse=*/true);
  ASSERT_TRUE(map.ok());
  auto* bytes = static_cast<char*>(map.value());
  bytes[kBytes / 2] = 1;
  EXPECT_EQ(ResidentPages(bytes, kBytes), 1u);
  EXPECT_TRUE(os::Unmap(bytes, kBytes).ok());
}

TEST(Map, ReportsThatMemoryIsMissing) {
  EXPECT_EQ(os::Map(size_t{1} << 60).error(), ENOMEM);
}

TEST(Futex, WaitReturnsWhenTheValueDiffersOrTimeIsUp) {
  const uint32_t word = 5;
  EXPECT_EQ(os::FutexWait(&word, 4, -1).error(), EAGAIN);
  const uint64_t before = os::MonotonicNs();
  EXPECT_EQ(os::FutexWait(&word, 5, 5'000'000).error(), ETIMEDOUT);
  EXPECT_GE(os::MonotonicNs() - before, 5'000'000u);
}

TEST(Futex, WakeEndsAWait) {
  std::atomic<uint32_t> word{0};
  std::thread waiter([&] {
    while (word.load() == 0) os::FutexWait(&word, 0, -1).Ignore();
  });
  word.store(1);
  os::FutexWake(&word, 1);
  waiter.join();
}

TEST(Files, ReadWhatWasWrittenAtTheSameOffset) {
  TempFile file;
  const char text[] = "0123456789";
  EXPECT_TRUE(os::PWrite(file.fd, text, 10, 100).ok());
  char back[10];
  EXPECT_TRUE(os::PRead(file.fd, back, 5, 105).ok());
  EXPECT_EQ(memcmp(back, "56789", 5), 0);
}

TEST(Files, AReadThatMeetsTheEndIsAnError) {
  TempFile file;
  ASSERT_TRUE(os::PWrite(file.fd, "abc", 3, 0).ok());
  char back[4];
  EXPECT_EQ(os::PRead(file.fd, back, 4, 0).error(), EIO);
  EXPECT_EQ(os::PRead(-1, back, 4, 0).error(), EBADF);
  EXPECT_EQ(os::PWrite(-1, back, 4, 0).error(), EBADF);
}

TEST(Files, ReadFileReturnsTheLengthOfAProcFile) {
  EXPECT_EQ(os::Open("/proc/no/such/file", O_RDONLY, 0).error(), ENOENT);
  const Result<int> fd = os::Open("/proc/self/statm", O_RDONLY, 0);
  ASSERT_TRUE(fd.ok());
  EXPECT_NE(fcntl(fd.value(), F_GETFD) & FD_CLOEXEC, 0);
  char text[256];
  const Result<size_t> size = os::ReadFile(fd.value(), text, sizeof(text));
  ASSERT_TRUE(size.ok());
  EXPECT_GT(size.value(), 10u);
  EXPECT_EQ(text[size.value() - 1], '\n');
  os::Close(fd.value());
  EXPECT_EQ(fcntl(fd.value(), F_GETFD), -1);
}

TEST(Cpu, CurrentCpuIsWhereTheThreadRuns) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  for (unsigned cpu = 0; cpu < os::CpuCount(); ++cpu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0) continue;
    EXPECT_EQ(os::CurrentCpu(), cpu);
  }
  EXPECT_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
}

TEST(Cpu, CountDoesNotDependOnAffinity) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  EXPECT_GE(os::CpuCount(), static_cast<unsigned>(CPU_COUNT(&before)));
  EXPECT_EQ(os::CpuCount(),
            static_cast<unsigned>(sysconf(_SC_NPROCESSORS_CONF)));
}

TEST(Signals, BlockKeepsOnlyTheSynchronousOnesOpen) {
  const uint64_t before = os::BlockSignals();
  sigset_t now;
  sigprocmask(SIG_BLOCK, nullptr, &now);
  EXPECT_TRUE(sigismember(&now, SIGINT));
  EXPECT_TRUE(sigismember(&now, SIGALRM));
  EXPECT_TRUE(sigismember(&now, SIGRTMAX));
  EXPECT_TRUE(sigismember(&now, SIGSEGV));
  EXPECT_FALSE(sigismember(&now, SIGBUS));
  EXPECT_FALSE(sigismember(&now, SIGSYS));
  os::RestoreSignals(before);
  sigprocmask(SIG_BLOCK, nullptr, &now);
  EXPECT_FALSE(sigismember(&now, SIGINT));
}

TEST(Ids, AreTheKernels) {
  EXPECT_EQ(os::ProcessId(), getpid());
  EXPECT_EQ(os::ThreadId(), gettid());
}

TEST(Clock, NeverRunsBackwards) {
  uint64_t last = os::MonotonicNs();
  for (int i = 0; i < 1000; ++i) {
    const uint64_t now = os::MonotonicNs();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ExitDeathTest, LeavesWithTheCode) {
  EXPECT_EXIT(os::Exit(3), testing::ExitedWithCode(3), "");
}

}  // namespace
}  // namespace uzswap
