// SPDX-License-Identifier: Apache-2.0
// What zswap.h promises about storing, loading and forgetting. Writeback has a
// file of its own.
#include "zswap/zswap.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "zpool/failure.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

constexpr uint64_t kFar = kSlotLimit - 1;

TEST(Zswap, LoadGivesBackWhatWasStored) {
  Engine engine;
  for (const Content content :
       {Content::kCompressible, Content::kRandom, Content::kSame}) {
    for (const uint64_t slot : {uint64_t{0}, uint64_t{12345}, kFar}) {
      ASSERT_TRUE(engine.Store(slot, 1, content).ok());
      EXPECT_TRUE(engine.zswap->Contains(Slot{slot}));
      EXPECT_TRUE(engine.LoadIs(slot, 1, content));
    }
  }
}

TEST(Zswap, LoadIsExclusive) {
  Engine engine;
  ASSERT_TRUE(engine.Store(7, 1).ok());
  EXPECT_TRUE(engine.LoadIs(7, 1));
  EXPECT_FALSE(engine.zswap->Contains(Slot{7}));
  EXPECT_EQ(engine.LoadError(7), ENOENT);
  EXPECT_EQ(engine.zswap->Stats().zswpin, 1u);
}

TEST(Zswap, ALoadThatKeepsLeavesTheEntryAndItsContent) {
  Engine engine({.device_pages = 100});
  PageBuffer page;
  for (const Content content :
       {Content::kCompressible, Content::kRandom, Content::kSame}) {
    ASSERT_TRUE(engine.Store(7, 1, content).ok());
    const Result<bool> kept = engine.zswap->Load(Slot{7}, page, Keep::kIfRoom);
    ASSERT_TRUE(kept.ok());
    EXPECT_TRUE(kept.value());
    EXPECT_TRUE(engine.zswap->Contains(Slot{7}));
    EXPECT_TRUE(engine.LoadIs(7, 1, content));
  }
  ASSERT_TRUE(engine.Store(8, 1).ok());
  ASSERT_EQ(engine.zswap->Shrink(1), 1u);
  EXPECT_TRUE(engine.zswap->Load(Slot{8}, page, Keep::kFree).value());
  EXPECT_EQ(engine.zswap->Stats().on_device, 1u);
  EXPECT_TRUE(engine.LoadIs(8, 1));
  EXPECT_EQ(engine.zswap->Load(Slot{8}, page, Keep::kFree).error(), ENOENT);
}

TEST(Zswap, CopiesAreOnlyKeptWhereTheyTakeNoRoomThatIsNeeded) {
  Engine engine({.total_pages = 64, .accept_threshold_percent = 50});
  PageBuffer page;
  ASSERT_TRUE(engine.Store(0, 1).ok());
  EXPECT_FALSE(engine.zswap->Load(Slot{0}, page, Keep::kFree).value());
  EXPECT_FALSE(engine.zswap->Contains(Slot{0}));
  uint64_t slot = 1;
  while (engine.zswap->Stats().pool_pages <= 32) {
    ASSERT_TRUE(engine.Store(slot++, 1, Content::kRandom).ok());
  }
  EXPECT_FALSE(engine.zswap->Load(Slot{1}, page, Keep::kIfRoom).value());
  EXPECT_FALSE(engine.zswap->Contains(Slot{1}));
}

TEST(Zswap, AKeptEntryIsTheLastToBeWrittenBack) {
  Engine engine({.device_pages = 100});
  PageBuffer page;
  for (uint64_t slot = 0; slot < 8; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1).ok());
  }
  EXPECT_TRUE(engine.zswap->Load(Slot{0}, page, Keep::kIfRoom).value());
  ASSERT_EQ(engine.zswap->Shrink(7), 7u);
  // What is on the device is not in the pool any more: only slot 0 is.
  EXPECT_EQ(engine.zswap->Stats().compressed, 1u);
  EXPECT_FALSE(engine.zswap->Load(Slot{0}, page, Keep::kNo).value());
  EXPECT_EQ(engine.zswap->Stats().compressed, 0u);
}

TEST(Zswap, ANewerStoreReplacesTheOlder) {
  Engine engine;
  ASSERT_TRUE(engine.Store(7, 1).ok());
  ASSERT_TRUE(engine.Store(7, 2, Content::kRandom).ok());
  ASSERT_TRUE(engine.Store(7, 3, Content::kSame).ok());
  EXPECT_EQ(engine.zswap->Stats().stored_pages, 1u);
  EXPECT_EQ(engine.zswap->Stats().duplicate_entry, 2u);
  EXPECT_TRUE(engine.LoadIs(7, 3, Content::kSame));
}

