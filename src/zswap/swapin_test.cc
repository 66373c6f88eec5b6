// SPDX-License-Identifier: Apache-2.0
// What comes back to the pool beside a page that was read, and everything that
// can happen to it on the way.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "base/worker_test_support.h"
#include "device/segment_log.h"
#include "support/faulty_storage.h"
#include "zswap/parameters.h"
#include "zswap/swapin_window.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

Engine* hooked = nullptr;

constexpr uint64_t kPages = 1000;
constexpr unsigned kWindow = 8;
constexpr uint64_t kSlot = 20;  // of the group from 16 to 23
constexpr uint64_t kBeside = 21;
constexpr uint64_t kOther = 100;  // in another segment than those

class SwapIn : public testing::Test {
 protected:
  SwapIn() {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
    Engine::Options options{.device_pages = 1};
    options.backing = NewSegmentLog(&storage_, Protection::kEncrypted).value();
    engine_ = std::make_unique<Engine>(options);
    hooked = engine_.get();
    zswap_test_hooks.swapin_window = kWindow;
  }
  ~SwapIn() override {
    zswap_test_hooks = {};
    hooked = nullptr;
  }

  // All on the device, in the order of their slots.
  void Fill(Content content = Content::kCompressible) {
    for (uint64_t slot = 0; slot < kPages; ++slot) {
      ASSERT_TRUE(engine_->Store(slot, 1, content).ok());
    }
    while (engine_->zswap->Shrink(100) > 0) {
    }
    ASSERT_EQ(Checked().on_device, kPages);
  }
  ZswapStats Checked() {
    engine_->zswap->FlushWork();
    engine_->zswap->CheckInvariants();
    return engine_->zswap->Stats();
  }
  uint64_t Brought() { return engine_->zswap->Stats().swapin_ahead_pages; }
  void ExpectTheRestRight(std::set<uint64_t> but,
                          Content content = Content::kCompressible) {
    for (uint64_t slot = 0; slot < kPages; ++slot) {
      if (but.contains(slot)) continue;
      ASSERT_TRUE(engine_->LoadIs(slot, 1, content)) << slot;
    }
  }
  // `act` when the page beside is in the pool, and nobody knows it yet.
  void WhileItComesBack(void (*act)()) {
    static void (*action)();
    action = act;
    zswap_test_hooks.before_return = [](Slot slot) {
      if (slot == Slot{kBeside}) action();
    };
    Fill();
    ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
    zswap_test_hooks.before_return = nullptr;
    EXPECT_EQ(Brought(), kWindow - 2);
    (void)Checked();
  }

  FaultyStorage storage_{200};
  std::unique_ptr<Engine> engine_;
};

TEST_F(SwapIn, NeighboursComeWithOneRead) {
  Fill();
  const uint64_t before = storage_.reads;
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  const ZswapStats stats = Checked();
  EXPECT_EQ(stats.swapin_ahead_pages, kWindow - 1);
  EXPECT_EQ(stats.compressed, kWindow - 1);
  EXPECT_EQ(stats.on_device, kPages - kWindow);
  for (uint64_t slot = 16; slot < 24; ++slot) {
    if (slot != kSlot) {
      EXPECT_TRUE(engine_->LoadIs(slot, 1));
    }
  }
  EXPECT_EQ(storage_.reads - before, 1u);
  EXPECT_EQ(engine_->zswap->Stats().device_in, 1u);
  EXPECT_EQ(engine_->zswap->Stats().zswpin, kWindow - 1);
}

TEST_F(SwapIn, NothingIsDecompressedThatNobodyAskedFor) {
  Fill();
  FaultyCodec::decompress_error = EIO;
  EXPECT_EQ(engine_->LoadError(kSlot), EIO);
  EXPECT_EQ(engine_->zswap->Stats().decompress_fail, 1u);
  FaultyCodec::Heal();
  EXPECT_TRUE(engine_->LoadIs(kSlot, 1));
}

TEST_F(SwapIn, RawPagesComeBackRaw) {
  Fill(Content::kRandom);
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1, Content::kRandom));
  EXPECT_EQ(Checked().incompressible, kWindow - 1);
  ExpectTheRestRight({kSlot}, Content::kRandom);
}

TEST_F(SwapIn, TheCopyOfAPageThatIsKeptStaysWhereItIs) {
  Fill();
  PageBuffer page;
  const Result<bool> kept =
      engine_->zswap->Load(Slot{kSlot}, page, Keep::kFree);
  ASSERT_TRUE(kept.ok() && kept.value());
  const ZswapStats stats = Checked();
  EXPECT_EQ(stats.swapin_ahead_pages, kWindow - 1);
  EXPECT_EQ(stats.on_device, kPages - kWindow + 1);
  ExpectTheRestRight({});
}

