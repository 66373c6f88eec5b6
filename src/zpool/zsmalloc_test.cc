// SPDX-License-Identifier: Apache-2.0
// What zsmalloc promises beyond the contract that zpool_test.cc checks.
#include "zpool/zsmalloc.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <vector>

namespace uzswap {
namespace {

class ZsmallocTest : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { pool_ = NewZsmalloc(GetParam()).value(); }
  void TearDown() override {
    pool_->CheckInvariants();
    pool_->Destroy();
  }

  // The class that an object of `bytes` bytes and its tail belongs to.
  unsigned ClassOf(ByteCount bytes) const {
    return geometry_.ClassOf(bytes + 4);
  }
  uint64_t Zspages(unsigned c, unsigned group) {
    return pool_->ClassStats(c).zspages[group];
  }
  Handle Allocate(ByteCount bytes) { return pool_->Allocate(bytes).value(); }
  std::vector<Handle> AllocateMany(uint64_t count, ByteCount bytes) {
    std::vector<Handle> handles;
    for (uint64_t i = 0; i < count; ++i) handles.push_back(Allocate(bytes));
    return handles;
  }
  void FreeAll(const std::vector<Handle>& handles) {
    for (const Handle handle : handles) pool_->Free(handle);
  }
  uintptr_t AddressOf(Handle handle) {
    const auto bytes = pool_->ReadBegin(handle, 1, MutablePage(scratch_));
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    pool_->ReadEnd(handle);
    return address;
  }

  const ZsmallocGeometry geometry_{GetParam()};
  Zsmalloc* pool_ = nullptr;
  std::byte scratch_[kPageSize];
};

// Frames in [begin, end) that the kernel says are present.
uint64_t PresentPages(uintptr_t begin, uintptr_t end) {
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  EXPECT_GE(fd, 0);
  std::vector<uint64_t> words((end - begin) / kPageSize);
  const auto bytes = static_cast<ssize_t>(words.size() * 8);
  EXPECT_EQ(pread(fd, words.data(), static_cast<size_t>(bytes),
                  static_cast<off_t>(begin / kPageSize * 8)),
            bytes);
  close(fd);
  return static_cast<uint64_t>(std::count_if(
      words.begin(), words.end(), [](uint64_t w) { return (w >> 63) != 0; }));
}

TEST_P(ZsmallocTest, EveryFrameIsCountedAndNoOther) {
  // The first object of a fresh pool is at the start of its area.
  std::vector<Handle> handles = AllocateMany(1, 100);
  const uintptr_t begin = AddressOf(handles[0]);
  uintptr_t end = begin;
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 500; ++i) {
      handles.push_back(Allocate(1 + random() % kPageSize));
      end = std::max(end, AddressOf(handles.back()));
    }
    for (int i = 0; i < 450; ++i) {
      std::swap(handles[random() % handles.size()], handles.back());
      pool_->Free(handles.back());
      handles.pop_back();
    }
    const uintptr_t beyond = PageFloor(end) + 2 * 64 * kPageSize;
    ASSERT_EQ(PresentPages(begin, beyond), pool_->total_pages());
  }
  FreeAll(handles);
  EXPECT_EQ(PresentPages(begin, PageFloor(end) + 2 * 64 * kPageSize),
            pool_->total_pages());
}

TEST_P(ZsmallocTest, ALoneObjectHoldsOneFrame) {
  for (ByteCount bytes = 1; bytes <= kPageSize; bytes += 97) {
    Zsmalloc* pool = NewZsmalloc(GetParam()).value();
    const Handle handle = pool->Allocate(bytes).value();
    EXPECT_EQ(pool->total_pages(), 1u);
    pool->Free(handle);
    pool->Destroy();
  }
}

