// SPDX-License-Identifier: Apache-2.0
// Everything that a storage can do, met by everything that a log does: each
// cell of the table in docs/backing.md is one test here. Whatever happens, no
// read ever returns other bytes than were written, what was taken stays as long
// as the storage gives it back, and when the fault has passed all goes on.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "device/segment_log_test_support.h"

namespace uzswap {
namespace {

enum class Fault {
  kShortWrite,
  kEio,
  kNoSpace,
  kLatency,
  kTornSector,
  kWrongSector,
  kVanished,
};
enum class Operation { kWrite, kRead, kClean };
struct Cell {
  Fault fault;
  Operation operation;
};

constexpr const char* kFaults[] = {"ShortWrite", "Eio",        "NoSpace",
                                   "Latency",    "TornSector", "WrongSector",
                                   "Vanished"};
constexpr const char* kOperations[] = {"Write", "Read", "Clean"};
constexpr auto kSoon = std::chrono::milliseconds(400);

class Matrix : public testing::TestWithParam<Cell> {
 protected:
  void SetUp() override {
    storage_ = std::make_unique<FaultyStorage>(kExtents);
    log_ = NewSegmentLog(storage_.get(), Protection::kEncrypted).value();
  }
  void TearDown() override {
    Break(false);
    log_->CheckInvariants();
    for (const auto& [seed, id] : kept_) log_->Free(id);
    log_->CheckInvariants();
    EXPECT_EQ(storage_->used(), 0u);
    log_->Destroy();
  }

  static Fault fault() { return GetParam().fault; }
  static bool OnTheMedium() {
    return fault() == Fault::kTornSector || fault() == Fault::kWrongSector;
  }

  // Sectors go bad as they are written, or where they lie.
  void Break(bool on) {
    storage_->short_error = on && fault() == Fault::kShortWrite ? EIO : 0;
    storage_->write_error = !on                          ? 0
                            : fault() == Fault::kEio     ? EIO
                            : fault() == Fault::kNoSpace ? ENOSPC
                                                         : 0;
    storage_->read_error = on && fault() == Fault::kEio ? EIO : 0;
    // Of an operation of the log, which takes several of the storage's.
    const bool cleans = GetParam().operation == Operation::kClean;
    storage_->delay_us =
        on && fault() == Fault::kLatency ? (cleans ? 500000 : 1000000) : 0;
    storage_->vanished = on && fault() == Fault::kVanished;
    storage_->torn_writes = on && fault() == Fault::kTornSector;
    storage_->wrong_writes = on && fault() == Fault::kWrongSector;
  }
  // Of every second segment.
  void SpoilTheMedium() {
    bool spoil = false;
    storage_->ForEach([&](Bytes& bytes) {
      spoil = !spoil;
      if (!spoil) return;
      const auto at = bytes.begin() + static_cast<ptrdiff_t>(bytes.size() / 2);
      if (fault() == Fault::kTornSector) std::fill(at, at + 512, std::byte{0});
      if (fault() == Fault::kWrongSector) at[7] ^= std::byte{16};
    });
  }

  Status Put(uint64_t seed) {
    const Result<ObjectId> id = log_->Write(ObjectOf(seed));
    if (id.ok()) kept_[seed] = id.value();
    return id.status();
  }
  void MustPut(uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; ++i) ASSERT_TRUE(Put(i).ok());
  }
  // Until it is refused, or `most`.
  Status PutSome(uint64_t first, uint64_t most) {
    for (uint64_t i = first; i < first + most; ++i) {
      if (const Status s = Put(i); !s.ok()) return s;
    }
    return kOk;
  }
  int Get(uint64_t seed) {
    const Bytes expected = ObjectOf(seed);
    Bytes bytes(expected.size());
    const Status s = log_->Read(kept_.at(seed), bytes);
    if (!s.ok()) return s.error();
    return bytes == expected ? 0 : -1;
  }
  std::map<int, unsigned> GetAll() {
    std::map<int, unsigned> results;
    for (const auto& [seed, id] : kept_) ++results[Get(seed)];
    EXPECT_EQ(results[-1], 0u) << "other bytes";
    return results;
  }
  // Nothing is lost, but for what lies in bad sectors, and that is known.
  void ExpectAllBack() {
    Break(false);
    std::map<int, unsigned> results = GetAll();
    EXPECT_EQ(results[0] + results[EBADMSG], kept_.size());
    EXPECT_EQ(results[EBADMSG] > 0, OnTheMedium());
    EXPECT_EQ(log_->Stats().corrupt_reads > 0, OnTheMedium());
    EXPECT_LE(results[EBADMSG], 3 * kExtents);
  }
  // While the storage takes its time, others do what needs no storage.
  void ExpectOthersGoOn(const std::function<void()>& slow) {
    const uint64_t near = kept_.rbegin()->first;  // still in a buffer
    const ObjectId id = kept_.rbegin()->second;
    Bytes bytes(ObjectOf(near).size());
    std::thread thread(slow);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(log_->Read(id, bytes).ok());
    EXPECT_LE(std::chrono::steady_clock::now() - begin, kSoon);
    EXPECT_EQ(bytes, ObjectOf(near));
    thread.join();
    ExpectAllBack();
  }
  void FillWithHoles() {
    MustPut(0, 17 * kPerSegment);
    for (uint64_t i = 0; i < 16 * kPerSegment; ++i) {
      if (i % 3 == 0) continue;
      log_->Free(kept_.at(i));
      kept_.erase(i);
    }
  }
  int Refusal() const { return fault() == Fault::kNoSpace ? ENOSPC : EIO; }

