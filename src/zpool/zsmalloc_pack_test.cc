// SPDX-License-Identifier: Apache-2.0
// What compaction of a zsmalloc pool leaves: full zspages, one packed zspage
// in each class, nothing kept for reuse.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "zpool/zsmalloc.h"

namespace uzswap {
namespace {

class ZsmallocPackTest : public testing::TestWithParam<unsigned> {
 protected:
  struct Object {
    Handle handle;
    ByteCount bytes;
    uint32_t seed;
  };

  void SetUp() override { pool_ = NewZsmalloc(GetParam()).value(); }
  void TearDown() override {
    pool_->CheckInvariants();
    pool_->Destroy();
  }

  static std::vector<std::byte> Pattern(const Object& object) {
    std::vector<std::byte> bytes(object.bytes);
    std::mt19937 random(object.seed);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    return bytes;
  }
  void Add(ByteCount bytes) {
    objects_.push_back({pool_->Allocate(bytes).value(), bytes, next_seed_++});
    pool_->Write(objects_.back().handle, Pattern(objects_.back()));
  }
  void Remove(size_t i) {
    std::swap(objects_[i], objects_.back());
    pool_->Free(objects_.back().handle);
    objects_.pop_back();
  }
  void RemoveHalf() {
    for (size_t n = objects_.size() / 2; n > 0; --n) {
      Remove(random_() % objects_.size());
    }
  }
  // A step that only moves objects gives nothing back.
  void CompactAll(unsigned step) {
    for (int idle = 0; idle < 100; ++idle) {
      if (pool_->Compact(step) > 0) idle = 0;
    }
  }
  const std::byte* Open(const Object& object) {
    return pool_->ReadBegin(object.handle, object.bytes, MutablePage(scratch_))
        .data();
  }
  void ExpectIntact() {
    for (const Object& object : objects_) {
      const std::vector<std::byte> wanted = Pattern(object);
      EXPECT_EQ(memcmp(Open(object), wanted.data(), wanted.size()), 0);
      pool_->ReadEnd(object.handle);
    }
  }
  // Frames of so many objects in as few zspages as possible, the last of which
  // has none behind its objects.
  static PageCount Fewest(const ZsmallocShape& shape, uint64_t objects) {
    const uint64_t rest = objects % shape.objects;
    return objects / shape.objects * shape.pages +
           PageCeil(rest * shape.size) / kPageSize;
  }

  // Holes that do not make up a zspage may be in several; each of them costs at
  // most a part of a frame.
  void ExpectPacked(unsigned c, PageCount growth = 0) {
    const ZsmallocClassStats stats = pool_->ClassStats(c);
    uint64_t partly_filled = 0;
    for (unsigned group = 0; group < kGroupFull; ++group) {
      partly_filled += stats.zspages[group];
    }
    const PageCount fewest = Fewest(geometry_.shape(c), stats.obj_used);
    EXPECT_LE(stats.pages_used,
              fewest + std::max<uint64_t>(partly_filled, 1) - 1 + growth)
        << "class of " << stats.size;
  }

  const ZsmallocGeometry geometry_{GetParam()};
  Zsmalloc* pool_ = nullptr;
  std::vector<Object> objects_;
  std::mt19937 random_{1};
  uint32_t next_seed_ = 1;
  std::byte scratch_[kPageSize];
};

TEST_P(ZsmallocPackTest, NoFrameIsLeftBehindTheLastObjectOfAClass) {
  for (const ByteCount bytes : {28u, 60u, 500u, 1300u, 2500u, 3400u}) {
    const unsigned c = geometry_.ClassOf(bytes + 4);
    for (int i = 0; i < 1000; ++i) Add(bytes);
    RemoveHalf();
    CompactAll(1000);
    ExpectPacked(c);
    EXPECT_EQ(pool_->total_pages(),
              pool_->ClassStats(c).pages_used + pool_->kept_pages());
    pool_->CheckInvariants();
    ExpectIntact();
    while (!objects_.empty()) Remove(objects_.size() - 1);
  }
}

TEST_P(ZsmallocPackTest, OfMixedSizesOnlyThePackedZspagesAreNotFull) {
  for (int i = 0; i < 5000; ++i) Add(1 + random_() % kPageSize);
  RemoveHalf();
  CompactAll(1000);
  // One without holes may have got frames for what comes.
  for (unsigned i = 0; i < pool_->class_count(); ++i) {
    ExpectPacked(i, pool_->ClassStats(i).pages_used / 8);
  }
  ExpectIntact();
}

TEST_P(ZsmallocPackTest, SmallStepsComeToTheSameEnd) {
  for (int i = 0; i < 300; ++i) Add(700);
  RemoveHalf();
  for (int i = 0; i < 1000; ++i) pool_->Compact(64);
  ExpectPacked(geometry_.ClassOf(700 + 4));
  ExpectIntact();
}

TEST_P(ZsmallocPackTest, AnObjectInUseStaysWithItsFrame) {
  const unsigned c = geometry_.ClassOf(2500 + 4);
  const ZsmallocShape& shape = geometry_.shape(c);
  for (unsigned i = 0; i < shape.objects; ++i) Add(2500);
  const Object last = objects_.back();
  const std::byte* const where = Open(last);
  while (objects_.size() > 2) Remove(objects_.size() - 2);  // not the last
  ASSERT_EQ(objects_[1].handle, last.handle);
  CompactAll(1000);
  EXPECT_EQ(Open(last), where);
  pool_->ReadEnd(last.handle);
  pool_->ReadEnd(last.handle);
  CompactAll(1000);
  EXPECT_EQ(pool_->total_pages(), Fewest(shape, 2) + pool_->kept_pages());
  ExpectIntact();
}

TEST_P(ZsmallocPackTest, APackedZspageGrowsAgain) {
  for (int i = 0; i < 400; ++i) Add(900);
  for (int round = 0; round < 20; ++round) {
    RemoveHalf();
    CompactAll(1 + static_cast<unsigned>(random_() % 50));
    while (objects_.size() < 400) Add(900);
    pool_->CheckInvariants();
  }
  ExpectIntact();
}

TEST_P(ZsmallocPackTest, WhatIsKeptForReuseGoes) {
  for (int i = 0; i < 500; ++i) Add(2000);
  while (!objects_.empty()) Remove(objects_.size() - 1);
  const PageCount kept = pool_->total_pages();
  EXPECT_EQ(pool_->Compact(1), kept > 8 ? kept : 0);  // worth a call
  EXPECT_EQ(pool_->total_pages(), 0u);
}

TEST_P(ZsmallocPackTest, WhatOnlyGrewIsLeftAlone) {
  for (int i = 0; i < 3000; ++i) Add(1 + random_() % kPageSize);
  const PageCount pages = pool_->total_pages();
  EXPECT_EQ(pool_->Compact(1000), 0u);
  EXPECT_EQ(pool_->total_pages(), pages);
}

INSTANTIATE_TEST_SUITE_P(Chain, ZsmallocPackTest, testing::Values(4, 8, 16, 64),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace uzswap
