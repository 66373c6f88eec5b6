// SPDX-License-Identifier: Apache-2.0
// Bugs that the kernel's zswap had about pools that come, drain and go, by
// their numbers in docs/bugs.md. Each test fails if the guard against its bug
// is taken away (tools/mutants.py).
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "base/cpuhp_testing.h"
#include "base/worker_test_support.h"
#include "zpool/failure.h"
#include "zswap/pool_list.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

// What a hook works on: hooks are plain functions.
Engine* hooked = nullptr;

// A pool of its own kind for each level.
Status Switch(Engine& engine, int level) {
  static const uzswap_compressor* const codec = FaultyCodec::Table();
  return engine.zswap->SwitchPool(*codec, level, "zsmalloc");
}

// Long enough for a thread of ours to get to where it has to wait.
void LetOthersRun() {
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

class PoolBugs : public testing::Test {
 protected:
  PoolBugs() {
    if (kSanitized) Worker::SetStarter(StartLibraryThread);
  }
  ~PoolBugs() override {
    zswap_test_hooks = {};
    zpool_failure::FailNth(0);
    hooked = nullptr;
  }
  // Makes a pool drain that keeps an entry, under slot 1, which cannot move.
  static void LeaveOneBehind(Engine& engine, int next_level) {
    ASSERT_TRUE(engine.Store(1, 1).ok());
    FaultyCodec::compress_error = EINVAL;
    ASSERT_TRUE(Switch(engine, next_level).ok());
    engine.zswap->FlushWork();
    FaultyCodec::Heal();
    ASSERT_EQ(engine.zswap->Stats().pools, 2u);
  }
};

// A store took the lock that keeps CPUs from going; its task held that already
// and had been asked for memory, while somebody waited to take a CPU away.
TEST_F(PoolBugs, B7_NoOperationWaitsForTheHotplugLock) {
  Engine engine({.device_pages = 100});
  PageBuffer page;
  cpuhp::System().HoldOff();
  for (uint64_t slot = 0; slot < 20; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, static_cast<Content>(slot % 3)).ok());
  }
  engine.zswap->Shrink(5);
  engine.zswap->Rename(Slot{19}, Slot{30});
  engine.zswap->Invalidate(Slot{18}, 1);
  engine.zswap->Compact();
  EXPECT_TRUE(engine.zswap->Load(Slot{1}, page, Keep::kIfRoom).ok());
  for (uint64_t slot = 0; slot < 18; ++slot) {
    EXPECT_TRUE(engine.LoadIs(slot, 1, static_cast<Content>(slot % 3)));
  }
  EXPECT_GT(engine.zswap->memory_pages(), 0u);
  cpuhp::System().Resume();
}

// The contexts of the CPUs before the one that failed stayed for ever when a
// pool could not be made, or the pool stayed on the list of those who are told
// about CPUs.
TEST_F(PoolBugs, B11_APoolThatCannotBeMadeLeavesNothing) {
  cpuhp::Simulator cpus(cpuhp::System(), 4, 3);
  Engine engine;
  ASSERT_TRUE(engine.Store(1, 1).ok());
  EXPECT_TRUE(cpus.Up(3).ok());
  cpus.Down(3);
  const ZswapStats before = engine.zswap->Stats();
  for (unsigned k = 1; k <= 3; ++k) {
    cpus.FailNth(k, ENOMEM);
    EXPECT_EQ(Switch(engine, 7).error(), ENOMEM);
    const ZswapStats after = engine.zswap->Stats();
    EXPECT_EQ(after.pools, 1u);
    EXPECT_EQ(after.metadata_bytes, before.metadata_bytes);
    EXPECT_EQ(after.pool_switches, 0u);
    engine.zswap->CheckInvariants();
    cpuhp::System().CheckInvariants();
    // A CPU that comes meets no pool that is not there.
    EXPECT_TRUE(cpus.Up(3).ok());
    cpus.Down(3);
  }
  EXPECT_TRUE(engine.LoadIs(1, 1));
  EXPECT_TRUE(Switch(engine, 7).ok());
}

// Where nobody is told about CPUs, somebody has to look: a running program.
TEST_F(PoolBugs, ACpuThatAppearsGetsItsContextsWithoutAnybodyUsingIt) {
  cpuhp::Simulator cpus(cpuhp::System(), 4, 3);
  Engine engine;
  const ByteCount before = engine.zswap->Stats().metadata_bytes;
  engine.zswap->Tend();
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().metadata_bytes, before);
  cpus.Appear(3);
  EXPECT_FALSE(cpuhp::System().Online().Has(3));
  engine.zswap->Tend();
  engine.zswap->FlushWork();
  EXPECT_TRUE(cpuhp::System().Online().Has(3));
  EXPECT_GT(engine.zswap->Stats().metadata_bytes, before);
}

// The last reference was dropped where nothing may sleep, and destroying a pool
// sleeps. Here: on the way of a fault. The hotplug lock is one of the things
// that destruction waits for.
TEST_F(PoolBugs, B13_TheLastLoadDoesNotDestroyThePool) {
  Engine engine;
  LeaveOneBehind(engine, 2);
  cpuhp::System().HoldOff();
  EXPECT_TRUE(engine.LoadIs(1, 1));
  EXPECT_EQ(engine.zswap->Stats().pools, 2u);
  cpuhp::System().Resume();
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
}

