// SPDX-License-Identifier: Apache-2.0
// fork with managed memory: both sides keep what they had, and diverge.
#include <sys/resource.h>

#include "pager_model.h"

namespace pager_test {
namespace {

// Each fork copies ThreadSanitizer's shadow of them, too.
constexpr size_t kPages = kExactMemory ? 4096 : 1024;

INSTANTIATE_TEST_SUITE_P(Methods, PagerTest,
                         testing::Values(UZSWAP_EVICT_WP, UZSWAP_EVICT_MOVE,
                                         UZSWAP_EVICT_AUTO),
                         MethodName);

size_t CountWrong(const char* base, uint64_t version) {
  size_t wrong = 0;
  for (size_t i = 0; i < kPages; ++i) {
    wrong += !PageIs(base + i * kPage, i, version);
  }
  return wrong;
}

void FillAll(char* base, uint64_t version) {
  for (size_t i = 0; i < kPages; ++i) FillPage(base + i * kPage, i, version);
}

TEST_P(PagerTest, ChildAndParentDiverge) {
  Open({.method = GetParam(), .room = 12 * kMiB, .backing = "/tmp"});
  char* base = MapManaged(kPages * kPage);
  FillAll(base, 1);
  const pid_t child = Fork([&] {
    if (CountWrong(base, 1) != 0) return 1;
    FillAll(base, 2);
    uzswap_evict_all();
    if (CountWrong(base, 2) != 0) return 2;
    if (kExactMemory && RssBytes() > limit_ + kMiB) return 3;
    return uzswap_munmap(base, kPages * kPage) == 0 ? 0 : 4;
  });
  EXPECT_EQ(CountWrong(base, 1), 0u);
  FillAll(base, 3);
  uzswap_evict_all();
  EXPECT_EQ(CountWrong(base, 3), 0u);
  EXPECT_EQ(ExitCodeOf(child), 0);
  EXPECT_EQ(CountWrong(base, 3), 0u);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

TEST_P(PagerTest, GrandchildrenStillSeeTheFirstContent) {
  Open({.method = GetParam(), .room = 12 * kMiB, .backing = "/tmp"});
  char* base = MapManaged(kPages * kPage);
  FillAll(base, 1);
  uzswap_evict_all();
  const pid_t child = Fork([&] {
    const pid_t grandchild = Fork([&] {
      if (CountWrong(base, 1) != 0) return 1;
      FillAll(base, 5);
      return CountWrong(base, 5) == 0 ? 0 : 2;
    });
    FillAll(base, 4);
    const int code = ExitCodeOf(grandchild);
    if (code != 0) return 10 + code;
    return CountWrong(base, 4) == 0 ? 0 : 3;
  });
  EXPECT_EQ(ExitCodeOf(child), 0);
  EXPECT_EQ(CountWrong(base, 1), 0u);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

TEST_P(PagerTest, ForkWhileOtherThreadsFault) {
  Open({.method = GetParam(), .room = 12 * kMiB});
  char* base = MapManaged(kPages * kPage);
  FillAll(base, 1);
  std::atomic<bool> stop{false};
  std::atomic<size_t> wrong{0};
  std::vector<std::thread> threads;
  threads.push_back(Spawn([&] {
    while (!stop.load()) uzswap_evict_all();
  }));
  threads.push_back(Spawn([&] {
    Random random(1);
    while (!stop.load()) {
      const size_t page = random.Below(kPages);
      wrong += !PageIs(base + page * kPage, page, 1);
    }
  }));
  for (int i = 0; i < 10; ++i) {
    const pid_t child = Fork([&] { return CountWrong(base, 1) == 0 ? 0 : 1; });
    EXPECT_EQ(ExitCodeOf(child), 0);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

TEST_P(PagerTest, PinsAreTheParentsOwn) {
  Open({.method = GetParam()});
  char* base = MapManaged(kMiB);
  memset(base, 1, kMiB);
  uzswap_pin(base, kMiB);
  const pid_t child = Fork([&] {
    uzswap_evict_all();
    return Stats().resident_bytes == 0 ? 0 : 1;
  });
  EXPECT_EQ(ExitCodeOf(child), 0);
  uzswap_evict_all();
  EXPECT_GE(Stats().resident_bytes, kMiB);
  uzswap_unpin(base, kMiB);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

TEST_P(PagerTest, DontForkMemoryIsAbsentInTheChild) {
  Open({.method = GetParam()});
  char* base = MapManaged(kMiB);
  memset(base, 7, kMiB);
  uzswap_evict_all();
  ASSERT_EQ(uzswap_madvise(base, kMiB / 2, MADV_DONTFORK), 0);
  EXPECT_EQ(uzswap_is_managed(base, kMiB / 2), 1);
  EXPECT_GE(Stats().stored_bytes, kMiB);  // nothing had to come back for it
  const pid_t child = Fork([&] {
    CheckInvariants();
    if (uzswap_is_managed(base, kMiB / 2)) return 3;
    if (!uzswap_is_managed(base + kMiB / 2, 1)) return 4;
    unsigned char present;
    if (mincore(base, kPage, &present) != -1 || errno != ENOMEM) return 1;
    return base[kMiB / 2] == 7 ? 0 : 2;
  });
  EXPECT_EQ(ExitCodeOf(child), 0);
  EXPECT_EQ(base[0], 7);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

// Runs f in a process that opens uzswap itself, for what cannot be undone.
template <typename F>
int InAProcess(F f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  return ExitCodeOf(child);
}

TEST(PagerFork, NeedsNoProcInTheRootDirectory) {
  if (geteuid() != 0) GTEST_SKIP() << "chroot needs privilege";
  EXPECT_EQ(InAProcess([] {
              InstallHandler();
              const AlternateStack stack;
              OpenUzswap({.room = 12 * kMiB});
              char* base = MapManaged(kPages * kPage);
              FillAll(base, 1);
              char empty[] = "/tmp/uzswap-rootXXXXXX";
              if (mkdtemp(empty) == nullptr) return 1;
              const bool changed = chroot(empty) == 0 && chdir("/") == 0;
              if (!changed) return 2;
              const pid_t child = Fork([&] {
                if (CountWrong(base, 1) != 0) return 10;
                CheckInvariants();
                return Stats().peak_bytes > 0 ? 0 : 11;
              });
              return ExitCodeOf(child);
            }),
            0);
  if (system("rmdir /tmp/uzswap-root??????") != 0) ADD_FAILURE();
}

TEST(PagerFork, ALowLimitOfDescriptorsIsEnough) {
  EXPECT_EQ(InAProcess([] {
              InstallHandler();
              const AlternateStack stack;
              OpenUzswap({.room = 12 * kMiB});
              char* base = MapManaged(kPages * kPage);
              FillAll(base, 1);
              // No number below the limit is free.
              const int next = dup(2);
              rlimit limit = {};
              getrlimit(RLIMIT_NOFILE, &limit);
              limit.rlim_cur = static_cast<rlim_t>(next) + 1;
              if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
              const pid_t child = Fork([&] {
                rlimit now = {};
                getrlimit(RLIMIT_NOFILE, &now);
                if (now.rlim_cur != limit.rlim_cur) return 10;
                return CountWrong(base, 1) == 0 ? 0 : 11;
              });
              return ExitCodeOf(child);
            }),
            0);
}

TEST(PagerFork, MemoryIsMeasuredAfterTheMainThreadHasEnded) {
  EXPECT_EQ(InAProcess([] {
              InstallHandler();
              OpenUzswap({.room = 32 * kMiB});
              std::thread([] {
                usleep(200 * 1000);  // until only this thread is left
                const uint64_t before = Stats().unmanaged_bytes;
                void* more = mmap(nullptr, 8 * kMiB, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                memset(more, 1, 8 * kMiB);
                const uint64_t after = Stats().unmanaged_bytes;
                _exit(after >= before + 7 * kMiB ? 0 : 1);
              }).detach();
              syscall(SYS_exit, 0);
              return 2;
            }),
            0);
}

}  // namespace
}  // namespace pager_test
