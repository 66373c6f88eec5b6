// SPDX-License-Identifier: Apache-2.0
// The kernel's bug report "zswap: pool destroyed in atomic context" came from a
// loop that switched compressors with no delay. The same here, under load: the
// switches keep working and nothing accumulates.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "torture_model.h"
#include "torture_process.h"
#include "zpool/zpool.h"
#include "zswap/zswap.h"

namespace uzswap::torture {
namespace {

bool IsFull() {
  const char* size = getenv("UZSWAP_TEST_SIZE");
  return size != nullptr && strcmp(size, "full") == 0;
}

class Switches : public ::testing::Test {
 protected:
  static constexpr uint64_t kSlots = 64;  // of each thread

  void SetUp() override {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
    registry::RegisterBuiltins();
    const ZswapConfig config{.compressor = registry::At(0),
                             .level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL,
                             .zpool = ZpoolName(0),
                             .device = nullptr,
                             .total_pages = 1 << 20,
                             .max_pool_percent = 50,
                             .accept_threshold_percent = 90};
    const Result<Zswap*> zswap = Zswap::Create(config);
    ASSERT_TRUE(zswap.ok());
    zswap_ = zswap.value();
  }
  void TearDown() override { zswap_->Destroy(); }

  void Use(uint64_t thread) {
    PageBuffer page;
    PageBuffer expected;
    for (uint64_t n = 1; !stop_; ++n) {
      const Slot slot{thread << 20 | n % kSlots};
      if (n > kSlots) {
        MakePage((n - kSlots) * 2 + thread, expected);
        if (!zswap_->Load(slot, page).ok() || page != expected) ++wrong_;
      }
      MakePage(n * 2 + thread, page);
      if (!zswap_->Store(slot, page).ok()) ++wrong_;
      ++calls_;
    }
  }

  // Of few kinds, most switches revive a pool that is still draining. Of many,
  // most make a pool and have one destroyed.
  enum class Kinds { kFew, kMany };

  void SwitchTo(unsigned i, Kinds of) {
    unsigned plugins = 0;
    while (registry::At(plugins) != nullptr) ++plugins;
    const uzswap_compressor& plugin = *registry::At(i % plugins);
    int level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
    if (of == Kinds::kMany && UZSWAP_COMPRESSOR_HAS(&plugin, max_level)) {
      const int levels = std::min(plugin.max_level, 9);
      level = 1 + static_cast<int>(i) % levels;
    }
    Status s = zswap_->SwitchPool(plugin, level, ZpoolName(0));
    if (s.error() == ENOSPC) {  // as many as there can be still drain
      zswap_->FlushWork();
      s = zswap_->SwitchPool(plugin, level, ZpoolName(0));
    }
    if (!s.ok()) ++wrong_;
  }

  // Switches `count` times under load; what there is afterwards, at rest.
  ProcessState Round(unsigned count, Kinds of) {
    stop_ = false;
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 2; ++t) {
      threads.emplace_back([this, t] { Use(t); });
    }
    const uint64_t calls = calls_;
    while (calls_ < calls + kSlots) std::this_thread::yield();
    for (unsigned i = 1; i <= count; ++i) SwitchTo(i, of);
    stop_ = true;
    for (std::thread& thread : threads) thread.join();
    zswap_->Invalidate(Slot{0}, kSlotLimit);
    zswap_->FlushWork();
    zswap_->CheckInvariants();
    EXPECT_EQ(zswap_->Stats().pools, 1u);
    EXPECT_EQ(zswap_->Stats().stored_pages, 0u);
    return ProcessState::Settled(1);
  }

  void SwitchMany(Kinds of);

  Zswap* zswap_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> wrong_{0};
  std::atomic<uint64_t> calls_{0};
};

void Switches::SwitchMany(Kinds of) {
  unsigned count = IsFull() ? 100'000 : 3'000;
  if (of == Kinds::kFew) count *= 20;  // these are fast
  const ProcessState before = Round(count / 10, of);
  const auto start = std::chrono::steady_clock::now();
  const uint64_t calls = calls_;
  const ProcessState after = Round(count, of);
  const std::chrono::duration<double> took =
      std::chrono::steady_clock::now() - start;
  EXPECT_EQ(wrong_, 0u);
  EXPECT_GT(calls_, calls);
  const ZswapStats stats = zswap_->Stats();
  EXPECT_EQ(stats.pool_switches, count + count / 10);
  printf(
      "%u switches: %.0f a second, %.0f stores a second beside, %llu "
      "entries moved; resident %ld -> %ld KiB, mappings %ld -> %ld, threads "
      "%ld -> %ld, descriptors %ld -> %ld\n",
      count, count / took.count(),
      static_cast<double>(calls_ - calls) / took.count(),
      static_cast<unsigned long long>(stats.migrated_pages),
      before.resident_kib, after.resident_kib, before.mappings, after.mappings,
      before.threads, after.threads, before.descriptors, after.descriptors);
  EXPECT_EQ(after.threads, before.threads);
  EXPECT_EQ(after.descriptors, before.descriptors);
  if (kSanitized) return;  // its run-time library keeps memory of its own
  EXPECT_LE(after.mappings, before.mappings + 16);
  EXPECT_LE(after.resident_kib, before.resident_kib + 8 * 1024);
}

TEST_F(Switches, BetweenFewKindsWithNoDelayLeaveNothingBehind) {
  SwitchMany(Kinds::kFew);
}

TEST_F(Switches, BetweenManyKindsWithNoDelayLeaveNothingBehind) {
  SwitchMany(Kinds::kMany);
}

}  // namespace
}  // namespace uzswap::torture