TEST_F(SwapIn, WhoIsNotAwayIsNotBrought) {
  engine_->zswap->SetAwayCheck(
      [](const void*, Slot slot) { return slot != Slot{kBeside}; }, nullptr);
  Fill();
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), kWindow - 2);
  ExpectTheRestRight({kSlot});
}

TEST_F(SwapIn, OnlySlowStorageIsReadAhead) {
  zswap_test_hooks.swapin_window = 0;
  Fill();
  ASSERT_TRUE(engine_->LoadIs(100, 1));
  EXPECT_EQ(Brought(), 0u);
  storage_.delay_us = 200;
  for (uint64_t slot = 200; slot < 600; slot += 50) {
    ASSERT_TRUE(engine_->LoadIs(slot, 1));
  }
  EXPECT_GE(Brought(), 4 * (SwapInWindow::kFirst - 1));
}

TEST_F(SwapIn, ALoadWhileItComesBackHasTheObject) {
  WhileItComesBack([] { EXPECT_TRUE(hooked->LoadIs(kBeside, 1)); });
  EXPECT_FALSE(engine_->zswap->Contains(Slot{kBeside}));
  ExpectTheRestRight({kSlot, kBeside});
}

TEST_F(SwapIn, ALoadThatKeepsItWhileItComesBackTakesIt) {
  WhileItComesBack([] {
    PageBuffer page;
    const Result<bool> kept =
        hooked->zswap->Load(Slot{kBeside}, page, Keep::kFree);
    EXPECT_TRUE(kept.ok() && !kept.value());
    EXPECT_EQ(page, PageOf(kBeside, 1));
  });
  ExpectTheRestRight({kSlot, kBeside});
}

TEST_F(SwapIn, AnInvalidateWhileItComesBackWins) {
  WhileItComesBack([] { hooked->zswap->Invalidate(Slot{kBeside}, 1); });
  EXPECT_EQ(engine_->LoadError(kBeside), ENOENT);
  ExpectTheRestRight({kSlot, kBeside});
}

TEST_F(SwapIn, AStoreWhileItComesBackWins) {
  WhileItComesBack([] {
    EXPECT_TRUE(hooked->Store(kBeside, 2).ok());
    EXPECT_TRUE(hooked->LoadIs(kBeside, 2));
    EXPECT_TRUE(hooked->Store(kBeside, 3).ok());
  });
  EXPECT_TRUE(engine_->LoadIs(kBeside, 3));
  ExpectTheRestRight({kSlot, kBeside});
}

TEST_F(SwapIn, AFailedLoadWhileItComesBackLosesNothing) {
  zswap_test_hooks.before_return = [](Slot slot) {
    if (slot != Slot{kBeside}) return;
    FaultyCodec::decompress_error = EIO;
    EXPECT_EQ(hooked->LoadError(kBeside), EIO);
    FaultyCodec::Heal();
  };
  Fill();
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), kWindow - 1);
  (void)Checked();
  ExpectTheRestRight({kSlot});
}

TEST_F(SwapIn, ARenameWhileItComesBackKeepsTheContent) {
  zswap_test_hooks.before_return = [](Slot slot) {
    if (slot == Slot{kBeside}) {
      hooked->zswap->Rename(Slot{kBeside}, Slot{5000000});
    }
  };
  Fill();
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  (void)Checked();
  PageBuffer page;
  ASSERT_TRUE(engine_->zswap->Load(Slot{5000000}, page).ok());
  EXPECT_EQ(page, PageOf(kBeside, 1));
  ExpectTheRestRight({kSlot, kBeside});
}

// Before anything was read of it.
TEST_F(SwapIn, AStoreWhileItIsReadWins) {
  Fill();
  engine_->device->during_read_held = [] {
    hooked->device->during_read_held = nullptr;
    for (uint64_t slot = 16; slot < 24; ++slot) {
      EXPECT_TRUE(hooked->Store(slot, 2).ok());
    }
  };
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), 0u);
  (void)Checked();
  std::set<uint64_t> changed;
  for (uint64_t slot = 16; slot < 24; ++slot) {
    EXPECT_TRUE(engine_->LoadIs(slot, 2));
    changed.insert(slot);
  }
  ExpectTheRestRight(changed);
}

