// SPDX-License-Identifier: Apache-2.0
#include "preload/memory_calls.cc"

#include <gtest/gtest.h>
#include <linux/mman.h>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::Call;
using testing::fake;
using testing::kPage;
using testing::Number;

constexpr int kPrivate = MAP_PRIVATE | MAP_ANONYMOUS;

class MemoryCallTest : public ::testing::Test {
 protected:
  ~MemoryCallTest() override { fake.Forget(); }
  // The result; calls_ are the pager's calls it made.
  template <typename... T>
  int64_t Do(long number, T... arguments) {
    fake.calls.clear();
    int64_t result = -12345;
    const SyscallFrame frame =
        Call(number, static_cast<uint64_t>(arguments)...);
    EXPECT_TRUE(MemoryCall(frame, &result)) << number;
    calls_.clear();
    for (const std::string& call : fake.calls) {
      calls_ += call.substr(0, call.find(' ')) + " ";
      last_ = call;
    }
    return result;
  }
  bool Managed(uint64_t address, uint64_t bytes, int flags, int fd = -1) {
    const int64_t r = Do(SYS_mmap, address, bytes, PROT_READ, flags, fd, 0);
    EXPECT_GT(r, 0);
    if (r > 0) munmap(reinterpret_cast<void*>(r), bytes);
    return last_.back() == '1';
  }

  std::string calls_;
  std::string last_;
};

TEST_F(MemoryCallTest, OtherCallsAreNotTaken) {
  int64_t result = 0;
  for (const long number : {SYS_read, SYS_mincore, SYS_msync, SYS_munlock,
                            SYS_munlockall, SYS_shmdt, 9999}) {
    EXPECT_FALSE(MemoryCall(Call(number), &result)) << number;
  }
}

TEST_F(MemoryCallTest, LargePrivateAnonymousMappingsAreManaged) {
  EXPECT_TRUE(Managed(0, 1 << 20, kPrivate));
  EXPECT_TRUE(Managed(0, 1 << 20, kPrivate | MAP_NORESERVE));
  EXPECT_FALSE(Managed(0, 60 << 10, kPrivate));
  EXPECT_FALSE(Managed(0, 1 << 20, MAP_SHARED | MAP_ANONYMOUS));
  EXPECT_FALSE(Managed(0, 1 << 20, kPrivate | MAP_STACK));
  EXPECT_FALSE(Managed(0, 1 << 20, kPrivate | MAP_GROWSDOWN));
  FILE* file = tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_FALSE(Managed(0, 1 << 20, MAP_PRIVATE, fileno(file)));
  fclose(file);
}

TEST_F(MemoryCallTest, ASmallFixedPieceOfAManagedReserveIsManaged) {
  const uint64_t m = fake.Manage(4 * kPage);
  EXPECT_TRUE(Managed(m + kPage, kPage, kPrivate | MAP_FIXED));
  EXPECT_FALSE(Managed(m + (1 << 30), kPage, kPrivate | MAP_FIXED));
}

TEST_F(MemoryCallTest, VmCallsReachThePagerWithVectorRegistersSaved) {
  const uint64_t m = fake.Manage(kPage);
  EXPECT_EQ(Do(SYS_mprotect, m, kPage, PROT_READ), 0);
  EXPECT_EQ(calls_, "mprotect ");
  EXPECT_EQ(Do(SYS_pkey_mprotect, m, kPage, PROT_READ, -1), 0);
  EXPECT_EQ(calls_, "mprotect ");
  EXPECT_EQ(Do(SYS_mremap, m, kPage, 2 * kPage, 1, 0), 0);
  EXPECT_EQ(calls_, "mremap ");
  EXPECT_EQ(Do(SYS_madvise, m, kPage, MADV_PAGEOUT), 0);
  EXPECT_EQ(calls_, "madvise ");
  EXPECT_EQ(Do(SYS_brk, 4096), 4096);
  EXPECT_EQ(calls_, "brk ");
  EXPECT_EQ(Do(SYS_munmap, m, kPage), 0);
  EXPECT_EQ(calls_, "munmap ");
  fake.pages.clear();
}

TEST_F(MemoryCallTest, MlockTakesTheRangeOutOfThePagersHands) {
  const uint64_t m = fake.Manage(2 * kPage);
  EXPECT_EQ(Do(SYS_mlock, m + 10, kPage), 0);
  EXPECT_EQ(calls_, "unmanage ");
  EXPECT_EQ(last_.substr(last_.rfind(' ', last_.rfind(' ') - 1)), " 2000 0");
  EXPECT_TRUE(fake.pages.empty());
  EXPECT_EQ(Do(SYS_munmap, m, 2 * kPage), 0);
}