TEST(Zswap, SameFilledPagesTakeNoPoolMemoryAndStayOffTheLru) {
  Engine engine({.device_pages = 100});
  for (uint64_t slot = 0; slot < 100; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kSame).ok());
  }
  const PageBuffer zeros{};
  ASSERT_TRUE(engine.zswap->Store(Slot{100}, zeros).ok());
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.pool_pages, 0u);
  EXPECT_EQ(stats.same_filled, 101u);
  EXPECT_EQ(stats.same_filled_pages, 101u);
  EXPECT_EQ(engine.zswap->Shrink(1000), 0u);
  for (uint64_t slot = 0; slot < 100; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1, Content::kSame));
  }
  PageBuffer page;
  page.fill(std::byte{1});
  ASSERT_TRUE(engine.zswap->Load(Slot{100}, page).ok());
  EXPECT_EQ(page, zeros);
}

TEST(Zswap, OneDifferentWordAnywhereIsNotSameFilled) {
  Engine engine;
  for (const size_t at : {size_t{0}, size_t{8}, size_t{2048}, kPageSize - 1}) {
    PageBuffer page{};
    page[at] = std::byte{1};
    ASSERT_TRUE(engine.zswap->Store(Slot{at}, page).ok());
    PageBuffer back;
    ASSERT_TRUE(engine.zswap->Load(Slot{at}, back).ok());
    EXPECT_EQ(back, page) << at;
  }
  EXPECT_EQ(engine.zswap->Stats().same_filled_pages, 0u);
}

TEST(Zswap, PagesThatDoNotCompressAreKeptRaw) {
  Engine engine;
  ASSERT_TRUE(engine.Store(1, 1, Content::kRandom).ok());
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.reject_compress_poor, 1u);
  EXPECT_EQ(stats.reject_compress_fail, 0u);
  EXPECT_EQ(stats.incompressible, 1u);
  EXPECT_GE(stats.pool_pages, 1u);
  EXPECT_TRUE(engine.LoadIs(1, 1, Content::kRandom));
}

TEST(Zswap, APageTheCompressorFailsOnIsKeptRaw) {
  Engine engine;
  FaultyCodec::compress_error = EINVAL;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.reject_compress_fail, 1u);
  EXPECT_EQ(stats.reject_compress_poor, 0u);
  EXPECT_EQ(stats.incompressible, 1u);
  EXPECT_TRUE(engine.LoadIs(1, 1));
}

TEST(Zswap, WithoutPoolMemoryThePageGoesStraightToTheDevice) {
  Engine engine({.device_pages = 10});
  zpool_failure::FailNth(1);
  ASSERT_TRUE(engine.Store(1, 1).ok());
  const ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.reject_alloc_fail, 1u);
  EXPECT_EQ(stats.zswpwb, 1u);
  EXPECT_EQ(stats.written_back_pages, 0u);
  EXPECT_EQ(stats.on_device, 1u);
  EXPECT_TRUE(engine.LoadIs(1, 1));
  EXPECT_EQ(engine.zswap->Stats().device_in, 1u);
  zpool_failure::FailNth(0);
}

// Whatever makes the store of a newer version fail, the older one is gone
// and can never be loaded or written back.
TEST(Zswap, B3_AFailedStoreLeavesNoOlderVersion) {
  const auto no_entry = [] { zswap_test_hooks.no_entry = [] { return true; }; };
  const auto no_pool_memory = [] { zpool_failure::FailNth(1); };
  struct Case {
    PageCount device_pages;
    bool device_fails;
    void (*arrange)();
  };
  for (const Case& c :
       {Case{0, false, no_entry}, Case{10, false, no_entry},
        Case{0, false, no_pool_memory}, Case{10, true, no_pool_memory}}) {
    for (const Content old : {Content::kCompressible, Content::kSame}) {
      Engine engine({.device_pages = c.device_pages});
      // A neighbour keeps the older version's frames from being free for the
      // newer one, which is of another size.
      ASSERT_TRUE(engine.Store(8, 1, Content::kCompressible).ok());
      ASSERT_TRUE(engine.Store(9, 1, old).ok());
      if (c.device_fails) engine.device->write_fault.Set(1, EIO);
      c.arrange();
      EXPECT_EQ(engine.Store(9, 2, Content::kRandom).error(), ENOMEM);
      zpool_failure::FailNth(0);
      zswap_test_hooks = {};
      EXPECT_FALSE(engine.zswap->Contains(Slot{9}));
      EXPECT_EQ(engine.LoadError(9), ENOENT);
      engine.zswap->CheckInvariants();
      const ZswapStats stats = engine.zswap->Stats();
      EXPECT_EQ(stats.stored_pages, 1u);
      EXPECT_EQ(stats.zswpout, 2u);
      EXPECT_EQ(stats.reject_kmemcache_fail + stats.reject_alloc_fail, 1u);
      EXPECT_TRUE(engine.Store(9, 3).ok());
      EXPECT_TRUE(engine.LoadIs(9, 3));
    }
  }
}