TEST_F(SwapIn, WhatIsWrongOnTheStorageStaysThereAndOnlyItsOwnLoadFails) {
  Fill();
  const auto flip = [](FaultyStorage::Bytes& bytes) {
    bytes[20000] ^= std::byte{1};
  };
  storage_.ForEach(flip);
  std::set<uint64_t> failed;
  for (const uint64_t place : {3, 0, 1, 2, 4, 5, 6, 7}) {
    for (uint64_t slot = place; slot < kPages; slot += kWindow) {
      PageBuffer page;
      const Status s = engine_->zswap->Load(Slot{slot}, page);
      if (!s.ok()) failed.insert(slot);
      EXPECT_TRUE(s.ok() ? page == PageOf(slot, 1) : s.error() == EIO) << slot;
    }
  }
  EXPECT_GT(Brought(), kPages / 4);
  // One object lies there in each segment, and is read once by itself; the last
  // segments are in memory.
  const ZswapStats stats = Checked();
  EXPECT_EQ(stats.on_device, failed.size());
  EXPECT_EQ(stats.device.corrupt_reads, failed.size());
  EXPECT_GT(failed.size(), 4u);
  storage_.ForEach(flip);
  for (const uint64_t slot : failed) EXPECT_TRUE(engine_->LoadIs(slot, 1));
}

TEST_F(SwapIn, WhatThePoolsCannotDecompressIsSkipped) {
  Fill();
  const uzswap_compressor* zstd = registry::Find("zstd", nullptr).value();
  ASSERT_TRUE(
      engine_->zswap
          ->SwitchPool(*zstd, UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
          .ok());
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), 0u);
  EXPECT_EQ(Checked().on_device, kPages - 1);
  // Now as the dense tier's.
  ASSERT_TRUE(engine_->zswap
                  ->SetRecompressor(FaultyCodec::Table(),
                                    UZSWAP_COMPRESSOR_DEFAULT_LEVEL)
                  .ok());
  ASSERT_TRUE(engine_->LoadIs(kOther, 1));
  EXPECT_EQ(Brought(), kWindow - 1);
  EXPECT_EQ(Checked().dense_pages, kWindow - 1);
  ExpectTheRestRight({kSlot, kOther});
}

TEST_F(SwapIn, AFullPoolThatCannotBeWrittenBackTakesNothing) {
  Fill();
  for (uint64_t slot = 5000; slot < 5100; ++slot) {
    ASSERT_TRUE(engine_->Store(slot, 1).ok());
  }
  engine_->device->write_fault.Set(1, ENOSPC);
  engine_->zswap->SetTotalPages(1);
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), 0u);
  engine_->device->write_fault.Clear();
  for (uint64_t slot = 5000; slot < 5100; ++slot) {
    EXPECT_TRUE(engine_->LoadIs(slot, 1));
  }
  ExpectTheRestRight({kSlot});
}

TEST_F(SwapIn, AFullPoolWritesItsColdestBackForThem) {
  Fill();
  engine_->zswap->SetTotalPages(20);
  for (uint64_t slot = 3; slot < kPages; slot += kWindow) {
    ASSERT_TRUE(engine_->LoadIs(slot, 1));
    ASSERT_TRUE(engine_->Store(slot, 1).ok());
    ASSERT_LE(engine_->zswap->Stats().pool_pages, 20u + 4u);
  }
  EXPECT_GT(Brought(), kPages / 4);
  (void)Checked();
  ExpectTheRestRight({});
}

TEST_F(SwapIn, WhileZswapIsDisabledNothingGoesToThePool) {
  Fill();
  class Host final : public ParameterHost {
    Status SwitchPool(const CompressorChoice&, const char*) override {
      return kOk;
    }
    Status SetRecompressor(const CompressorChoice*) override { return kOk; }
    void Changed() override {}
  } host;
  ASSERT_TRUE(engine_->zswap->parameters().Set("enabled", "N", &host).ok());
  ASSERT_TRUE(engine_->LoadIs(kSlot, 1));
  EXPECT_EQ(Brought(), 0u);
}

// Each thread's pages lie beside those of the others.
TEST_F(SwapIn, ThreadsThatDisturbEachOtherLoseNothing) {
  constexpr uint64_t kThreads = 4;
  zswap_test_hooks.swapin_window = 16;
  Fill();
  engine_->zswap->SetTotalPages(60);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<uint64_t> version(kPages, 1);
      for (int i = 0; i < 3000; ++i) {
        const uint64_t slot = random() % (kPages / kThreads) * kThreads + t;
        if (version[slot] == 0) {
          version[slot] = 2 + random() % 100;
          ASSERT_TRUE(engine_->Store(slot, version[slot]).ok());
        } else if (random() % 8 == 0) {
          engine_->zswap->Invalidate(Slot{slot}, 1);
          version[slot] = 0;
        } else {
          PageBuffer page;
          const Result<bool> kept = engine_->zswap->Load(
              Slot{slot}, page, random() % 2 == 0 ? Keep::kNo : Keep::kIfRoom);
          ASSERT_TRUE(kept.ok());
          ASSERT_EQ(page, PageOf(slot, version[slot]));
          if (!kept.value()) version[slot] = 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(Brought(), 100u);
  (void)Checked();
}

}  // namespace
}  // namespace uzswap