TEST_F(MemoryCallTest, MlockOfForeignMemoryIsTheKernelsAffair) {
  const int64_t here = 0;
  EXPECT_EQ(Do(SYS_mlock, Number(&here), 8), 0);
  EXPECT_EQ(calls_, "");
  EXPECT_EQ(Do(SYS_mlock, 0x10000, 8), -ENOMEM);
  munlock(&here, 8);
}

TEST_F(MemoryCallTest, ARefusedMlockLeavesTheRangeManaged) {
  const uint64_t m = fake.Manage(2 * kPage);
  EXPECT_EQ(Do(SYS_mlock2, m, kPage, 77), -EINVAL);
  EXPECT_EQ(calls_, "");
  fake.refuse_unmanage = true;
  EXPECT_EQ(Do(SYS_mlock, m, kPage), -ENOMEM);
  EXPECT_EQ(calls_, "unmanage ");
  fake.refuse_unmanage = false;
  // Beyond the end of the memory: the kernel says ENOMEM, part was managed.
  EXPECT_EQ(Do(SYS_pkey_mprotect, m, 2 * kPage, PROT_READ, 14), -EINVAL);
  EXPECT_EQ(calls_, "unmanage manage ");
  munmap(reinterpret_cast<void*>(m), 2 * kPage);
}

TEST_F(MemoryCallTest, EverythingCannotBeLocked) {
  EXPECT_EQ(Do(SYS_mlockall, MCL_CURRENT), -ENOMEM);
  EXPECT_EQ(Do(SYS_mlockall, MCL_FUTURE | MCL_ONFAULT), -ENOMEM);
  EXPECT_EQ(Do(SYS_mlockall, MCL_ONFAULT), -EINVAL);
  EXPECT_EQ(Do(SYS_mlockall, 0), -EINVAL);
  EXPECT_EQ(Do(SYS_mlockall, 64 | MCL_CURRENT), -EINVAL);
}

TEST_F(MemoryCallTest, ManagedMemoryIsNotSealed) {
  const uint64_t m = fake.Manage(kPage);
  EXPECT_EQ(Do(462, m, kPage, 0), -ENOSYS);
  EXPECT_NE(Do(462, 0x10001, kPage, 0), 0);  // not aligned, or no such call
}

TEST_F(MemoryCallTest, AttachingOverManagedMemoryForgetsItFirst) {
  const int id = shmget(IPC_PRIVATE, 2 * kPage, 0600);
  if (id < 0) GTEST_SKIP() << "no System V IPC";
  const uint64_t m = fake.Manage(4 * kPage);
  EXPECT_EQ(Do(SYS_shmat, id, m + kPage, 0), -EINVAL);  // occupied
  EXPECT_EQ(calls_, "");
  EXPECT_EQ(Do(SYS_shmat, id, m + kPage + 8, SHM_REMAP), -EINVAL);
  EXPECT_EQ(Do(SYS_shmat, 123456789, m, SHM_REMAP), -EINVAL);
  EXPECT_EQ(calls_, "");
  EXPECT_EQ(Do(SYS_shmat, id, m + kPage, SHM_REMAP), m + kPage);
  EXPECT_EQ(calls_, "mmap ");
  *reinterpret_cast<int*>(m + kPage) = 5;
  EXPECT_EQ(shmdt(reinterpret_cast<void*>(m + kPage)), 0);
  shmctl(id, IPC_RMID, nullptr);
}

TEST_F(MemoryCallTest, ProcessMadviseOfOurselvesGoesThroughThePager) {
  const auto pidfd = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  ASSERT_GE(pidfd, 0);
  const uint64_t m = fake.Manage(4 * kPage);
  const uint64_t vector = m + 3 * kPage;
  fake.Put(vector, iovec{reinterpret_cast<void*>(m), kPage});
  fake.Put(vector + 16, iovec{reinterpret_cast<void*>(m + kPage), kPage});
  EXPECT_EQ(Do(SYS_process_madvise, pidfd, vector, 2, MADV_PAGEOUT, 0),
            2 * kPage);
  EXPECT_EQ(calls_, "madvise madvise ");
  EXPECT_EQ(Do(SYS_process_madvise, pidfd, vector, 2, 9999, 0), -EINVAL);
  EXPECT_EQ(Do(SYS_process_madvise, pidfd, vector, 2, MADV_PAGEOUT, 1),
            -EINVAL);
  EXPECT_EQ(Do(SYS_process_madvise, pidfd, vector, 5000, MADV_PAGEOUT, 0),
            -EINVAL);
  EXPECT_EQ(Do(SYS_process_madvise, pidfd, 3, 1, MADV_PAGEOUT, 0), -EFAULT);
  EXPECT_EQ(Do(SYS_process_madvise, -1, vector, 1, MADV_PAGEOUT, 0), -EBADF);
  EXPECT_EQ(calls_, "");
  EXPECT_EQ(fake.TotalPins(), 0);
  close(pidfd);
}

}  // namespace
}  // namespace uzswap::preload
