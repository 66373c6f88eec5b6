// SPDX-License-Identifier: Apache-2.0
// Threads, engines and every fault at random: whatever happens, each page comes
// back, no destination changes after its batch is done (thread sanitizer would
// see a late writer too), and the books balance.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "compress/offload_fixture_test_support.h"

namespace uzswap {
namespace {

using testing::EmulatedDevice;
using testing::Fault;
using testing::kMax;
using testing::Lz4;
using testing::PageBytes;
using testing::Random;
using testing::Workspace;

// One job in 50 fails in some way, one in 600 hangs.
Fault RandomFault(Random& random) {
  if (random() % 600 == 0) return {Fault::kHang, 0};
  if (random() % 50 != 0) return {};
  switch (random() % 4) {
    case 0:
      return {Fault::kError, EIO};
    case 1:
      return {Fault::kRefuse, random() % 2 == 0 ? EBUSY : EFAULT};
    case 2:
      return {Fault::kWrongLength, static_cast<int>(5000 + random() % 5000)};
    default:
      return {Fault::kDamage, 0};
  }
}

class Submitter {
 public:
  Submitter(Acomp& acomp, uint64_t seed) : acomp_(acomp), random_(seed) {}

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) OneRound();
  }
  uint64_t pages() const { return pages_done_; }

 private:
  SyncCodec codec() { return {&Lz4(), workspace_.get()}; }

  void MakePage(unsigned i) {
    switch (random_() % 8) {
      case 0:
        pages_[i] = testing::RandomPage(random_);
        break;
      case 1:
      case 2:
        pages_[i] = testing::HeapPage(random_);
        break;
      default:
        memset(pages_[i].data(), static_cast<int>(random_() % 256), kPageSize);
        for (size_t at = 0; at < 64; ++at) {
          pages_[i][at] = static_cast<std::byte>(random_());
        }
    }
  }

  void OneRound() {
    const auto n = static_cast<unsigned>(1 + random_() % kMax);
    Batch batch(AcompOp::kCompress, codec());
    for (unsigned i = 0; i < n; ++i) {
      MakePage(i);
      batch.Add(ConstPage(pages_[i]), std::span<std::byte>(buffers_[i]));
    }
    Finish(batch);
    batch.CheckInvariants();
    const auto copies = buffers_;
    Batch back(AcompOp::kDecompress, codec());
    unsigned page_of[kMax];
    for (unsigned i = 0; i < n; ++i) {
      if (batch.error(i) == ECANCELED || batch.error(i) == ENOSPC) continue;
      ASSERT_EQ(0, batch.error(i));
      page_of[back.size()] = i;
      back.Add(batch.result(i), MutablePage(loaded_[i]));
    }
    if (back.size() == 0) return;
    Finish(back);
    back.CheckInvariants();
    for (unsigned i = 0; i < back.size(); ++i) {
      if (back.error(i) == ECANCELED) continue;
      ASSERT_EQ(0, back.error(i));
      ASSERT_EQ(pages_[page_of[i]], loaded_[page_of[i]]);
      ++pages_done_;
    }
    ASSERT_EQ(copies, buffers_) << "a destination changed after its batch";
  }

  // Waits in one of several ways, or loses interest.
  void Finish(Batch& batch) {
    switch (random_() % 8) {
      case 0:
        acomp_.Submit(batch).Ignore();
        if (random_() % 2 == 0) acomp_.Poll(batch).Ignore();
        batch.Cancel();
        return;
      case 1:
        while (acomp_.Submit(batch).error() == EBUSY) {
        }
        while (!acomp_.Poll(batch).ok()) std::this_thread::yield();
        return;
      default:
        acomp_.Run(batch);
    }
  }

  Acomp& acomp_;
  Random random_;
  const Workspace workspace_{Lz4()};
  std::array<PageBytes, kMax> pages_, buffers_, loaded_;
  uint64_t pages_done_ = 0;
};

void Stress(uint64_t seed, EmulatedDevice::Settings settings) {
  Random random(seed);
  settings.codec = &Lz4();
  settings.engines = 2;
  settings.shuffle_seed = seed;
  settings.plan = [&random](uint64_t, const OffloadJob& job) {
    const Fault fault = RandomFault(random);
    // Only verification finds this one, and only after compression.
    const bool unseen =
        fault.kind == Fault::kDamage && job.op == AcompOp::kDecompress;
    return unseen ? Fault{} : fault;
  };
  EmulatedDevice device(settings);
  Acomp acomp;
  ASSERT_TRUE(acomp
                  .Init({.device = &device,
                         .timeout_ns = 1'000'000,
                         .rest_ns = 0,
                         .busy_ns = 30'000,
                         .verify = true})
                  .ok());

  std::atomic<bool> stop{false};
  std::thread healer([&] {
    while (!stop) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      device.ReleaseHung();  // later than the timeout
      acomp.CheckInvariants(/*idle=*/false);
    }
  });
  std::vector<std::thread> threads;
  std::atomic<uint64_t> pages{0};
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      Submitter submitter(acomp, seed * 10 + t);
      submitter.Rounds(800);
      pages += submitter.pages();
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop = true;
  healer.join();

  const OffloadStats stats = acomp.Stats();
  EXPECT_EQ(stats.submitted,
            stats.completed + stats.failed + stats.hung + stats.cancelled);
  EXPECT_GT(pages, 1000u);
  EXPECT_GT(stats.completed, 500u);
  acomp.CheckInvariants(/*idle=*/true);
  // Whatever still runs or hangs, the device can be stopped.
  EXPECT_TRUE(acomp.Release().ok());
}

TEST(OffloadStress, NoPageIsLost) {
  for (uint64_t seed = 1; seed <= 3; ++seed) Stress(seed, {});
}

TEST(OffloadStress, NoPageIsLostWithTooFewDescriptors) {
  for (uint64_t seed = 4; seed <= 6; ++seed) {
    Stress(seed, {.slots = 6, .descriptors = 5});
  }
}

TEST(OffloadStress, NoPageIsLostWithASlowDevice) {
  Stress(7, {.slots = 16,
             .descriptors = 16,
             .latency = std::chrono::microseconds(200)});
}

}  // namespace
}  // namespace uzswap