TEST(Zswap, ContentThatCannotBeDecompressedIsAnErrorAndStays) {
  Engine engine({.device_pages = 10});
  ASSERT_TRUE(engine.Store(5, 1).ok());
  FaultyCodec::decompress_error = EIO;
  EXPECT_EQ(engine.LoadError(5), EIO);
  EXPECT_EQ(engine.LoadError(5), EIO);
  EXPECT_TRUE(engine.zswap->Contains(Slot{5}));
  EXPECT_EQ(engine.zswap->Stats().decompress_fail, 2u);
  engine.zswap->CheckInvariants();
  FaultyCodec::Heal();
  EXPECT_TRUE(engine.LoadIs(5, 1));
}

TEST(Zswap, ContentTheDeviceCannotReadIsAnErrorAndStays) {
  Engine engine({.device_pages = 10});
  ASSERT_TRUE(engine.Store(5, 1).ok());
  ASSERT_EQ(engine.zswap->Shrink(1), 1u);
  engine.device->read_fault.Set(1, EIO);
  EXPECT_EQ(engine.LoadError(5), EIO);
  EXPECT_TRUE(engine.zswap->Contains(Slot{5}));
  EXPECT_EQ(engine.zswap->Stats().device_read_fail, 1u);
  engine.zswap->CheckInvariants();
  engine.device->read_fault.Clear();
  EXPECT_TRUE(engine.LoadIs(5, 1));
  EXPECT_EQ(engine.device->used(), 0u);
}

TEST(Zswap, InvalidateForgetsExactlyItsRange) {
  Engine engine({.device_pages = 2000});
  const uint64_t base = 3u << 18;  // across 2 MiB and 1 GiB borders
  for (uint64_t slot = base - 1500; slot < base + 1500; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kCompressible).ok());
  }
  engine.zswap->Shrink(1000);
  engine.zswap->Invalidate(Slot{base - 1100}, 2200);
  engine.zswap->CheckInvariants();
  EXPECT_EQ(engine.zswap->Stats().stored_pages, 800u);
  for (uint64_t slot = base - 1500; slot < base + 1500; ++slot) {
    const bool gone = slot >= base - 1100 && slot < base + 1100;
    ASSERT_EQ(engine.zswap->Contains(Slot{slot}), !gone) << slot;
  }
  EXPECT_TRUE(engine.LoadIs(base - 1101, 1));
  EXPECT_TRUE(engine.LoadIs(base + 1100, 1));
}

TEST(Zswap, InvalidateIsCheapWhereNothingIsStored) {
  Engine engine;
  ASSERT_TRUE(engine.Store(0, 1).ok());
  ASSERT_TRUE(engine.Store(kFar, 1).ok());
  engine.zswap->Invalidate(Slot{1}, kSlotLimit - 2);
  const auto start = std::chrono::steady_clock::now();
  constexpr int kRounds = 20;
  for (int i = 0; i < kRounds; ++i) {
    engine.zswap->Invalidate(Slot{1}, kSlotLimit - 2);
  }
  const auto took = std::chrono::steady_clock::now() - start;
  // 2^35 slots; one look at each would take a minute.
  EXPECT_LT(took / kRounds, std::chrono::milliseconds(50));
  EXPECT_TRUE(engine.LoadIs(0, 1));
  EXPECT_TRUE(engine.LoadIs(kFar, 1));
}