// How it was found: the compressor changed in a loop without a pause.
TEST_F(PoolBugs, B13_ALoopOfSwitchesPilesNothingUp) {
  const char* size = getenv("UZSWAP_TEST_SIZE");
  const int rounds =
      size != nullptr && std::string(size) == "full" ? 100000 : 2000;
  Engine engine;
  for (int i = 0; i < rounds; ++i) {
    const auto slot = static_cast<uint64_t>(i);
    ASSERT_TRUE(Switch(engine, 1 + i % 50).ok()) << i;
    ASSERT_LE(engine.zswap->Stats().pools, PoolList::kMax);
    if (i % 8 == 0) {
      ASSERT_TRUE(engine.Store(slot, 1).ok());
    }
    if (i % 8 == 7) {
      ASSERT_TRUE(engine.LoadIs(slot - 7, 1));
    }
  }
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
}

// Each store that was refused while the shrinker was queued already left a
// reference to the pool.
TEST_F(PoolBugs, B14_RefusedStoresHoldNoPool) {
  Engine engine;
  for (uint64_t slot = 0; slot < 1000; ++slot) {
    zpool_failure::FailNth(1);
    ASSERT_EQ(engine.Store(slot, 1).error(), ENOMEM);
  }
  zpool_failure::FailNth(0);
  EXPECT_EQ(engine.zswap->Stats().stored_pages, 0u);
  engine.zswap->CheckInvariants();
  ASSERT_TRUE(Switch(engine, 2).ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
}

// Going back to a pool whose last reference was just going gave a pool that was
// current and dead.
TEST_F(PoolBugs, B15_GoingBackRevivesWhatStillHasEntries) {
  Engine engine;
  LeaveOneBehind(engine, 2);
  const uint64_t moved = engine.zswap->Stats().migrated_pages;
  ASSERT_TRUE(Switch(engine, UZSWAP_COMPRESSOR_DEFAULT_LEVEL).ok());
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  EXPECT_EQ(engine.zswap->Stats().migrated_pages, moved);
  engine.zswap->CheckInvariants();
  EXPECT_TRUE(engine.LoadIs(1, 1));
  ASSERT_TRUE(engine.Store(2, 1).ok());
  EXPECT_TRUE(engine.LoadIs(2, 1));
}

TEST_F(PoolBugs, B15_APoolThatIsBeingDestroyedIsNotRevived) {
  Engine engine;
  LeaveOneBehind(engine, 2);
  cpuhp::System().HoldOff();
  EXPECT_TRUE(engine.LoadIs(1, 1));
  LetOthersRun();  // the worker is destroying it
  std::thread back([&] {
    EXPECT_TRUE(Switch(engine, UZSWAP_COMPRESSOR_DEFAULT_LEVEL).ok());
  });
  LetOthersRun();
  cpuhp::System().Resume();
  back.join();
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
  engine.zswap->CheckInvariants();
  ASSERT_TRUE(engine.Store(2, 1).ok());
  EXPECT_TRUE(engine.LoadIs(2, 1));
}

// A store that has just looked up the current pool counts, though its
// reference cannot be seen yet.
TEST_F(PoolBugs, B15_AStoreThatFoundThePoolKeepsIt) {
  Engine engine;
  hooked = &engine;
  static std::thread switcher;
  zswap_test_hooks.in_acquire = [] {
    zswap_test_hooks.in_acquire = nullptr;
    switcher = std::thread([] { EXPECT_TRUE(Switch(*hooked, 2).ok()); });
    LetOthersRun();
  };
  const PageBuffer page = PageOf(1, 1);
  EXPECT_TRUE(engine.zswap->Store(Slot{1}, page).ok());
  switcher.join();
  engine.zswap->FlushWork();
  engine.zswap->CheckInvariants();
  EXPECT_TRUE(engine.LoadIs(1, 1));
  engine.zswap->FlushWork();
  EXPECT_EQ(engine.zswap->Stats().pools, 1u);
}

// As long as somebody walks the pools none of those he sees goes away.
TEST_F(PoolBugs, B15_WhoWalksThePoolsFindsThemWhole) {
  Engine engine;
  zswap_test_hooks.pool_visited = [] { std::this_thread::yield(); };
  std::atomic<bool> stop{false};
  std::thread walker([&] {
    while (!stop) EXPECT_GT(engine.zswap->memory_pages(), 0u);
  });
  for (uint64_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(engine.Store(i, 1).ok());
    ASSERT_TRUE(Switch(engine, 1 + static_cast<int>(i % 5)).ok());
    ASSERT_TRUE(engine.LoadIs(i, 1));
    if (i % 16 == 0) engine.zswap->FlushWork();
  }
  stop = true;
  walker.join();
  engine.zswap->FlushWork();
  zswap_test_hooks = {};
}

// A write of the parameter that failed half-way left a pool, or a name, that
// did not belong to any state.
TEST_F(PoolBugs, B16_AFailedSwitchLeavesThePoolsAsTheyWere) {
  Engine engine;
  const uzswap_compressor* codec = FaultyCodec::Table();
  ASSERT_TRUE(engine.Store(1, 1).ok());
  const ZswapStats before = engine.zswap->Stats();
  // More often than there is room for pools.
  for (unsigned i = 0; i < 2 * PoolList::kMax; ++i) {
    EXPECT_EQ(engine.zswap->SwitchPool(*codec, 1, "zlost").error(), ENOENT);
    EXPECT_EQ(Switch(engine, 0).error(), EINVAL);
  }
  engine.zswap->CheckInvariants();
  const ZswapStats after = engine.zswap->Stats();
  EXPECT_EQ(after.pools, 1u);
  EXPECT_EQ(after.pool_switches, 0u);
  EXPECT_EQ(after.metadata_bytes, before.metadata_bytes);
  EXPECT_TRUE(engine.LoadIs(1, 1));
  EXPECT_TRUE(Switch(engine, 1).ok());
}

}  // namespace
}  // namespace uzswap
