// SPDX-License-Identifier: Apache-2.0
// The VM calls one by one, where they differ from what pager_fuzz does at
// random: sizes, kinds of memory, taking over and giving back, brk, errors.
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

#include <chrono>

#include "pager_model.h"

namespace pager_test {
namespace {

class PagerVm : public testing::Test {
 protected:
  void SetUp() override {
    InstallHandler();
    limit_ = OpenUzswap({.method = UZSWAP_EVICT_AUTO, .room = 16 * kMiB});
  }
  void TearDown() override {
    CheckInvariants();
    uzswap_close();
  }
  uint64_t limit_ = 0;

 private:
  AlternateStack stack_;
};

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin)
      .count();
}

TEST_F(PagerVm, OnlyOrdinaryAnonymousMemoryIsManaged) {
  const struct {
    int prot;
    int flags;
    bool managed;
  } cases[] = {
      {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, true},
      {PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, true},
      {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
       true},
      {PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, false},
      {PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, false},
      {PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, false},
  };
  for (const auto& c : cases) {
    const long r = uzswap_mmap(nullptr, kMiB, c.prot, c.flags, -1, 0, 1);
    ASSERT_GT(r, 0);
    void* at = reinterpret_cast<void*>(r);
    EXPECT_EQ(uzswap_is_managed(at, kMiB), c.managed) << c.flags;
    EXPECT_EQ(uzswap_munmap(at, kMiB), 0);
    EXPECT_EQ(uzswap_is_managed(at, kMiB), 0);
  }
  const long r = uzswap_mmap(nullptr, kMiB, PROT_READ,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0);
  EXPECT_EQ(uzswap_is_managed(reinterpret_cast<void*>(r), kMiB), 0);
  EXPECT_EQ(uzswap_munmap(reinterpret_cast<void*>(r), kMiB), 0);
}

TEST_F(PagerVm, ErrorsAreTheKernels) {
  EXPECT_EQ(
      uzswap_mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 1),
      -EINVAL);
  char* base = MapManaged(kMiB);
  EXPECT_EQ(uzswap_munmap(base + 1, kPage), -EINVAL);
  EXPECT_EQ(uzswap_munmap(base, 0), -EINVAL);
  EXPECT_EQ(uzswap_mprotect(base + 1, kPage, PROT_READ), -EINVAL);
  EXPECT_EQ(uzswap_madvise(base, kPage, 12345), -EINVAL);
  EXPECT_EQ(uzswap_madvise(base + 1, kPage, MADV_DONTNEED), -EINVAL);
  EXPECT_EQ(uzswap_mremap(base, kMiB, 0, 0, nullptr), -EINVAL);
  EXPECT_EQ(uzswap_mremap(base, 0, kMiB, MREMAP_MAYMOVE, nullptr), -EINVAL);
  EXPECT_EQ(uzswap_manage(base + 1, kPage), -EINVAL);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, HugeReservationsAreCheap) {
  // Thread sanitizer's shadow leaves no hole of 1 TiB.
  constexpr size_t kHuge = size_t{1} << (kExactMemory ? 40 : 36);
  const uint64_t before = RssBytes();
  const auto begin = std::chrono::steady_clock::now();
  char* base = MapManaged(kHuge, PROT_NONE);
  ASSERT_EQ(uzswap_mprotect(base + kHuge / 2, kMiB, PROT_READ | PROT_WRITE), 0);
  memset(base + kHuge / 2, 3, kMiB);
  ASSERT_EQ(uzswap_madvise(base, kHuge, MADV_DONTNEED), 0);
  EXPECT_EQ(base[kHuge / 2], 0);
  ASSERT_EQ(uzswap_munmap(base, kHuge), 0);
  EXPECT_LT(SecondsSince(begin), 1.0);
  if (kExactMemory) {
    EXPECT_LT(RssBytes(), before + 4 * kMiB);
  }
}