TEST(Zswap, RenameKeepsContentWhereverItIs) {
  Engine engine({.device_pages = 10});
  ASSERT_TRUE(engine.Store(1, 1).ok());
  ASSERT_EQ(engine.zswap->Shrink(1), 1u);
  ASSERT_TRUE(engine.Store(2, 1).ok());
  ASSERT_TRUE(engine.Store(3, 1, Content::kSame).ok());
  ASSERT_TRUE(engine.Store(4, 1, Content::kRandom).ok());
  for (uint64_t slot = 1; slot <= 5; ++slot) {
    engine.zswap->Rename(Slot{slot}, Slot{slot + 1000000});
    EXPECT_FALSE(engine.zswap->Contains(Slot{slot}));
  }
  engine.zswap->CheckInvariants();
  EXPECT_FALSE(engine.zswap->Contains(Slot{1000005}));
  // A renamed page is written back and found again.
  EXPECT_EQ(engine.zswap->Shrink(10), 2u);
  const auto holds = [&](uint64_t slot, Content content) {
    PageBuffer page;
    return engine.zswap->Load(Slot{slot + 1000000}, page).ok() &&
           page == PageOf(slot, 1, content);
  };
  EXPECT_TRUE(holds(1, Content::kCompressible));
  EXPECT_TRUE(holds(2, Content::kCompressible));
  EXPECT_TRUE(holds(3, Content::kSame));
  EXPECT_TRUE(holds(4, Content::kRandom));
}

TEST(Zswap, CreateSaysWhatIsWrong) {
  const uzswap_compressor* codec = FaultyCodec::Table();
  const ZswapConfig good{.compressor = codec,
                         .level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL,
                         .zpool = "zsmalloc",
                         .device = nullptr,
                         .total_pages = 1,
                         .max_pool_percent = 20,
                         .accept_threshold_percent = 90};
  ZswapConfig config = good;
  config.zpool = "zlost";
  EXPECT_EQ(Zswap::Create(config).error(), ENOENT);
  for (const unsigned percent : {0u, 101u}) {
    config = good;
    config.max_pool_percent = percent;
    EXPECT_EQ(Zswap::Create(config).error(), EINVAL);
    config = good;
    config.accept_threshold_percent = percent;
    EXPECT_EQ(Zswap::Create(config).error(), EINVAL);
  }
  const Result<Zswap*> zswap = Zswap::Create(good);
  ASSERT_TRUE(zswap.ok());
  zswap.value()->Destroy();
}

TEST(Zswap, MetadataIsCountedWhenFirstTouched) {
  Engine engine;
  const auto metadata = [&] {
    return engine.zswap->Stats().metadata_bytes / kPageSize;
  };
  const PageCount before = metadata();
  ASSERT_TRUE(engine.Store(0, 1, Content::kSame).ok());
  const PageCount first = metadata();
  EXPECT_EQ(first - before, 5u);  // cells, three side tables, entries
  ASSERT_TRUE(engine.Store(1023, 1, Content::kSame).ok());
  EXPECT_EQ(metadata(), first);
  ASSERT_TRUE(engine.Store(1024, 1, Content::kSame).ok());
  EXPECT_EQ(metadata(), first + 1);
  EXPECT_GE(engine.zswap->memory_pages(), first);
  // The table's page comes back once its whole range is forgotten.
  engine.zswap->Invalidate(Slot{1}, 2047);
  EXPECT_EQ(metadata(), first);
  ASSERT_TRUE(engine.Store(1024, 1, Content::kSame).ok());
  EXPECT_TRUE(engine.LoadIs(1024, 1, Content::kSame));
  EXPECT_EQ(metadata(), first + 1);
}

