// SPDX-License-Identifier: Apache-2.0
// How a log reads: what lies together is read together, and that it was never
// makes a difference to what is returned.
#include <gtest/gtest.h>

#include <thread>

#include "device/segment_log_test_support.h"

namespace uzswap {
namespace {

using SegmentRead = SegmentLogTest;
INSTANTIATE_TEST_SUITE_P(All, SegmentRead,
                         testing::Values(Protection::kEncrypted,
                                         Protection::kChecksummed));

constexpr uint64_t kSegments = 40;

TEST_P(SegmentRead, ObjectsInOrderAreReadBySegments) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  ExpectAllRight();
  EXPECT_LE(storage_->reads, storage_->used() + 8);
  EXPECT_EQ(log_->Stats().reads, storage_->reads);
  // An object at the end of a part is read twice.
  EXPECT_LE(log_->Stats().read_bytes, log_->Stats().written_bytes * 51 / 50);
}

TEST_P(SegmentRead, BatchesDownwardsAreReadInLargePartsToo) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  constexpr uint64_t kBatch = 32;
  for (uint64_t end = kSegments * kPerSegment; end >= kBatch; end -= kBatch) {
    for (uint64_t i = end - kBatch; i < end; ++i) ASSERT_EQ(Get(i), 0) << i;
  }
  EXPECT_LE(storage_->reads, 4 * storage_->used());
}

TEST_P(SegmentRead, SeveralSequencesAtATimeAreAllFollowed) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  constexpr uint64_t kSequences = 5;
  constexpr uint64_t kEach = kSegments / kSequences * kPerSegment;
  for (uint64_t i = 0; i < kEach; ++i) {
    for (uint64_t s = 0; s < kSequences; ++s) {
      ASSERT_EQ(Get(s * kEach + i), 0);
    }
  }
  EXPECT_LE(storage_->reads, 2 * storage_->used());
}

TEST_P(SegmentRead, ObjectsAtRandomAreReadAlone) {
  Open(400);
  MustPut(0, 300 * kPerSegment);
  const ByteCount before = log_->metadata_bytes();
  std::mt19937_64 random(1);
  ByteCount wanted = 0;
  for (int i = 0; i < 3000; ++i) {
    const uint64_t seed = random() % (300 * kPerSegment);
    wanted += ObjectOf(seed).size();
    ASSERT_EQ(Get(seed), 0);
  }
  EXPECT_LE(log_->Stats().read_bytes, wanted * 5 / 4);
  EXPECT_LE(log_->metadata_bytes(), before + 4 * kExtentBytes);
}

TEST_P(SegmentRead, BuffersAreBoundedAndCounted) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  const ByteCount before = log_->metadata_bytes();
  ExpectAllRight();
  EXPECT_GE(log_->metadata_bytes(), before + kExtentBytes);
  EXPECT_LE(log_->metadata_bytes(),
            before + ReadAhead::kStreams * kExtentBytes);
}

// The extents of what was read ahead take other segments; a part that is still
// held must never be taken for theirs.
TEST_P(SegmentRead, APartThatIsHeldIsNotTakenForWhatIsWrittenThereLater) {
  Open(12);
  for (uint64_t round = 0; round < 30; ++round) {
    const uint64_t first = round * 100000;
    MustPut(first, 8 * kPerSegment);
    for (uint64_t i = 0; i < 4 * kPerSegment; ++i) {
      ASSERT_EQ(Get(first + i), 0) << round;
    }
    // All but a few, which the cleaner moves.
    while (kept_.size() > 20) Drop(kept_.begin()->first);
    ExpectAllRight();
  }
  EXPECT_EQ(log_->Stats().corrupt_reads, 0u);
}

TEST_P(SegmentRead, ABadSectorInAPartCostsOnlyTheObjectsThatLieThere) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  storage_->bad_sector_from = 30 << 10;
  storage_->bad_sector_to = (30 << 10) + 512;
  const std::map<int, unsigned> results = GetAll();
  EXPECT_EQ(results.size(), 2u);
  EXPECT_GE(results.at(EIO), storage_->used() - 2);
  EXPECT_LE(results.at(EIO), 2 * storage_->used());
  storage_->bad_sector_to = 0;
  ExpectAllRight();
}