TEST_F(PagerVm, MovedMemoryTakesItsEvictedPagesAlong) {
  constexpr size_t kCount = 8192;  // more than fits
  char* base = MapManaged(kCount * kPage);
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  // The way of realloc: grow, and move if there is no room.
  char* fence = base + kCount * kPage;
  mmap(fence, kPage, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  const long r = uzswap_mremap(base, kCount * kPage, 2 * kCount * kPage,
                               MREMAP_MAYMOVE, nullptr);
  ASSERT_GT(r, 0);
  char* moved = reinterpret_cast<char*>(r);
  ASSERT_NE(moved, base);
  EXPECT_EQ(uzswap_is_managed(base, kCount * kPage), 0);
  size_t wrong = 0;
  for (size_t i = 0; i < kCount; ++i) {
    wrong += !PageIs(moved + i * kPage, i, 1);
  }
  EXPECT_EQ(wrong, 0u);
  for (size_t i = kCount; i < 2 * kCount; i += 64) {
    wrong += moved[i * kPage] != 0;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(uzswap_munmap(moved, 2 * kCount * kPage), 0);
  EXPECT_EQ(Stats().stored_bytes, 0u);
}

TEST_F(PagerVm, DiscardedPagesAreNotStoredAnyMore) {
  char* base = MapManaged(4 * kMiB);
  for (int advice : {MADV_DONTNEED, MADV_FREE}) {
    for (size_t i = 0; i < 1024; ++i) FillPage(base + i * kPage, i, 1);
    uzswap_evict_all();
    EXPECT_GE(Stats().stored_bytes, 4 * kMiB);
    ASSERT_EQ(uzswap_madvise(base, 4 * kMiB, advice), 0);
    EXPECT_EQ(Stats().stored_bytes, 0u);
    for (size_t i = 0; i < 1024; ++i) ASSERT_EQ(base[i * kPage], 0);
  }
  EXPECT_EQ(uzswap_munmap(base, 4 * kMiB), 0);
}

TEST_F(PagerVm, DiscardingAPinnedPageClearsIt) {
  char* base = MapManaged(kMiB);
  memset(base, 5, kMiB);
  uzswap_pin(base + kPage, kPage);
  ASSERT_EQ(uzswap_madvise(base, kMiB, MADV_DONTNEED), 0);
  // Still there for the kernel: reading it directly does not fault.
  char byte = 9;
  const iovec local = {.iov_base = &byte, .iov_len = 1};
  const iovec remote = {.iov_base = base + kPage, .iov_len = 1};
  EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), 1);
  EXPECT_EQ(byte, 0);
  EXPECT_EQ(base[0], 0);
  uzswap_unpin(base + kPage, kPage);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, PageoutAndPopulateDoWhatTheySay) {
  char* base = MapManaged(2 * kMiB);
  memset(base, 1, 2 * kMiB);
  ASSERT_EQ(uzswap_madvise(base, kMiB, MADV_PAGEOUT), 0);
  EXPECT_EQ(uzswap_pin_resident(base, kPage), -EAGAIN);
  EXPECT_EQ(uzswap_pin_resident(base + kMiB, kMiB), 0);
  uzswap_unpin(base + kMiB, kMiB);
  ASSERT_EQ(uzswap_madvise(base, 2 * kMiB, MADV_POPULATE_WRITE), 0);
  EXPECT_EQ(uzswap_pin_resident(base, 2 * kMiB), 0);
  uzswap_unpin(base, 2 * kMiB);
  ASSERT_EQ(uzswap_mprotect(base, kPage, PROT_READ), 0);
  EXPECT_EQ(uzswap_madvise(base, kPage, MADV_POPULATE_WRITE), -EINVAL);
  EXPECT_EQ(uzswap_madvise(base, kPage, MADV_POPULATE_READ), 0);
  EXPECT_EQ(uzswap_munmap(base, 2 * kMiB), 0);
}

