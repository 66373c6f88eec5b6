// SPDX-License-Identifier: Apache-2.0
// Kernels that can do less, and storage that loses data.
#include "pager/test_hooks.h"
#include "pager_fixture.h"

namespace pager_test {
namespace {

constexpr size_t kPages = 8192;

class PagerFallback : public testing::Test {
 protected:
  void SetUp() override { InstallHandler(); }
  void TearDown() override {
    CheckInvariants();
    uzswap_close();
#ifdef UZSWAP_TEST_HOOKS
    uzswap::pager_test_hooks = {};
#endif
  }

 private:
  AlternateStack stack_;
};

// Fills more than the limit, with holes so that drops are not contiguous.
void FillAndVerify() {
  char* base = MapManaged(kPages * kPage);
  for (uint64_t version = 1; version < 4; ++version) {
    for (size_t i = 0; i < kPages; ++i) {
      if (i % 3 != 0) FillPage(base + i * kPage, i, version);
    }
    size_t wrong = 0;
    for (size_t i = 0; i < kPages; ++i) {
      if (i % 3 != 0) wrong += !PageIs(base + i * kPage, i, version);
    }
    ASSERT_EQ(wrong, 0u);
  }
  ASSERT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

#ifdef UZSWAP_TEST_HOOKS
TEST_F(PagerFallback, WithoutMoveAutomaticMeansWriteProtection) {
  uzswap::pager_test_hooks.no_move = true;
  OpenUzswap({.method = UZSWAP_EVICT_AUTO, .room = 16 * kMiB});
  FillAndVerify();
  EXPECT_EQ(Stats().evict_method, uint64_t{UZSWAP_EVICT_WP});
}

TEST_F(PagerFallback, WithoutMoveTheMoveMethodIsRefused) {
  uzswap::pager_test_hooks.no_move = true;
  uzswap_config config = {};
  config.struct_size = sizeof(config);
  config.memory_limit = RssBytes() + 64 * kMiB;
  config.evict = UZSWAP_EVICT_MOVE;
  char why[512];
  EXPECT_EQ(uzswap_open(&config, why, sizeof(why)), -EOPNOTSUPP);
  EXPECT_NE(strstr(why, "UFFDIO_MOVE"), nullptr) << why;
}

TEST_F(PagerFallback, RunsAreDroppedOneByOneWhereTheyMustBe) {
  uzswap::pager_test_hooks.no_batched_drop = true;
  OpenUzswap({.method = UZSWAP_EVICT_WP, .room = 16 * kMiB});
  FillAndVerify();
}

TEST_F(PagerFallback, HugePagesAreRefusedWhereTheyWouldComeUnasked) {
  uzswap::pager_test_hooks.thp_always = true;
  OpenUzswap({.method = UZSWAP_EVICT_WP, .room = 16 * kMiB});
  char* base = MapManaged(4 * kMiB);
  FILE* f = fopen("/proc/self/smaps", "r");
  char line[512];
  bool inside = false;
  bool refused = false;
  while (fgets(line, sizeof(line), f) != nullptr) {
    unsigned long start;
    unsigned long end;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
      const auto at = reinterpret_cast<unsigned long>(base);
      inside = start <= at && at < end;
    }
    if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      refused = strstr(line, " nh") != nullptr;
    }
  }
  fclose(f);
  EXPECT_TRUE(refused);
  EXPECT_EQ(uzswap_munmap(base, 4 * kMiB), 0);
}
#endif

TEST_F(PagerFallback, LostPagesAreReportedAndNotInvented) {
  OpenUzswap({.method = UZSWAP_EVICT_WP, .room = 8 * kMiB, .backing = "/tmp"});
  char* base = MapManaged(kPages * kPage);
  for (size_t i = 0; i < kPages; ++i) FillPage(base + i * kPage, i, 1);
  ASSERT_GT(Stats().device_bytes, 0u);
  // The storage loses everything: the file behind the device is cut.
  int fds[16];
  const size_t n = uzswap_descriptors(fds, 16);
  size_t cut = 0;
  for (size_t i = 0; i < n; ++i) cut += ftruncate(fds[i], 0) == 0;
  ASSERT_EQ(cut, 1u);
  size_t lost = 0;
  size_t wrong = 0;
  for (size_t i = 0; i < 64; ++i) {
    const int r = uzswap_handle_fault(base + i * kPage, 1);
    if (r == -EIO) {
      ++lost;
      EXPECT_EQ(uzswap_pin(base + i * kPage, kPage), 0);
    } else {
      wrong += !PageIs(base + i * kPage, i, 1);
    }
  }
  EXPECT_GT(lost, 0u);
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(uzswap_munmap(base, kPages * kPage), 0);
}

TEST_F(PagerFallback, PagesDroppedBehindItsBackReadAsZeros) {
  OpenUzswap({.method = UZSWAP_EVICT_WP, .room = 8 * kMiB});
  char* base = MapManaged(kMiB);
  memset(base, 1, kMiB);
  ASSERT_EQ(madvise(base, kMiB, MADV_DONTNEED), 0);  // not uzswap_madvise
  size_t wrong = 0;
  for (size_t i = 0; i < kMiB; i += kPage) wrong += base[i] != 0;
  EXPECT_EQ(wrong, 0u);
  memset(base, 2, kMiB);
  uzswap_evict_all();
  EXPECT_EQ(base[kMiB - 1], 2);
  EXPECT_EQ(uzswap_munmap(base, kMiB), 0);
}

}  // namespace
}  // namespace pager_test