  static constexpr uint64_t kExtents = 20;
  std::unique_ptr<FaultyStorage> storage_;
  Device* log_ = nullptr;
  std::map<uint64_t, ObjectId> kept_;
};

class WhileWriting : public Matrix {};
class WhileReading : public Matrix {};
class WhileCleaning : public Matrix {};

TEST_P(WhileWriting, NothingIsLost) {
  MustPut(0, 2 * kPerSegment);
  Break(true);
  if (fault() == Fault::kLatency) {
    const uint64_t writes = storage_->writes;
    ExpectOthersGoOn([&] {
      for (uint64_t i = 1000; storage_->writes == writes; ++i) {
        EXPECT_TRUE(Put(i).ok());
      }
    });
  } else {
    const Status s = PutSome(1000, 8 * kPerSegment);
    if (OnTheMedium()) {
      EXPECT_TRUE(s.ok());
    } else {
      EXPECT_EQ(s.error(), Refusal());
      EXPECT_EQ(PutSome(3000, 3).error(), Refusal());
      EXPECT_GT(storage_->failures, 0u);
      if (fault() != Fault::kVanished && fault() != Fault::kEio) {
        EXPECT_EQ(GetAll()[0], kept_.size());
      }
    }
    log_->CheckInvariants();
    ExpectAllBack();
    MustPut(5000, 4 * kPerSegment);
    ExpectAllBack();
  }
}

TEST_P(WhileReading, OnlyThatAccessFails) {
  MustPut(0, 8 * kPerSegment);
  if (OnTheMedium()) SpoilTheMedium();
  Break(true);
  if (fault() == Fault::kLatency) {
    ExpectOthersGoOn([&] { EXPECT_EQ(Get(0), 0); });
    return;
  }
  if (fault() == Fault::kShortWrite || fault() == Fault::kNoSpace) {
    EXPECT_EQ(PutSome(9000, 4 * kPerSegment).error(), Refusal());
  }
  std::map<int, unsigned> results = GetAll();
  const bool fails = fault() == Fault::kEio || fault() == Fault::kVanished;
  EXPECT_EQ(results[EIO] > 0, fails);
  EXPECT_EQ(results[EBADMSG] > 0, OnTheMedium());
  EXPECT_GT(results[0], 10u);  // in buffers, or in sound sectors
  log_->CheckInvariants();
  ExpectAllBack();
}

// The storage fails between what the cleaner reads and what it writes.
TEST_P(WhileCleaning, WhatItHasReadIsNotLost) {
  if (fault() == Fault::kLatency) return;  // as below
  FillWithHoles();
  storage_->during_read = [this] { Break(true); };
  const Status s = PutSome(9000, 20 * kPerSegment);
  storage_->during_read = nullptr;
  if (!OnTheMedium()) {
    EXPECT_EQ(s.error(), Refusal());
  }
  EXPECT_GT(log_->Stats().cleaned_bytes, 0u);
  log_->CheckInvariants();
  ExpectAllBack();
  if (OnTheMedium()) return;  // it is full of what cannot be cleaned
  MustPut(40000, kPerSegment);
  ExpectAllBack();
}

TEST_P(WhileCleaning, NothingIsLostAndItGoesOnAfterwards) {
  FillWithHoles();
  if (OnTheMedium()) SpoilTheMedium();
  Break(true);
  if (fault() == Fault::kLatency) {
    ExpectOthersGoOn([&] {
      const uint64_t before = log_->Stats().cleaned_bytes;
      for (uint64_t i = 9000; log_->Stats().cleaned_bytes == before; ++i) {
        EXPECT_TRUE(Put(i).ok());
      }
    });
    return;
  }
  const Status s = PutSome(9000, 8 * kPerSegment);
  if (OnTheMedium()) {
    EXPECT_TRUE(s.ok());
  } else {
    EXPECT_EQ(s.error(), Refusal());
  }
  log_->CheckInvariants();
  ExpectAllBack();
  MustPut(20000, 3 * kPerSegment);
  EXPECT_GT(log_->Stats().cleaned_bytes, 0u);
  log_->CheckInvariants();
  ExpectAllBack();
}

std::string NameOf(const testing::TestParamInfo<Cell>& info) {
  return kFaults[static_cast<int>(info.param.fault)];
}

std::vector<Cell> Cells(Operation operation) {
  std::vector<Cell> cells;
  for (int f = 0; f <= static_cast<int>(Fault::kVanished); ++f) {
    cells.push_back({static_cast<Fault>(f), operation});
  }
  return cells;
}

INSTANTIATE_TEST_SUITE_P(Fault, WhileWriting,
                         testing::ValuesIn(Cells(Operation::kWrite)), NameOf);
INSTANTIATE_TEST_SUITE_P(Fault, WhileReading,
                         testing::ValuesIn(Cells(Operation::kRead)), NameOf);
INSTANTIATE_TEST_SUITE_P(Fault, WhileCleaning,
                         testing::ValuesIn(Cells(Operation::kClean)), NameOf);

}  // namespace
}  // namespace uzswap
