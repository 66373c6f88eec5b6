// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

namespace uzswap {
namespace {

bool AllZero(const void* p, size_t bytes) {
  const auto* c = static_cast<const char*>(p);
  return std::all_of(c, c + bytes, [](char x) { return x == 0; });
}

TEST(Arena, ObjectsAreAlignedZeroedAndApart) {
  Arena arena;
  struct Piece {
    uintptr_t begin, end;
  };
  std::vector<Piece> pieces;
  for (size_t i = 1; i < 400; ++i) {
    const size_t bytes = i * 37 % 3000 + 1;
    const size_t align = size_t{1} << (i % 13);
    void* p = arena.Allocate(bytes, align);
    ASSERT_NE(p, nullptr);
    const auto at = reinterpret_cast<uintptr_t>(p);
    EXPECT_EQ(at % align, 0u);
    EXPECT_TRUE(AllZero(p, bytes));
    memset(p, 0xff, bytes);
    pieces.push_back({at, at + bytes});
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < pieces.size(); ++i) {
    EXPECT_LE(pieces[i - 1].end, pieces[i].begin);
  }
  arena.Release();
}

TEST(Arena, CountsWhatItMapped) {
  Arena arena;
  EXPECT_EQ(arena.bytes_mapped(), 0u);
  ASSERT_NE(arena.Allocate(100), nullptr);
  const ByteCount first = arena.bytes_mapped();
  EXPECT_GE(first, 100u);
  ASSERT_NE(arena.Allocate(100), nullptr);
  EXPECT_EQ(arena.bytes_mapped(), first);
  ASSERT_NE(arena.Allocate(1 << 20), nullptr);
  EXPECT_GE(arena.bytes_mapped(), first + (1 << 20));
  arena.Release();
  EXPECT_EQ(arena.bytes_mapped(), 0u);
}

TEST(Arena, LargeObjectsDoNotWasteTheCurrentChunk) {
  Arena arena;
  auto* before = static_cast<char*>(arena.Allocate(64, 64));
  ASSERT_NE(arena.Allocate(1 << 20), nullptr);
  auto* after = static_cast<char*>(arena.Allocate(64, 64));
  EXPECT_EQ(after, before + 64);
  arena.Release();
}

TEST(Arena, ReturnsNullWhenThereIsNoMemory) {
  Arena arena;
  EXPECT_EQ(arena.Allocate(size_t{1} << 60), nullptr);
  EXPECT_EQ(arena.bytes_mapped(), 0u);
  EXPECT_NE(arena.Allocate(16), nullptr);
  arena.Release();
}

TEST(Arena, CanBeUsedAgainAfterRelease) {
  Arena arena;
  memset(arena.Allocate(1000), 1, 1000);
  arena.Release();
  void* p = arena.Allocate(1000);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(AllZero(p, 1000));
  arena.Release();
}

TEST(Arena, NewRunsTheConstructor) {
  struct Point {
    Point(int x_arg, int y_arg) : x(x_arg), y(y_arg) {}
    int x, y;
  };
  Arena arena;
  const Point* point = arena.New<Point>(3, 4);
  ASSERT_NE(point, nullptr);
  EXPECT_EQ(point->x, 3);
  EXPECT_EQ(point->y, 4);
  arena.Release();
}

TEST(Arena, ThreadsNeverShareAnObject) {
  Arena arena;
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; ++t) {
    threads.emplace_back([&arena, t] {
      std::vector<unsigned char*> mine;
      for (int i = 0; i < 2000; ++i) {
        auto* p = static_cast<unsigned char*>(arena.Allocate(48));
        memset(p, t, 48);
        mine.push_back(p);
      }
      for (const unsigned char* p : mine) {
        for (int i = 0; i < 48; ++i) ASSERT_EQ(p[i], t);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  arena.Release();
}

TEST(SparseTable, IsHugeZeroAndWritable) {
  SparseTable<uint32_t> table;
  ASSERT_TRUE(table.Init(kSlotLimit).ok());
  EXPECT_EQ(table.count(), kSlotLimit);
  EXPECT_EQ(table[kSlotLimit - 1], 0u);
  table[kSlotLimit / 2] = 7;
  EXPECT_EQ(table[kSlotLimit / 2], 7u);
  EXPECT_EQ(table[kSlotLimit / 2 + 1], 0u);
  table.Release();
  EXPECT_EQ(table.data(), nullptr);
}

TEST(SparseTable, ReportsThatItDoesNotFit) {
  SparseTable<uint64_t> table;
  EXPECT_EQ(table.Init(uint64_t{1} << 50).error(), ENOMEM);
}

}  // namespace
}  // namespace uzswap