TEST_P(ZsmallocTest, OneObjectOfManyIsInGroupOneAndTheLastMakesItFull) {
  for (const ByteCount bytes : {20, 100, 1000, 2000, 3000, 3500, 4096}) {
    const unsigned c = ClassOf(bytes);
    const uint32_t objects = geometry_.shape(c).objects;
    std::vector<Handle> handles;
    for (uint32_t used = 1; used <= objects; ++used) {
      handles.push_back(Allocate(bytes));
      for (unsigned group = 0; group < kFullnessGroups; ++group) {
        ASSERT_EQ(Zspages(c, group), group == FullnessGroup(used, objects));
      }
    }
    EXPECT_EQ(Zspages(c, kGroupFull), 1u);
    FreeAll(handles);
    EXPECT_EQ(pool_->ClassStats(c).obj_allocated, 0u);
  }
}

TEST_P(ZsmallocTest, TheFullestZspageIsFilledFirst) {
  const ByteCount bytes = 500;
  const unsigned c = ClassOf(bytes);
  const uint32_t objects = geometry_.shape(c).objects;
  std::vector<Handle> first = AllocateMany(objects, bytes);
  std::vector<Handle> second = AllocateMany(objects, bytes);
  for (uint32_t i = 0; i + 1 < objects; ++i) {
    pool_->Free(first.back());
    first.pop_back();
  }
  for (int i = 0; i < 2; ++i) {
    pool_->Free(second.back());
    second.pop_back();
  }
  second.push_back(Allocate(bytes));
  second.push_back(Allocate(bytes));
  EXPECT_EQ(Zspages(c, kGroupFull), 1u);
  EXPECT_EQ(Zspages(c, FullnessGroup(1, objects)), 1u);
  FreeAll(first);
  FreeAll(second);
}

TEST_P(ZsmallocTest, FreedObjectsOfLargerClassesAreUsedBeforeAClassGrows) {
  const unsigned larger = ClassOf(1000);
  const uint32_t objects = geometry_.shape(larger).objects;
  std::vector<Handle> handles = AllocateMany(2 * objects, 1000);
  pool_->Free(handles.back());
  handles.pop_back();
  const PageCount pages = pool_->total_pages();
  ASSERT_NE(ClassOf(900), larger);
  handles.push_back(Allocate(900));
  EXPECT_EQ(pool_->total_pages(), pages);
  EXPECT_EQ(pool_->ClassStats(larger).obj_used, 2 * objects);
  // None is left, and a much smaller object would not have taken it.
  handles.push_back(Allocate(900));
  EXPECT_EQ(pool_->ClassStats(ClassOf(900)).obj_used, 1u);
  pool_->Free(handles.front());
  handles.front() = Allocate(100);
  EXPECT_EQ(pool_->ClassStats(larger).obj_used, 2 * objects - 1);
  FreeAll(handles);
}

TEST_P(ZsmallocTest, WhatCannotShareAPageTakesExactlyOne) {
  const ByteCount most = geometry_.watermark() - 4;
  const ZsmallocShape& shape = geometry_.shape(ClassOf(most));
  const std::vector<Handle> small = AllocateMany(4 * shape.objects, most);
  EXPECT_EQ(Zspages(geometry_.count() - 1, kGroupFull), 0u);
  const PageCount before = pool_->total_pages();
  EXPECT_EQ(before, 4 * shape.pages);
  EXPECT_LT(before, small.size());
  std::vector<Handle> huge = AllocateMany(50, geometry_.watermark() - 3);
  const std::vector<Handle> whole = AllocateMany(50, kPageSize);
  huge.insert(huge.end(), whole.begin(), whole.end());
  EXPECT_EQ(Zspages(geometry_.count() - 1, kGroupFull), 100u);
  EXPECT_EQ(pool_->total_pages(), before + 100);
  for (const Handle handle : huge) {
    EXPECT_EQ(AddressOf(handle) % kPageSize, 0u);
  }
  FreeAll(small);
  FreeAll(huge);
}

