// SPDX-License-Identifier: Apache-2.0
// What zsmalloc gives back to the system, when, and how long that takes.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/lockdep.h"
#include "zpool/zsmalloc.h"
#include "zpool/zsmalloc_hooks.h"

namespace uzswap {
namespace {

using Random = std::mt19937_64;

struct Mix {
  std::string name;
  std::function<ByteCount(Random&)> size;
};

ByteCount Around(Random& random, double mean, double deviation) {
  const double size = std::normal_distribution(mean, deviation)(random);
  return static_cast<ByteCount>(std::clamp(size, 20.0, 4096.0));
}

const std::vector<Mix>& Mixes() {
  static const std::vector<Mix> mixes = {
      {"Uniform", [](Random& r) { return 1 + r() % kPageSize; }},
      {"Lz4Text", [](Random& r) { return Around(r, 1100, 600); }},
      {"ZstdText", [](Random& r) { return Around(r, 530, 300); }},
      {"MachineCode", [](Random& r) { return Around(r, 2500, 500); }},
      {"OneSize", [](Random&) { return ByteCount{1000}; }},
      {"Small", [](Random& r) { return 20 + r() % 200; }},
      {"Large", [](Random& r) { return 2100 + r() % 1900; }},
      {"SmallAndRaw",
       [](Random& r) { return r() % 4 == 0 ? kPageSize : 60 + r() % 400; }},
  };
  return mixes;
}

class GiveBackTest : public testing::TestWithParam<Mix> {};

// What should go: the difference to a fresh pool with just the survivors.
TEST_P(GiveBackTest, NineFramesOfTenThatCanGoAfterHalfIsFreedDo) {
  for (const int count : {20'000, 60'000}) {
    Random random(42);
    Zsmalloc* const pool = NewZsmalloc(kZsmallocChain).value();
    std::vector<std::pair<Handle, ByteCount>> objects;
    for (int i = 0; i < count; ++i) {
      const ByteCount bytes = GetParam().size(random);
      objects.emplace_back(pool->Allocate(bytes).value(), bytes);
    }
    const PageCount full = pool->total_pages();
    std::shuffle(objects.begin(), objects.end(), random);
    Zsmalloc* const fresh = NewZsmalloc(kZsmallocChain).value();
    for (int i = 0; i < count; ++i) {
      if (i < count / 2) {
        pool->Free(objects[i].first);
      } else {
        ASSERT_TRUE(fresh->Allocate(objects[i].second).ok());
      }
    }
    // In small steps, as reclaim does it. A step whose frames are kept for
    // reuse gives nothing back yet.
    for (int idle = 0; idle < 100; ++idle) {
      if (pool->Compact(128) > 0) idle = 0;
    }
    const auto went = static_cast<double>(full - pool->total_pages());
    const auto should = static_cast<double>(full - fresh->total_pages());
    EXPECT_GE(went, 0.9 * should) << count << ": " << went / should;
    RecordProperty("share_" + std::to_string(count),
                   std::to_string(went / should));
    pool->CheckInvariants();
    pool->Destroy();
    fresh->Destroy();
  }
}

INSTANTIATE_TEST_SUITE_P(Mix, GiveBackTest, testing::ValuesIn(Mixes()),
                         [](const auto& info) { return info.param.name; });

#ifdef UZSWAP_TEST_HOOKS

struct Seen {
  uint64_t system_calls = 0;
  int locks_at_system_call = 0;
  unsigned holds = 0;
  unsigned most_objects = 0;
  ByteCount most_bytes = 0;
};
Seen seen;

class ZsmallocWorkTest : public testing::Test {
 protected:
  void SetUp() override {
    seen = {};
    zsmalloc_hooks::hooks.system_call = [] {
      ++seen.system_calls;
#ifdef UZSWAP_DEBUG
      seen.locks_at_system_call += lockdep::HeldCount();
#endif
    };
    zsmalloc_hooks::hooks.compacted = [](unsigned objects, ByteCount bytes) {
      ++seen.holds;
      seen.most_objects = std::max(seen.most_objects, objects);
      seen.most_bytes = std::max(seen.most_bytes, bytes);
    };
  }
  void TearDown() override {
    zsmalloc_hooks::hooks = {};
    pool_->CheckInvariants();
    pool_->Destroy();
    EXPECT_EQ(seen.locks_at_system_call, 0);  // counted in debug builds
  }

