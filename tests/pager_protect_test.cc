// SPDX-License-Identifier: Apache-2.0
// Pages that leave from among others that stay (pager/protector.h): few calls,
// and what lies between them can be used all the time.
#include "pager/test_hooks.h"
#include "pager_fixture.h"

namespace pager_test {
namespace {

constexpr size_t kCount = 32 * kMiB / kPage;
constexpr size_t kThreads = 3;

class PagerProtect : public PagerTest {};
INSTANTIATE_TEST_SUITE_P(Methods, PagerProtect,
                         testing::Values(UZSWAP_EVICT_WP), MethodName);

// Pages of one residue by kThreads, so that no two threads share a page.
class Own {
 public:
  Own(char* base, size_t residue)
      : base_(base), residue_(residue), versions_(kCount / kThreads, 1) {}
  // A write, or a look at what was written last.
  template <typename Write>
  bool Use(Random& random, Write write) {
    const size_t i = random.Below(versions_.size());
    const size_t page = i * kThreads + residue_;
    char* at = base_ + page * kPage;
    if (random.Below(10) < 7) {
      return PageIs(at, page, versions_[i]);
    }
    return write(at, page, ++versions_[i]);
  }
  size_t Wrong() const {
    size_t wrong = 0;
    for (size_t i = 0; i < versions_.size(); ++i) {
      const size_t page = i * kThreads + residue_;
      wrong += !PageIs(base_ + page * kPage, page, versions_[i]);
    }
    return wrong;
  }

 private:
  char* const base_;
  const size_t residue_;
  std::vector<uint64_t> versions_;
};

bool WriteDirectly(char* at, size_t page, uint64_t version) {
  FillPage(at, page, version);
  return true;
}

// Uses pages in no order, in more memory than there is. Returns what was wrong.
size_t UseScattered(char* base, uint64_t seed) {
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  Own own(base, 0);
  Random random(seed);
  size_t wrong = 0;
  for (int i = 0; i < 60'000; ++i) wrong += !own.Use(random, WriteDirectly);
  return wrong + own.Wrong();
}

TEST_P(PagerProtect, ScatteredPagesLeaveInFewCalls) {
  Open({.method = GetParam(), .room = WithShadow(20 * kMiB)});
  char* base = MapManaged(kCount * kPage);
  EXPECT_EQ(UseScattered(base, 1), 0u);
  const uzswap_stats stats = Stats();
  if (kExactMemory) {
    EXPECT_GT(stats.pages_out, 5'000u);
  }
  EXPECT_LE(stats.protect_calls, stats.pages_out / 2);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

#ifdef UZSWAP_TEST_HOOKS
// Clean pages lie between those that leave; their next write must be noticed.
TEST_P(PagerProtect, PageByPageWhereACallMustNotCrossMappings) {
  uzswap::pager_test_hooks.no_wide_protect = true;
  Open({.method = GetParam(), .room = WithShadow(20 * kMiB)});
  char* base = MapManaged(kCount * kPage);
  EXPECT_EQ(UseScattered(base, 2), 0u);
  uzswap::pager_test_hooks = {};
  if (kExactMemory) {
    EXPECT_GT(Stats().pages_out, 5'000u);
    EXPECT_GT(Stats().faults_clean, 100u);
  }
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}
#endif

// A system call that met a protected page would fail with EFAULT.
TEST_P(PagerProtect, NeighboursCanBePinnedAndWrittenAtAnyMoment) {
  Open({.method = GetParam(), .room = WithShadow(20 * kMiB)});
  char* base = MapManaged(kCount * kPage);
  for (size_t i = 0; i < kCount; ++i) FillPage(base + i * kPage, i, 1);
  const int file = memfd_create("page", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(file, kPage), 0);
  std::atomic<size_t> wrong{0};
  const auto read_into = [&](char* at, size_t page, uint64_t version) {
    alignas(8) char content[kPage];
    FillPage(content, page, version);
    const bool stored = pwrite(file, content, kPage, 0) == ssize_t{kPage};
    uzswap_pin(at, kPage);
    const bool read = pread(file, at, kPage, 0) == ssize_t{kPage};
    uzswap_unpin(at, kPage);
    return stored && read;
  };
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.push_back(Spawn([&, t] {
      Own own(base, t);
      Random random(t + 1);
      for (int i = 0; i < (kExactMemory ? 30'000 : 10'000); ++i) {
        wrong += t == 0 ? !own.Use(random, read_into)
                        : !own.Use(random, WriteDirectly);
      }
      wrong += own.Wrong();
    }));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
  if (kExactMemory) {
    EXPECT_GT(Stats().pages_out, 5'000u);
  }
  CheckInvariants();
  close(file);
  EXPECT_EQ(uzswap_munmap(base, kCount * kPage), 0);
}

}  // namespace
}  // namespace pager_test