TEST_P(ZsmallocTest, FewFramesAreKeptAndTheyAreUsedAgain) {
  const std::vector<Handle> kept = AllocateMany(4096, 4000);
  for (int round = 0; round < 5; ++round) {
    const PageCount before = pool_->total_pages();
    const std::vector<Handle> handles = AllocateMany(16, 4000);
    if (round > 0) {
      EXPECT_EQ(pool_->total_pages(), before);
    }
    FreeAll(handles);
  }
  FreeAll(AllocateMany(4096, 4000));
  EXPECT_LE(pool_->total_pages(), 4096u + 16 + 4096 * 2 / 64);
  FreeAll(kept);
  EXPECT_LE(pool_->total_pages(), 16u);
}

TEST_P(ZsmallocTest, StatisticsAgreeWithWhatIsThere) {
  std::mt19937 random(3);
  std::vector<Handle> handles;
  for (int i = 0; i < 5000; ++i) {
    handles.push_back(Allocate(1 + random() % kPageSize));
    if (random() % 3 == 0) {
      std::swap(handles[random() % handles.size()], handles.back());
      pool_->Free(handles.back());
      handles.pop_back();
    }
  }
  uint64_t used = 0;
  PageCount pages = 0;
  for (unsigned i = 0; i < pool_->class_count(); ++i) {
    const ZsmallocClassStats stats = pool_->ClassStats(i);
    uint64_t zspages = 0;
    for (const uint64_t n : stats.zspages) zspages += n;
    EXPECT_GE(stats.obj_allocated, stats.obj_used);
    EXPECT_EQ(stats.obj_allocated, zspages * geometry_.shape(i).objects);
    EXPECT_LE(stats.pages_used, zspages * stats.pages_per_zspage);
    EXPECT_LE(stats.freeable, zspages * stats.pages_per_zspage);
    EXPECT_EQ(stats.size, 32 + 16 * stats.index);
    used += stats.obj_used;
    pages += stats.pages_used;
  }
  EXPECT_EQ(used, handles.size());
  EXPECT_LE(pages, pool_->total_pages());
  EXPECT_GE(pages + 16 + pages / 64, pool_->total_pages());
  FreeAll(handles);
}

TEST_P(ZsmallocTest, HandlesFitInThirtyOneBits) {
  const std::vector<Handle> handles = AllocateMany(20'000, 64);
  for (const Handle handle : handles) {
    EXPECT_LT(static_cast<uint64_t>(handle), uint64_t{1} << 31);
  }
  // Eight bytes each, and descriptors; nothing else grows with the objects.
  EXPECT_LT(pool_->metadata_bytes(), 20'000u * 8 + 72 * 1024);
  FreeAll(handles);
}

// Sanitizers need more address space than the test leaves.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UZSWAP_SHADOW_MEMORY
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UZSWAP_SHADOW_MEMORY
#endif

#ifndef UZSWAP_SHADOW_MEMORY
TEST(Zsmalloc, AnAddressSpaceLimitMakesThePoolSmallerNotImpossible) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const rlimit limit{uint64_t{4} << 30, uint64_t{4} << 30};
    if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(2);
    const Result<Zsmalloc*> pool = NewZsmalloc(kZsmallocChain);
    if (!pool.ok()) _exit(3);
    for (int i = 0; i < 1000; ++i) {
      if (!pool.value()->Allocate(2000).ok()) _exit(4);
    }
    pool.value()->CheckInvariants();
    pool.value()->Destroy();
    const rlimit none{uint64_t{1} << 20, uint64_t{1} << 20};
    if (setrlimit(RLIMIT_AS, &none) != 0) _exit(5);
    _exit(NewZsmalloc(kZsmallocChain).error() == ENOMEM ? 0 : 6);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_TRUE(WIFEXITED(status));
}
#endif

INSTANTIATE_TEST_SUITE_P(Chain, ZsmallocTest, testing::Values(4, 8, 16, 64),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace uzswap