// After everything is gone every "now" figure is exactly zero, and
// the events add up.
TEST(Zswap, CountersAreExactAfterDraining) {
  Engine engine({.total_pages = 200, .device_pages = 300});
  uint64_t stored = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    if (i % 17 == 0) zpool_failure::FailNth(1);
    const Status s = engine.Store(i, 1, static_cast<Content>(i % 3));
    if (s.ok()) ++stored;
    zpool_failure::FailNth(0);
  }
  ZswapStats stats = engine.zswap->Stats();
  EXPECT_EQ(stats.zswpout, stored);
  EXPECT_EQ(stats.stored_pages, stored);
  EXPECT_EQ(stats.on_device, engine.device->used());
  EXPECT_EQ(stats.zswpwb, engine.device->writes);
  for (uint64_t i = 0; i < 1000; i += 2) engine.LoadError(i);
  engine.zswap->CheckInvariants();
  engine.zswap->Invalidate(Slot{0}, kSlotLimit);
  stats = engine.zswap->Stats();
  EXPECT_EQ(stats.stored_pages, 0u);
  EXPECT_EQ(stats.same_filled + stats.incompressible + stats.compressed, 0u);
  EXPECT_EQ(stats.on_device, 0u);
  EXPECT_EQ(stats.compressed_bytes, 0u);
  EXPECT_EQ(engine.device->used(), 0u);
  EXPECT_EQ(engine.device->writes, engine.device->frees);
  EXPECT_LE(stats.zswpin + stats.device_in, stats.zswpout);
}

void ForkBothWays(Engine& engine) {
  for (uint64_t slot = 0; slot < 300; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, static_cast<Content>(slot % 3)).ok());
  }
  engine.zswap->Shrink(50);
  engine.zswap->PrepareFork();
  const pid_t child = fork();
  if (child == 0) {
    bool good = engine.zswap->ChildAfterFork().ok();
    good &= engine.zswap->Stats().zswpout == 0;
    for (uint64_t slot = 0; slot < 100; ++slot) {
      good &= engine.LoadIs(slot, 1, static_cast<Content>(slot % 3));
      good &= engine.Store(slot, 2).ok();
    }
    good &= engine.zswap->Shrink(40) > 0;
    for (uint64_t slot = 0; slot < 100; ++slot) {
      good &= engine.LoadIs(slot, 2);
    }
    for (uint64_t slot = 100; slot < 300; ++slot) {
      good &= engine.LoadIs(slot, 1, static_cast<Content>(slot % 3));
    }
    engine.zswap->CheckInvariants();
    _exit(good ? 0 : 1);
  }
  engine.zswap->ParentAfterFork();
  for (uint64_t slot = 0; slot < 300; slot += 2) {
    ASSERT_TRUE(engine.Store(slot, 3).ok());
  }
  engine.zswap->Shrink(100);
  int status;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  for (uint64_t slot = 0; slot < 300; ++slot) {
    EXPECT_TRUE(slot % 2 == 0
                    ? engine.LoadIs(slot, 3)
                    : engine.LoadIs(slot, 1, static_cast<Content>(slot % 3)));
  }
}

TEST(Zswap, AfterForkBothProcessesGoOnAlone) {
  Engine engine({.device_pages = 1000});
  ForkBothWays(engine);
}

TEST(Zswap, AfterForkBothProcessesGoOnAloneOverAFile) {
  const Result<Device*> file = NewFileDevice("/tmp", 1000);
  ASSERT_TRUE(file.ok()) << strerror(file.error());
  {
    Engine engine({.device_pages = 1000, .backing = file.value()});
    ForkBothWays(engine);
  }
}

// Every thread has slots of its own and knows their versions; writeback of all
// of them goes on beside, with a device that sometimes fails.
TEST(Zswap, ThreadsOnTheirOwnSlotsSeeOnlyTheirOwnVersions) {
  Engine engine({.total_pages = 300, .device_pages = 100000});
  engine.device->write_fault.Set(7, EIO);
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread shrinker([&] {
    while (!stop) {
      engine.zswap->Shrink(20);
      std::this_thread::yield();
    }
  });
  const auto work = [&](uint64_t thread) {
    constexpr uint64_t kSlots = 400;
    std::vector<uint64_t> version(kSlots, 0);
    std::mt19937_64 random(thread);
    for (uint64_t step = 1; step < 6000; ++step) {
      const uint64_t i = random() % kSlots;
      const uint64_t slot = i * 4 + thread;  // neighbours in one shard
      if (version[i] == 0) {
        version[i] = step;
        if (!engine.Store(slot, step).ok()) ++wrong;
      } else if (random() % 4 == 0) {
        engine.zswap->Invalidate(Slot{slot}, 1);
        if (engine.zswap->Contains(Slot{slot})) ++wrong;
        version[i] = 0;
      } else {
        if (!engine.LoadIs(slot, version[i])) ++wrong;
        version[i] = 0;
      }
    }
  };
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  stop = true;
  shrinker.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(engine.zswap->Stats().written_back_pages, 0u);
}

}  // namespace
}  // namespace uzswap
