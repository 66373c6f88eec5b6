// SPDX-License-Identifier: Apache-2.0
// What a log does with everything that a storage can do to it. Each fault is
// tried with and without encryption.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "device/segment_log_test_support.h"

namespace uzswap {
namespace {

using SegmentFault = SegmentLogTest;
INSTANTIATE_TEST_SUITE_P(All, SegmentFault,
                         testing::Values(Protection::kEncrypted,
                                         Protection::kChecksummed));

// ---- writes that fail

class FailedWrites : public SegmentLogTest {
 protected:
  // With the storage broken, everything that was taken stays readable, an error
  // comes soon, and when it is whole again nothing has been lost.
  void BreakAndHeal(int error, const std::function<void(bool)>& set_broken) {
    Open(100);
    MustPut(0, 3 * kPerSegment);
    const uint64_t written = storage_->writes;
    set_broken(true);
    uint64_t seed = 1000;
    Status s = kOk;
    while (s.ok() && seed < 2000) s = Put(seed++);
    EXPECT_EQ(s.error(), error);
    // Only what fits in two buffers was taken.
    EXPECT_LE(seed - 1000, 3 * kPerSegment);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(Put(3000).error(), error);
    EXPECT_EQ(storage_->writes, written);
    log_->CheckInvariants();
    for (uint64_t i = 1000; i + 1 < seed; ++i) EXPECT_EQ(Get(i), 0) << i;
    set_broken(false);
    MustPut(4000, 4 * kPerSegment);
    EXPECT_GT(storage_->writes, written);
    ExpectAllRight();
  }
};
INSTANTIATE_TEST_SUITE_P(All, FailedWrites,
                         testing::Values(Protection::kEncrypted,
                                         Protection::kChecksummed));

TEST_P(FailedWrites, AnErrorLosesNothing) {
  BreakAndHeal(EIO, [&](bool on) { storage_->write_error = on ? EIO : 0; });
}
TEST_P(FailedWrites, AFullFileSystemLosesNothing) {
  BreakAndHeal(ENOSPC,
               [&](bool on) { storage_->write_error = on ? ENOSPC : 0; });
}
TEST_P(FailedWrites, AShortWriteLosesNothing) {
  BreakAndHeal(EIO, [&](bool on) { storage_->short_error = on ? EIO : 0; });
}

TEST_P(FailedWrites, AVanishedDeviceKeepsWhatIsInMemoryAndSaysEioForTheRest) {
  Open(100);
  MustPut(0, 5 * kPerSegment);
  storage_->vanished = true;
  uint64_t seed = 1000;
  Status s = kOk;
  while (s.ok() && seed < 2000) s = Put(seed++);
  EXPECT_EQ(s.error(), EIO);
  const std::map<int, unsigned> results = GetAll();
  EXPECT_EQ(results.size(), 2u);
  EXPECT_GT(results.at(EIO), 4 * kPerSegment - 20);
  EXPECT_GT(results.at(0), kPerSegment - 10);
  for (uint64_t i = 1000; i + 1 < seed; ++i) EXPECT_EQ(Get(i), 0) << i;
  log_->CheckInvariants();
}

// ---- reads that fail

TEST_P(SegmentFault, AReadErrorIsReportedAndPassesWithTheStorages) {
  Open(100);
  MustPut(0, 3 * kPerSegment);
  storage_->read_error = EIO;
  EXPECT_EQ(Get(0), EIO);
  EXPECT_EQ(log_->Stats().corrupt_reads, 0u);
  storage_->read_error = 0;
  ExpectAllRight();
}

class WrongBytes : public SegmentLogTest {
 protected:
  // Fills, spoils, and expects that what was spoilt, and nothing else, is
  // recognised: at least `least` objects, and none with other bytes.
  void Spoil(const std::function<void(std::vector<Bytes*>&)>& spoil,
             unsigned least, unsigned most) {
    Open(100);
    MustPut(0, 6 * kPerSegment);
    std::vector<Bytes*> extents;
    storage_->ForEach([&](Bytes& bytes) { extents.push_back(&bytes); });
    ASSERT_GE(extents.size(), 4u);
    spoil(extents);
    std::map<int, unsigned> results = GetAll();
    EXPECT_EQ(results[-1], 0u);
    EXPECT_EQ(results[EIO], 0u);
    EXPECT_GE(results[EBADMSG], least);
    EXPECT_LE(results[EBADMSG], most);
    EXPECT_EQ(results[0] + results[EBADMSG], kept_.size());
    EXPECT_EQ(log_->Stats().corrupt_reads, results[EBADMSG]);
  }
};
INSTANTIATE_TEST_SUITE_P(All, WrongBytes,
                         testing::Values(Protection::kEncrypted,
                                         Protection::kChecksummed));

TEST_P(WrongBytes, AFlippedBitSpoilsOneObject) {
  Spoil([](auto& extents) { (*extents[1])[3000] ^= std::byte{4}; }, 1, 1);
}
TEST_P(WrongBytes, AFlippedBitInATagSpoilsOneObject) {
  Spoil(
      [](auto& extents) {
        (*extents[2])[ObjectOf(0).size() / 2] ^= std::byte{128};
      },
      1, 1);
}
TEST_P(WrongBytes, ATornSectorOfZerosIsRecognised) {
  Spoil([](auto& extents) { memset(&(*extents[1])[512 * 20], 0, 512); }, 1, 3);
}
TEST_P(WrongBytes, ATornSectorOfOlderBytesIsRecognised) {
  // What the extent held before: another segment's bytes at the same place.
  Spoil(
      [](auto& extents) {
        memcpy(&(*extents[1])[512 * 20], &(*extents[2])[512 * 20], 512);
      },
      1, 3);
}
TEST_P(WrongBytes, SwappedSectorsAreRecognised) {
  Spoil(
      [](auto& extents) {
        std::swap_ranges(extents[0]->begin() + 4096, extents[0]->begin() + 4608,
                         extents[0]->begin() + 8192);
      },
      2, 6);
}
TEST_P(WrongBytes, SwappedExtentsAreRecognised) {
  Spoil(
      [](auto& extents) {
        const size_t bytes = std::min(extents[0]->size(), extents[1]->size());
        extents[0]->resize(bytes);
        std::swap_ranges(extents[0]->begin(), extents[0]->end(),
                         extents[1]->begin());
        extents[0]->resize(kExtentBytes);
      },
      2 * (kPerSegment - 10), 2 * (kPerSegment + 10));
}

// The cleaner does not carry wrong bytes on under a new tag.
TEST_P(SegmentFault, TheCleanerLeavesWrongBytesRecognisable) {
  Open(20);
  MustPut(0, 18 * kPerSegment);
  storage_->ForEach([](Bytes& bytes) { bytes[100] ^= std::byte{1}; });
  // Of each segment a part goes, so that all of them are cleaned.
  for (uint64_t i = 0; i < 18 * kPerSegment; ++i) {
    if (i % kPerSegment >= 10 && i % 3 != 0) Drop(i);
  }
  std::map<int, unsigned> before = GetAll();
  EXPECT_GE(before[EBADMSG], 5u);
  for (uint64_t seed = 5000; seed < 5000 + 6 * kPerSegment; ++seed) {
    if (!Put(seed).ok()) break;
  }
  log_->CheckInvariants();
  std::map<int, unsigned> after = GetAll();
  EXPECT_EQ(after[-1], 0u);
  EXPECT_EQ(after[EBADMSG], before[EBADMSG]);
}

// ---- the cleaner's

TEST_P(SegmentFault, OneUnreadableSegmentDoesNotStopTheCleaner) {
  Open(16);
  uint64_t count = 0;
  while (Put(count).ok()) ++count;
  // Three of four go; of the first segment a few more, so it is the cheapest.
  uint64_t freed = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (i % 4 == 3 && (i >= 40 || i <= 4)) continue;
    Drop(i);
    ++freed;
  }
  storage_->bad_extent = 0;
  MustPut(5000, freed / 2);
  EXPECT_GT(storage_->failures, 0u);
  EXPECT_LE(storage_->failures, 2u) << "tried again and again";
  storage_->bad_extent = -1;
  ExpectAllRight();
}

TEST_P(SegmentFault, AWriterDoesNotSpinForAReaderOfTheSegmentThatWasCleaned) {
  Open(16);
  uint64_t count = 0;
  while (Put(count).ok()) ++count;
  for (uint64_t i = 0; i < 45; ++i) {
    if (i != 10) Drop(i);
  }
  std::atomic<bool> reading{false};
  std::atomic<bool> go_on{false};
  const std::thread::id writer = std::this_thread::get_id();
  storage_->during_read = [&] {
    if (std::this_thread::get_id() == writer) return;
    reading = true;
    while (!go_on) std::this_thread::yield();
  };
  std::thread reader([&] { EXPECT_EQ(Get(10), 0); });
  while (!reading) std::this_thread::yield();
  const uint64_t before = storage_->refused;
  // Room comes with the reader's end; until then it is an error, and soon.
  const Status s = Put(9000);
  EXPECT_TRUE(s.ok() || s.error() == ENOSPC);
  EXPECT_LT(storage_->refused - before, 100u);
  go_on = true;
  reader.join();
  storage_->during_read = nullptr;
  MustPut(9001, 5);
  ExpectAllRight();
}

}  // namespace
}  // namespace uzswap
