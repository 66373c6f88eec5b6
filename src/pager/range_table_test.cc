// SPDX-License-Identifier: Apache-2.0
// The range table and the managed map against a page-by-page model.
#include "pager/range_table.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <random>
#include <vector>

#include "pager/managed_map.h"

namespace uzswap {
namespace {

constexpr uint64_t kBase = uint64_t{0x7000} << 32;
constexpr uint32_t kRw = PROT_READ | PROT_WRITE;

uint64_t At(uint64_t page) { return kBase + page * kPageSize; }

TEST(RangeTable, NeighboursOfEqualProtectionMerge) {
  RangeTable table;
  ASSERT_TRUE(table.Init().ok());
  ASSERT_TRUE(table.Set(At(0), At(4), kRw).ok());
  ASSERT_TRUE(table.Set(At(8), At(12), kRw).ok());
  EXPECT_EQ(table.count(), 2u);
  ASSERT_TRUE(table.Set(At(4), At(8), kRw).ok());
  EXPECT_EQ(table.count(), 1u);
  ASSERT_TRUE(table.Set(At(5), At(6), PROT_READ).ok());
  EXPECT_EQ(table.count(), 3u);
  ASSERT_TRUE(table.Set(At(5), At(6), kRw).ok());
  EXPECT_EQ(table.count(), 1u);
  table.CheckInvariants();
  table.Release();
}

TEST(RangeTable, FindsExactlyWhatIsInIt) {
  RangeTable table;
  ASSERT_TRUE(table.Init().ok());
  EXPECT_EQ(table.Find(At(1)), nullptr);
  ASSERT_TRUE(table.Set(At(1), At(3), kRw).ok());
  EXPECT_EQ(table.Find(At(1) - 1), nullptr);
  ASSERT_NE(table.Find(At(1)), nullptr);
  ASSERT_NE(table.Find(At(3) - 1), nullptr);
  EXPECT_EQ(table.Find(At(3)), nullptr);
  table.Release();
}

TEST(RangeTable, ProtectionTellsWhatMayLeaveAndHow) {
  const auto range = [](uint32_t prot) {
    return ManagedRange{At(0), At(1), prot};
  };
  EXPECT_FALSE(range(PROT_NONE).readable());
  EXPECT_FALSE(range(PROT_EXEC).readable());
  EXPECT_TRUE(range(PROT_READ).readable());
  EXPECT_TRUE(range(PROT_WRITE).readable());
  EXPECT_FALSE(range(PROT_READ).movable());
  EXPECT_TRUE(range(kRw).movable());
  EXPECT_FALSE(range(kRw | PROT_EXEC).movable());
}

TEST(RangeTable, AgreesWithAModelPageByPage) {
  constexpr uint64_t kPages = 1600;  // three units and a bit
  RangeTable table;
  ManagedMap map;
  ASSERT_TRUE(table.Init().ok());
  ASSERT_TRUE(map.Init().ok());
  constexpr uint32_t kAbsent = 99;
  std::vector<uint32_t> model(kPages, kAbsent);
  std::mt19937_64 random(5);
  for (int step = 0; step < 4000; ++step) {
    const uint64_t from = random() % kPages;
    const uint64_t to =
        from + 1 +
        random() % std::min<uint64_t>(kPages - from, step % 3 ? 40 : kPages);
    const uint64_t dice = random() % 4;
    const uint32_t prot = dice == 0 ? kAbsent : static_cast<uint32_t>(dice);
    if (dice == 0) {
      ASSERT_TRUE(table.Remove(At(from), At(to)).ok());
      map.Clear(SlotOf(At(from)), to - from);
    } else {
      ASSERT_TRUE(table.Set(At(from), At(to), prot).ok());
      map.Set(SlotOf(At(from)), to - from);
    }
    std::fill(model.begin() + static_cast<ptrdiff_t>(from),
              model.begin() + static_cast<ptrdiff_t>(to), prot);
    table.CheckInvariants();
    const uint64_t probe = random() % kPages;
    const ManagedRange* found = table.Find(At(probe));
    ASSERT_EQ(found == nullptr ? kAbsent : found->prot, model[probe]);
    if (step % 16 != 0) continue;
    uint64_t covered = 0;
    table.ForEach(At(0), At(kPages), [&](uint64_t a, uint64_t b, uint32_t p) {
      for (uint64_t at = a; at < b; at += kPageSize) {
        ASSERT_EQ(model[(at - kBase) / kPageSize], p);
      }
      covered += (b - a) / kPageSize;
    });
    uint64_t present = 0;
    for (uint64_t page = 0; page < kPages; ++page) {
      present += model[page] != kAbsent;
      ASSERT_EQ(map.Contains(SlotOf(At(page))), model[page] != kAbsent);
    }
    ASSERT_EQ(covered, present);
    bool any = false;
    for (uint64_t page = from; page < to; ++page) {
      any |= model[page] != kAbsent;
    }
    ASSERT_EQ(map.Intersects(SlotOf(At(from)), to - from), any);
  }
  table.Release();
  map.Release();
}

TEST(ManagedMap, AddressesBeyondTheLimitAreNeverManaged) {
  ManagedMap map;
  ASSERT_TRUE(map.Init().ok());
  map.Set(Slot{kSlotLimit - 512}, 512);
  EXPECT_TRUE(map.Contains(Slot{kSlotLimit - 1}));
  EXPECT_FALSE(map.Contains(Slot{kSlotLimit}));
  EXPECT_FALSE(map.Intersects(Slot{kSlotLimit}, 10));
  EXPECT_TRUE(map.Intersects(Slot{kSlotLimit - 1}, ~uint64_t{0} / 2));
  map.Release();
}

TEST(ManagedMap, TouchedUnitsAreRememberedApart) {
  ManagedMap map;
  ASSERT_TRUE(map.Init().ok());
  map.Touch(Slot{1000});
  EXPECT_TRUE(map.Touched(1000 / ManagedMap::kUnitPages));
  EXPECT_FALSE(map.Contains(Slot{1000}));
  map.Set(Slot{900}, 300);
  map.Clear(Slot{900}, 300);
  EXPECT_TRUE(map.Touched(1000 / ManagedMap::kUnitPages));
  map.ClearTouched(1000 / ManagedMap::kUnitPages);
  EXPECT_FALSE(map.Touched(1000 / ManagedMap::kUnitPages));
  map.Release();
}

}  // namespace
}  // namespace uzswap