TEST_P(SegmentRead, BytesThatWereWrongOnceAreReadAgain) {
  Open(100);
  MustPut(0, kSegments * kPerSegment);
  for (uint64_t i = 0; i < 6 * kPerSegment; ++i) ASSERT_EQ(Get(i), 0);
  // The next part is wrong on its way; not what lies there.
  while (storage_->wrong_reads == 0) storage_->wrong_reads = 1;
  for (uint64_t i = 6 * kPerSegment; i < kSegments * kPerSegment; ++i) {
    ASSERT_EQ(Get(i), 0) << i;
  }
  EXPECT_EQ(storage_->wrong_reads, 0u);
  EXPECT_EQ(log_->Stats().corrupt_reads, 0u);
}

TEST_P(SegmentRead, AStorageThatWantsAlignmentGetsIt) {
  Open(60, 4096);  // it dies of anything else
  MustPut(0, 40 * kPerSegment);
  ExpectAllRight();
  std::mt19937_64 random(1);
  for (uint64_t seed = 10000; seed < 20000; ++seed) {
    ASSERT_EQ(Get(kept_.lower_bound(random() % kept_.rbegin()->first)->first),
              0);
    while (kept_.size() > 1800)
      Drop(kept_.lower_bound(random() % kept_.rbegin()->first)->first);
    ASSERT_TRUE(Put(seed).ok());
  }
  EXPECT_GT(log_->Stats().cleaned_bytes, 0u);
  EXPECT_EQ(log_->Stats().written_bytes % 4096, 0u);
  ExpectAllRight();
}

TEST_P(SegmentRead, MoreReadersThanBuffersTakeTurns) {
  Open(60, 512);
  MustPut(0, 30 * kPerSegment);
  storage_->delay_us = 100;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 2 * ReadAhead::kStreams; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < 200; ++i) {
        if (Get(random() % (29 * kPerSegment)) != 0) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  log_->CheckInvariants();
}

// The object before and the one behind, of about that many bytes.
constexpr ReadAround kAround{.before = 3000, .after = 3000};

Bytes Held(Device* log, ObjectId id, uint64_t seed) {
  Bytes bytes(ObjectOf(seed).size());
  return log->ReadHeld(id, bytes).ok() ? bytes : Bytes{};
}

TEST_P(SegmentRead, WhatIsAroundAnObjectComesWithItAndIsHeld) {
  Open(100);
  MustPut(0, 10 * kPerSegment);
  constexpr uint64_t kSeed = 30;
  EXPECT_EQ(Held(log_, kept_.at(kSeed), kSeed), Bytes{});
  const uint64_t before = storage_->reads;
  ReadAround around = kAround;
  Bytes bytes(ObjectOf(kSeed).size());
  ASSERT_TRUE(log_->ReadWith(kept_.at(kSeed), bytes, around).ok());
  EXPECT_EQ(bytes, ObjectOf(kSeed));
  EXPECT_TRUE(around.from_storage && around.brought);
  for (const uint64_t seed : {kSeed - 1, kSeed, kSeed + 1}) {
    EXPECT_EQ(Held(log_, kept_.at(seed), seed), ObjectOf(seed));
  }
  EXPECT_EQ(storage_->reads - before, 1u);
  // Held is not asked for: no sequence is seen in that.
  ReadAround again = kAround;
  Bytes far(ObjectOf(300).size());
  ASSERT_TRUE(log_->ReadWith(kept_.at(300), far, again).ok());
  EXPECT_TRUE(again.brought);
  again = kAround;
  ASSERT_TRUE(log_->ReadWith(kept_.at(kSeed), bytes, again).ok());
  EXPECT_FALSE(again.from_storage || again.brought);
}