  std::vector<Handle> AllocateMany(uint64_t count, ByteCount bytes) {
    std::vector<Handle> handles;
    for (uint64_t i = 0; i < count; ++i) {
      handles.push_back(pool_->Allocate(bytes).value());
    }
    return handles;
  }
  void FreeAll(const std::vector<Handle>& handles) {
    for (const Handle handle : handles) pool_->Free(handle);
  }

  Zsmalloc* pool_ = NewZsmalloc(kZsmallocChain).value();
};

TEST_F(ZsmallocWorkTest, AHoldOfALockByCompactionIsShort) {
  Random random(1);
  for (const ByteCount bytes : {20, 44, 76, 500, 1300, 2000, 3000}) {
    std::vector<Handle> handles = AllocateMany(6000, bytes);
    std::shuffle(handles.begin(), handles.end(), random);
    for (int i = 0; i < 4000; ++i) {
      pool_->Free(handles.back());
      handles.pop_back();
    }
    const unsigned holds = seen.holds;
    (void)pool_->Compact(1u << 30);
    EXPECT_GE(seen.holds, holds + 20) << bytes;
    FreeAll(handles);
  }
  EXPECT_LE(seen.most_objects, kMaxSeenAtOnce);
  EXPECT_GE(seen.most_objects, kMaxSeenAtOnce / 2);
  EXPECT_LT(seen.most_bytes, kMaxMovedAtOnce + kPageSize);
}

TEST_F(ZsmallocWorkTest, CompactionMovesNoMoreThanItMay) {
  std::vector<Handle> handles = AllocateMany(4000, 100);
  std::shuffle(handles.begin(), handles.end(), Random(2));
  for (int i = 0; i < 2000; ++i) {
    pool_->Free(handles.back());
    handles.pop_back();
  }
  std::byte page[kPageSize];
  const auto places = [&] {
    std::vector<const std::byte*> all;
    for (const Handle handle : handles) {
      all.push_back(pool_->ReadBegin(handle, 1, MutablePage(page)).data());
      pool_->ReadEnd(handle);
    }
    return all;
  };
  for (const unsigned most : {0, 1, 7, 50}) {
    const auto before = places();
    (void)pool_->Compact(most);
    const auto after = places();
    unsigned moved = 0;
    for (size_t i = 0; i < before.size(); ++i) moved += before[i] != after[i];
    EXPECT_EQ(moved, most);
  }
  FreeAll(handles);
}

TEST_F(ZsmallocWorkTest, APoolThatBreathesStaysAwayFromTheSystem) {
  const std::vector<Handle> kept = AllocateMany(4096, 4000);
  FreeAll(AllocateMany(32, 4000));  // frames to breathe with
  const uint64_t before = seen.system_calls;
  for (int round = 0; round < 1000; ++round) {
    const std::vector<Handle> handles = AllocateMany(32, 4000);
    FreeAll(handles);
  }
  EXPECT_EQ(seen.system_calls, before);
  EXPECT_GE(pool_->kept_pages(), 32u);
  EXPECT_LE(pool_->kept_pages(), 16 + pool_->total_pages() / 64);
  FreeAll(kept);
}

TEST_F(ZsmallocWorkTest, APoolThatDrainsGivesItsFramesBackManyAtATime) {
  const std::vector<Handle> handles = AllocateMany(4096, 4000);
  const uint64_t before = seen.system_calls;
  FreeAll(handles);
  EXPECT_LE(pool_->total_pages(), 16u);
  EXPECT_EQ(pool_->total_pages(), pool_->kept_pages());
  EXPECT_GE(seen.system_calls, before + 4096 / 64);
  EXPECT_LE(seen.system_calls, before + 4096 / 8);
}

TEST_F(ZsmallocWorkTest, CompactionWithNothingToMoveGivesBackWhatIsKept) {
  const std::vector<Handle> kept = AllocateMany(4096, 4000);
  FreeAll(AllocateMany(32, 4000));
  ASSERT_GE(pool_->kept_pages(), 32u);
  const uint64_t before = seen.system_calls;
  EXPECT_EQ(pool_->Compact(1), 32u);
  EXPECT_EQ(seen.system_calls, before + 1);
  EXPECT_EQ(pool_->total_pages(), 4096u);
  // Too little for a call.
  FreeAll(AllocateMany(8, 4000));
  EXPECT_EQ(pool_->Compact(1), 0u);
  EXPECT_EQ(pool_->kept_pages(), 8u);
  FreeAll(kept);
}

#endif

}  // namespace
}  // namespace uzswap