TEST_F(PagerVm, MemoryWithoutAccessNeverLeaves) {
  char* base = MapManaged(kMiB);
  memset(base, 1, kMiB);
  ASSERT_EQ(uzswap_mprotect(base, kMiB, PROT_NONE), 0);
  EXPECT_EQ(uzswap_evict_all(), 0u);
  EXPECT_EQ(uzswap_handle_fault(base, 1), 0);  // resident: run it again
  ASSERT_EQ(uzswap_mprotect(base, kMiB, PROT_READ), 0);
  EXPECT_GT(uzswap_evict_all(), 0u);
  EXPECT_EQ(Stats().resident_bytes, 0u);
  ASSERT_EQ(uzswap_mprotect(base, kMiB, PROT_NONE), 0);
  EXPECT_EQ(uzswap_handle_fault(base, 1), -ENOENT);
  EXPECT_EQ(uzswap_pin(base, kMiB), 0);
  ASSERT_EQ(uzswap_mprotect(base, kMiB, PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(base[5], 1);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, CodeInManagedMemoryRunsAfterEviction) {
  char* base = MapManaged(kMiB);
  const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};  // mov 42; ret
  memcpy(base + 64 * kPage, code, sizeof(code));
  ASSERT_EQ(uzswap_mprotect(base, kMiB, PROT_READ | PROT_EXEC), 0);
  EXPECT_EQ(uzswap_is_managed(base, 1), 1);
  auto function = reinterpret_cast<int (*)()>(base + 64 * kPage);
  EXPECT_EQ(function(), 42);
  EXPECT_GT(uzswap_evict_all(), 0u);
  EXPECT_EQ(function(), 42);  // an instruction fetch faults
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, ExistingMemoryIsTakenOverAndGivenBack) {
  constexpr size_t kCount = 512;
  auto* base = static_cast<char*>(mmap(nullptr, 2 * kCount * kPage,
                                       PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  ASSERT_EQ(uzswap_manage(base, 2 * kCount * kPage), 0);
  EXPECT_EQ(Stats().resident_bytes, kCount * kPage);
  EXPECT_EQ(uzswap_manage(base, kCount * kPage), 0);  // again: no change
  EXPECT_EQ(Stats().resident_bytes, kCount * kPage);
  EXPECT_EQ(uzswap_evict_all(), kCount);
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(PageIs(base + i * kPage, i, 1));
  }
  uzswap_evict_all();
  ASSERT_EQ(uzswap_unmanage(base, 2 * kCount * kPage), 0);
  EXPECT_EQ(uzswap_is_managed(base, 2 * kCount * kPage), 0);
  EXPECT_EQ(Stats().resident_bytes, 0u);
  uzswap_evict_all();
  unsigned char present[kCount];
  ASSERT_EQ(mincore(base, kCount * kPage, present), 0);
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(present[i] & 1);
    ASSERT_TRUE(PageIs(base + i * kPage, i, 1));
  }
  munmap(base, 2 * kCount * kPage);
}

TEST_F(PagerVm, ForeignMemoryIsNotTakenOver) {
  void* shared = mmap(nullptr, kMiB, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  EXPECT_EQ(uzswap_manage(shared, kMiB), -EINVAL);
  munmap(shared, kMiB);
  EXPECT_EQ(uzswap_manage(shared, kMiB), -EINVAL);  // nothing there
  const int fd = open("/proc/self/exe", O_RDONLY);
  void* file = mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  EXPECT_EQ(uzswap_manage(file, kPage), -EINVAL);
  munmap(file, kPage);
  close(fd);
}

TEST_F(PagerVm, MoreThanTheLimitCannotBeGivenBack) {
  constexpr size_t kCount = 8192;
  char* base = MapManaged(kCount * kPage);
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  EXPECT_EQ(uzswap_unmanage(base, kCount * kPage), -ENOMEM);
  EXPECT_EQ(uzswap_is_managed(base, kCount * kPage), 1);
  size_t wrong = 0;
  for (size_t i = 0; i < kCount; ++i) wrong += !PageIs(base + i * kPage, i, 1);
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

TEST_F(PagerVm, TheHeapGrowsManaged) {
  const long start = uzswap_brk(nullptr);
  char* base = reinterpret_cast<char*>((start + 4095) & ~4095l);
  const long grown = uzswap_brk(base + 4 * kMiB);
  ASSERT_EQ(grown, reinterpret_cast<long>(base + 4 * kMiB));
  EXPECT_EQ(uzswap_is_managed(base, 4 * kMiB), 1);
  for (size_t i = 0; i < 1024; ++i) FillPage(base + i * kPage, i, 1);
  uzswap_evict_all();
  ASSERT_EQ(uzswap_brk(base + 2 * kMiB),
            reinterpret_cast<long>(base + 2 * kMiB));
  EXPECT_EQ(uzswap_is_managed(base + 2 * kMiB, 2 * kMiB), 0);
  ASSERT_EQ(uzswap_brk(base + 4 * kMiB),
            reinterpret_cast<long>(base + 4 * kMiB));
  size_t wrong = 0;
  for (size_t i = 0; i < 1024; ++i) {
    wrong += i < 512 ? !PageIs(base + i * kPage, i, 1) : base[i * kPage] != 0;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(uzswap_brk(reinterpret_cast<void*>(start)), start);
}

TEST_F(PagerVm, GrowthOfOtherMemoryMakesPagesLeave) {
  char* base = MapManaged(12 * kMiB);
  for (size_t i = 0; i < 3072; ++i) FillPage(base + i * kPage, i, 1);
  // 8 MiB that uzswap cannot move.
  auto* other =
      static_cast<char*>(mmap(nullptr, 8 * kMiB, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memset(other, 1, 8 * kMiB);
  // It is noticed within some faults.
  char* more = MapManaged(64 * kMiB);
  for (size_t i = 0; i < 256; ++i) more[i * 64 * kPage] = 1;
  if (kExactMemory) {
    EXPECT_LE(RssBytes(), limit_ + kMiB);
  }
  for (size_t i = 0; i < 3072; ++i) ASSERT_TRUE(PageIs(base + i * kPage, i, 1));
  if (kExactMemory) {
    EXPECT_LE(RssBytes(), limit_ + kMiB);
  }
  EXPECT_EQ(uzswap_munmap(more, 64 * kMiB), 0);
  munmap(other, 8 * kMiB);
  EXPECT_EQ(uzswap_munmap(base, 12 * kMiB), 0);
}

size_t CountWrong(const char* base, size_t count) {
  size_t wrong = 0;
  for (size_t i = 0; i < count; ++i) wrong += !PageIs(base + i * kPage, i, 1);
  return wrong;
}

TEST_F(PagerVm, AMoveThatFailsLosesNothingThatIsRead) {
  constexpr size_t kCount = 8192;
  char* base = MapManaged((kCount + 1) * kPage);
  ASSERT_EQ(uzswap_mprotect(base + kCount * kPage, kPage, PROT_NONE), 0);
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  std::atomic<bool> stop{false};
  std::atomic<size_t> wrong{0};
  std::vector<std::thread> readers;
  for (uint64_t seed : {1, 2, 3}) {
    readers.push_back(Spawn([&, seed] {
      Random random(seed);
      while (!stop) {
        // Most of the time away from the pages: a thread that waits for the
        // lock of a fault already cannot come at the wrong time.
        for (uint64_t i = random.Below(4000); i > 0; --i) asm volatile("pause");
        const size_t page = random.Below(kCount);
        auto* words = reinterpret_cast<volatile uint64_t*>(base + page * kPage);
        wrong += words[1] != WordOf(page, 1, 1);
      }
    }));
  }
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(uzswap_mremap(base, kCount * kPage, size_t{1} << 46,
                            MREMAP_MAYMOVE, nullptr),
              -ENOMEM);
    usleep(1000);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(CountWrong(base, kCount), 0u);
  EXPECT_EQ(uzswap_munmap(base, (kCount + 1) * kPage), 0);
}

// The target's neighbours are managed, so the memory moves unregistered.
TEST_F(PagerVm, AMoveBetweenManagedNeighboursKeepsThemAll) {
  constexpr size_t kCount = 1024;
  constexpr size_t kBytes = kCount * kPage;
  for (int flags : {0, 4 /* MREMAP_DONTUNMAP */}) {
    char* area = MapManaged(3 * kBytes);
    char* base = MapManaged(kBytes);
    for (size_t i = 0; i < kCount; ++i) {
      FillPage(base + i * kPage, i, 1);
      FillPage(area + i * kPage, i, 1);
      FillPage(area + 2 * kBytes + i * kPage, i, 1);
    }
    uzswap_evict_all();
    ASSERT_EQ(
        uzswap_mremap(base, kBytes, kBytes,
                      MREMAP_MAYMOVE | MREMAP_FIXED | flags, area + kBytes),
        reinterpret_cast<long>(area + kBytes));
    for (char* part : {area, area + kBytes, area + 2 * kBytes}) {
      EXPECT_EQ(CountWrong(part, kCount), 0u);
    }
    EXPECT_EQ(uzswap_is_managed(base, kBytes), flags != 0);
    if (flags != 0) {
      EXPECT_EQ(base[5 * kPage], 0);
    }
    CheckInvariants();
    EXPECT_EQ(uzswap_munmap(base, kBytes), 0);
    EXPECT_EQ(uzswap_munmap(area, 3 * kBytes), 0);
  }
}

TEST_F(PagerVm, DontUnmapLeavesManagedZeros) {
  char* base = MapManaged(kMiB);
  for (size_t i = 0; i < 256; ++i) FillPage(base + i * kPage, i, 1);
  uzswap_evict_all();
  const long r = uzswap_mremap(base, kMiB, kMiB, MREMAP_MAYMOVE | 4, nullptr);
  ASSERT_GT(r, 0);
  char* moved = reinterpret_cast<char*>(r);
  EXPECT_EQ(uzswap_is_managed(base, kMiB), 1);
  EXPECT_EQ(uzswap_is_managed(moved, kMiB), 1);
  EXPECT_EQ(base[0], 0);
  base[0] = 1;
  EXPECT_EQ(CountWrong(moved, 256), 0u);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
  EXPECT_EQ(uzswap_munmap(moved, kMiB), 0);
}

TEST_F(PagerVm, UnknownWaysToMoveAreRefused) {
  char* base = MapManaged(2 * kMiB);
  for (int flags : {8, 8 | MREMAP_MAYMOVE, 4, int{MREMAP_FIXED}}) {
    EXPECT_EQ(uzswap_mremap(base, kMiB, kMiB, flags, base + kMiB), -EINVAL)
        << flags;
  }
  EXPECT_EQ(uzswap_mremap(base, kMiB, 2 * kMiB, MREMAP_MAYMOVE | 4, nullptr),
            -EINVAL);
  EXPECT_EQ(uzswap_munmap(base, 2 * kMiB), 0);
}

TEST_F(PagerVm, GuardsStayGuards) {
  constexpr int kInstall = 102;
  constexpr int kRemove = 103;
  char* base = MapManaged(kMiB);
  for (size_t i = 0; i < 256; ++i) FillPage(base + i * kPage, i, 1);
  uzswap_evict_all();
  char* guard = base + 8 * kPage;
  if (uzswap_madvise(guard, 4 * kPage, kInstall) != 0) {
    GTEST_SKIP() << "the kernel has no guard regions (Linux 6.13)";
  }
  EXPECT_EQ(uzswap_is_managed(guard, 4 * kPage), 0);
  EXPECT_EQ(uzswap_pin(guard, kPage), 0);
  char byte = 1;
  const iovec local = {.iov_base = &byte, .iov_len = 1};
  const iovec remote = {.iov_base = guard, .iov_len = 1};
  EXPECT_EQ(process_vm_readv(getpid(), &local, 1, &remote, 1, 0), -1);
  EXPECT_EQ(CountWrong(base, 8), 0u);
  EXPECT_TRUE(PageIs(base + 12 * kPage, 12, 1));
  EXPECT_EQ(uzswap_madvise(guard, 4 * kPage, kRemove), 0);
  EXPECT_EQ(guard[0], 0);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

// The descriptor of userfaultfd, to do what no call of uzswap does.
int UserfaultFd() {
  int fd = -1;
  uzswap_descriptors(&fd, 1);
  return fd;
}

TEST_F(PagerVm, ForeignZerosDoNotHideAnEvictedPage) {
  char* base = MapManaged(kMiB);
  for (size_t i = 0; i < 256; ++i) FillPage(base + i * kPage, i, 1);
  uzswap_evict_all();
  uffdio_range range = {.start = reinterpret_cast<uint64_t>(base), .len = kMiB};
  ASSERT_EQ(ioctl(UserfaultFd(), UFFDIO_UNREGISTER, &range), 0);
  for (size_t i = 0; i < 256; i += 2) {
    ASSERT_EQ(static_cast<volatile char*>(base)[i * kPage], 0);
  }
  uffdio_register again = {
      .range = range,
      .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
      .ioctls = 0};
  ASSERT_EQ(ioctl(UserfaultFd(), UFFDIO_REGISTER, &again), 0);
  uzswap_pin(base, kMiB);
  EXPECT_EQ(CountWrong(base, 256), 0u);
  uzswap_unpin(base, kMiB);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, DiscardingAPinnedPageNeedsNoFault) {
  char* base = MapManaged(kMiB);
  memset(base, 5, kMiB);
  uzswap_pin(base, kMiB);
  // Both would make a write fault, and the fault would wait for this call.
  ASSERT_EQ(syscall(SYS_madvise, base, kPage, MADV_DONTNEED), 0);
  uffdio_writeprotect protect = {
      .range = {.start = reinterpret_cast<uint64_t>(base + kPage),
                .len = kPage},
      .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  ASSERT_EQ(ioctl(UserfaultFd(), UFFDIO_WRITEPROTECT, &protect), 0);
  ASSERT_EQ(uzswap_madvise(base, kMiB, MADV_DONTNEED), 0);
  EXPECT_EQ(base[0], 0);
  EXPECT_EQ(base[kPage], 0);
  uzswap_unpin(base, kMiB);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_F(PagerVm, DescriptorsAreHighAndNamed) {
  rlimit limit = {};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 1024) GTEST_SKIP() << "too few descriptors allowed";
  int fds[16];
  const size_t n = uzswap_descriptors(fds, 16);
  EXPECT_GE(n, 4u);
  for (size_t i = 0; i < n; ++i) {
    EXPECT_GE(fds[i], 900);
    EXPECT_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
  }
  EXPECT_EQ(uzswap_descriptors(fds, 2), 2u);
}

}  // namespace
}  // namespace pager_test