TEST_P(SegmentRead, WhatIsAroundIsClippedToTheSegment) {
  for (const size_t alignment : {size_t{1}, size_t{4096}}) {
    Open(100, alignment);
    MustPut(0, kSegments * kPerSegment);
    uint64_t count = 0;
    for (uint64_t seed = 20; seed < kSegments * kPerSegment;
         seed += 8 * kPerSegment + 2) {
      ReadAround around{.before = 1 << 20, .after = 1 << 20};
      Bytes bytes(ObjectOf(seed).size());
      ASSERT_TRUE(log_->ReadWith(kept_.at(seed), bytes, around).ok());
      EXPECT_EQ(bytes, ObjectOf(seed));
      // One of them at least lies in the same segment.
      EXPECT_TRUE(
          Held(log_, kept_.at(seed + 10), seed + 10) == ObjectOf(seed + 10) ||
          Held(log_, kept_.at(seed - 10), seed - 10) == ObjectOf(seed - 10));
      EXPECT_EQ(storage_->reads, ++count);
    }
    log_->CheckInvariants();
    for (const auto& [seed, id] : kept_) log_->Free(id);
    kept_.clear();
    log_->Destroy();
    log_ = nullptr;
  }
}

TEST_P(SegmentRead, ABadSectorAroundAnObjectIsNotTheObjects) {
  Open(100);
  MustPut(0, 10 * kPerSegment);
  storage_->bad_sector_from = 30 << 10;
  storage_->bad_sector_to = (30 << 10) + 512;
  unsigned failed = 0;
  for (uint64_t seed = 0; seed < kPerSegment; ++seed) {
    ReadAround around{.before = 1 << 20, .after = 1 << 20};
    Bytes bytes(ObjectOf(seed).size());
    const Status s = log_->ReadWith(kept_.at(seed), bytes, around);
    if (s.ok()) {
      EXPECT_EQ(bytes, ObjectOf(seed));
    }
    failed += !s.ok();
  }
  EXPECT_GE(failed, 1u);
  EXPECT_LE(failed, 2u);
}

TEST_P(SegmentRead, WhatIsHeldAndWrongIsNotGivenAndReadAgainWhenAskedFor) {
  Open(100);
  MustPut(0, 10 * kPerSegment);
  constexpr uint64_t kSeed = 30;
  storage_->wrong_reads = 1;
  ReadAround around{.before = 1 << 20, .after = 1 << 20};
  Bytes bytes(ObjectOf(kSeed).size());
  ASSERT_TRUE(log_->ReadWith(kept_.at(kSeed), bytes, around).ok());
  EXPECT_EQ(bytes, ObjectOf(kSeed));
  EXPECT_EQ(Held(log_, kept_.at(kSeed + 1), kSeed + 1), Bytes{});
  EXPECT_EQ(Get(kSeed + 1), 0);
  EXPECT_EQ(log_->Stats().corrupt_reads, 0u);
}

// What is not written yet lies in a buffer.
TEST_P(SegmentRead, ABufferHoldsWhatIsInIt) {
  Open(100);
  MustPut(0, 5);
  EXPECT_EQ(Held(log_, kept_.at(3), 3), ObjectOf(3));
  EXPECT_EQ(storage_->reads, 0u);
}

TEST_P(SegmentRead, TheCleanerReadsASegmentAtOnce) {
  Open(20);
  MustPut(0, 18 * kPerSegment);
  for (uint64_t i = 0; i < 18 * kPerSegment; ++i) {
    if (i % 2 == 0) Drop(i);
  }
  const uint64_t before = storage_->reads;
  MustPut(10000, 6 * kPerSegment);
  const uint64_t segments =
      log_->Stats().cleaned_bytes / (kExtentBytes / 2 - 4096) + 1;
  EXPECT_GT(log_->Stats().cleaned_bytes, kExtentBytes);
  EXPECT_LE(storage_->reads - before, segments + 2);
  ExpectAllRight();
}

}  // namespace
}  // namespace uzswap
