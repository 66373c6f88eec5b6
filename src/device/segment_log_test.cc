// SPDX-License-Identifier: Apache-2.0
// What a log promises beyond device.h: how it writes, that it can be full and
// go on, threads, forks. What goes wrong: segment_fault_test.cc.
#include "device/segment_log.h"

#include <gtest/gtest.h>

#include <thread>

#include "device/segment_log_test_support.h"

namespace uzswap {
namespace {

INSTANTIATE_TEST_SUITE_P(All, SegmentLogTest,
                         testing::Values(Protection::kEncrypted,
                                         Protection::kChecksummed));

TEST_P(SegmentLogTest, ObjectsAreReadFromTheBufferBeforeTheyAreWritten) {
  Open(10);
  MustPut(0, 20);
  EXPECT_EQ(storage_->writes, 0u);
  ExpectAllRight();
  EXPECT_EQ(storage_->reads, 0u);
  EXPECT_EQ(log_->Stats().written_bytes, 0u);
}

TEST_P(SegmentLogTest, WritesAreLargeAndHardlyMoreThanTheObjects) {
  Open(1000);
  MustPut(0, 2000);
  const DeviceStats stats = log_->Stats();
  EXPECT_EQ(stats.written_bytes, storage_->ContentBytes());
  EXPECT_GE(stats.written_bytes / storage_->writes, kExtentBytes * 15 / 16);
  ByteCount content = 0;
  for (const auto& [seed, id] : kept_) content += ObjectOf(seed).size();
  EXPECT_LE(stats.live_bytes, content + kept_.size() * 16);
  EXPECT_LE(stats.written_bytes, stats.live_bytes);
  EXPECT_EQ(stats.garbage_bytes, 0u);
  ExpectAllRight();
}

TEST_P(SegmentLogTest, NoPlaintextLeavesUnlessAskedFor) {
  Open(100);
  const char secret[] = "a phrase that nobody may ever find";
  for (uint64_t i = 0; i < 500; ++i) {
    Bytes bytes = ObjectOf(i);
    memcpy(&bytes[i % 100], secret, sizeof(secret));
    kept_[i] = log_->Write(bytes).value();
  }
  unsigned found = 0;
  storage_->ForEach([&](const FaultyStorage::Bytes& bytes) {
    found +=
        memmem(bytes.data(), bytes.size(), secret, sizeof(secret)) != nullptr;
  });
  EXPECT_EQ(found > 0, GetParam() == Protection::kChecksummed);
}

TEST_P(SegmentLogTest, TheSameBytesNeverLookTheSameWhenEncrypted) {
  if (GetParam() != Protection::kEncrypted) return;
  Open(100);
  const Bytes bytes(1000, std::byte{'a'});
  for (uint64_t i = 0; i < 300; ++i) kept_[i] = log_->Write(bytes).value();
  std::map<std::string, unsigned> seen;
  storage_->ForEach([&](const FaultyStorage::Bytes& extent) {
    const auto* text = reinterpret_cast<const char*>(extent.data());
    for (size_t at = 0; at + 1016 <= extent.size(); at += 1016) {
      EXPECT_EQ(++seen[std::string(text + at, 32)], 1u);
    }
  });
  EXPECT_GT(seen.size(), 100u);
  for (const auto& [seed, id] : kept_) {
    Bytes read(1000);
    EXPECT_TRUE(log_->Read(id, read).ok());
    EXPECT_EQ(read, bytes);
  }
}

// ---- room

TEST_P(SegmentLogTest, AFullLogIsCleanedWithoutRoomOnTheStorage) {
  Open(16);
  uint64_t seed = 0;
  while (Put(seed).ok()) ++seed;
  EXPECT_EQ(storage_->used(), 16u);
  // Holes everywhere: no segment is empty.
  for (uint64_t i = 0; i < seed; i += 2) Drop(i);
  EXPECT_EQ(storage_->used(), 16u);
  // A quarter more than what is left can come in again.
  MustPut(100000, seed / 4);
  ExpectAllRight();
  EXPECT_LE(storage_->used(), 16u);
  EXPECT_GT(log_->Stats().cleaned_bytes, 0u);
  log_->CheckInvariants();
}

TEST_P(SegmentLogTest, ALogThatIsUsedToSevenEighthsGoesOnForEver) {
  Open(40);
  const uint64_t most = 40 * kPerSegment * 3 / 4;
  std::mt19937_64 random(1);
  std::vector<uint64_t> order;
  for (uint64_t seed = 0; seed < 30 * most; ++seed) {
    if (order.size() >= most) {
      const size_t i = random() % order.size();
      Drop(order[i]);
      order[i] = order.back();
      order.pop_back();
    }
    ASSERT_TRUE(Put(seed).ok()) << seed;
    order.push_back(seed);
    if (seed % 5000 == 0) log_->CheckInvariants();
  }
  ExpectAllRight();
  // What is written more than once stays within reason.
  const DeviceStats stats = log_->Stats();
  EXPECT_LT(stats.cleaned_bytes, 4 * stats.written_bytes / 5);
}

TEST_P(SegmentLogTest, HalfOfTheStorageAtMostIsHolesWhileThereIsRoom) {
  Open(100000);
  std::mt19937_64 random(1);
  std::vector<uint64_t> order;
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    if (order.size() >= 2000) {
      const size_t i = random() % order.size();
      Drop(order[i]);
      order[i] = order.back();
      order.pop_back();
    }
    MustPut(seed, 1);
    order.push_back(seed);
  }
  const DeviceStats stats = log_->Stats();
  EXPECT_LE(storage_->used() * kExtentBytes,
            2 * stats.live_bytes + 4 * kExtentBytes);
  ExpectAllRight();
}

TEST_P(SegmentLogTest, ASmallerFileSystemThanPromisedIsAFullLog) {
  Open(100);
  storage_->SetSize(5);
  uint64_t seed = 0;
  while (Put(seed).ok()) ++seed;
  EXPECT_GE(seed, 5 * (kPerSegment - 3));
  ExpectAllRight();
  for (uint64_t i = 0; i < seed; ++i) {
    if (i % 8 != 0) Drop(i);
  }
  MustPut(9000, 3 * kPerSegment);
  ExpectAllRight();
}

TEST_P(SegmentLogTest, ALoweredSizeLosesNothingAndIsReachedByFreeing) {
  Open(100);
  MustPut(0, 40 * kPerSegment);
  EXPECT_EQ(log_->size(), 100 * kExtentPages);
  log_->SetSize(20 * kExtentPages);
  EXPECT_EQ(log_->size(), 20 * kExtentPages);
  const uint64_t before = storage_->used();
  uint64_t seed = 10000;
  while (Put(seed).ok()) ++seed;
  EXPECT_LE(seed - 10000, 3 * kPerSegment);  // what fits in buffers
  EXPECT_EQ(Put(20000).error(), ENOSPC);
  EXPECT_EQ(storage_->used(), before);
  ExpectAllRight();
  // Two of three go, from everywhere: the cleaner gives extents back.
  for (uint64_t i = 0; i < 40 * kPerSegment; ++i) {
    if (i % 3 != 0) Drop(i);
  }
  EXPECT_GT(storage_->used(), 20u);
  for (unsigned i = 0; i < 20 && !Put(30000).ok(); ++i) {
  }
  EXPECT_LE(storage_->used(), 20u);
  MustPut(30001, 2 * kPerSegment);
  ExpectAllRight();
  EXPECT_LE(storage_->used(), 20u);
}

TEST_P(SegmentLogTest, ARaisedSizeIsRoomAtOnceButNoMoreThanTheStorageHas) {
  Open(60);
  log_->SetSize(10 * kExtentPages);
  uint64_t seed = 0;
  while (Put(seed).ok()) ++seed;
  EXPECT_EQ(storage_->used(), 10u);
  log_->SetSize(30 * kExtentPages);
  MustPut(10000, 15 * kPerSegment);
  log_->SetSize(1u << 30);
  EXPECT_EQ(log_->size(), 60 * kExtentPages);
  log_->SetSize(0);
  EXPECT_EQ(log_->size(), kExtentPages);
  ExpectAllRight();
}

TEST_P(SegmentLogTest, TheSizeCanChangeWhileOthersWrite) {
  Open(60);
  std::atomic<bool> done{false};
  std::thread changer([&] {
    for (PageCount extents = 1; !done; extents = extents * 7 % 61) {
      log_->SetSize(extents * kExtentPages);
    }
  });
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    const Status s = Put(seed);
    ASSERT_TRUE(s.ok() || s.error() == ENOSPC);
    if (kept_.size() > 1500) Drop(kept_.begin()->first);
  }
  done = true;
  changer.join();
  log_->CheckInvariants();
  ExpectAllRight();
}

// ---- at the same time

TEST_P(SegmentLogTest, OthersGoOnWhileASegmentIsWritten) {
  Open(100);
  static std::atomic<bool> writing;
  static std::atomic<bool> go_on;
  writing = go_on = false;
  storage_->during_write = [](void*) {
    writing = true;
    while (!go_on) std::this_thread::yield();
  };
  uint64_t seed = 0;
  std::thread writer([&] {
    while (!writing && seed < 1000) {
      if (!Put(seed++).ok()) break;
    }
  });
  while (!writing) std::this_thread::yield();
  // The segment that is being written is readable, and another takes objects.
  const Bytes bytes = ObjectOf(5000);
  const ObjectId id = log_->Write(bytes).value();
  Bytes read(bytes.size());
  EXPECT_TRUE(log_->Read(id, read).ok());
  EXPECT_EQ(read, bytes);
  EXPECT_EQ(Get(3), 0);
  log_->Free(id);
  go_on = true;
  writer.join();
  storage_->during_write = nullptr;
  ExpectAllRight();
}

TEST_P(SegmentLogTest, ThreadsThatFillFreeAndReadNeverMeetOthersBytes) {
  Open(60);
  storage_->delay_us = 20;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::map<uint64_t, ObjectId> mine;
      for (uint64_t i = 0; i < 3000; ++i) {
        const uint64_t seed = t * 100000 + i;
        const Result<ObjectId> id = log_->Write(ObjectOf(seed));
        if (id.ok()) mine[seed] = id.value();
        if (!id.ok() && id.error() != ENOSPC) ++wrong;
        while (mine.size() > 500 || (!id.ok() && mine.size() > 300)) {
          auto it = mine.lower_bound(t * 100000 + random() % (i + 1));
          if (it == mine.end()) it = mine.begin();
          Bytes bytes(ObjectOf(it->first).size());
          if (!log_->Read(it->second, bytes).ok() ||
              bytes != ObjectOf(it->first)) {
            ++wrong;
          }
          log_->Free(it->second);
          mine.erase(it);
        }
      }
      for (const auto& [seed, id] : mine) log_->Free(id);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// ---- fork

template <typename Body>
bool InChild(Device* log, Body body) {
  log->PrepareFork();
  const pid_t child = fork();
  if (child == 0) {
    const Status s = log->ChildAfterFork();
    _exit(body(s) ? 0 : 1);
  }
  log->ParentAfterFork();
  return Succeeded(child);
}

TEST_P(SegmentLogTest, AChildWithoutRoomReadsEverythingAndWritesNothing) {
  Open(100);
  MustPut(0, 4 * kPerSegment + 20);
  storage_->child_has_no_room = true;
  EXPECT_TRUE(InChild(log_, [&](Status s) {
    if (s.ok() || Put(9999).error() != ENOSPC) return false;
    if (GetAll()[0] != kept_.size()) return false;
    while (!kept_.empty()) Drop(kept_.begin()->first);
    log_->CheckInvariants();
    return true;
  }));
  MustPut(5000, 3 * kPerSegment);
  ExpectAllRight();
}

// Parent and child both go on from the same half-filled buffer. If they sealed
// with the same key and nonce, the difference of what they write would be the
// difference of what they were given.
TEST_P(SegmentLogTest, AfterForkNoNonceIsUsedTwice) {
  if (GetParam() != Protection::kEncrypted) return;
  Open(100);
  MustPut(0, 20);  // in the buffer
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const Bytes zeros(4000, std::byte{0});
  const auto fill = [&] {
    for (uint64_t i = 0; i < 40; ++i) {
      kept_[7000 + i] = log_->Write(zeros).value();
    }
    Bytes first;
    storage_->ForEach([&](Bytes& bytes) {
      if (first.empty()) first = bytes;
    });
    return first;
  };
  EXPECT_TRUE(InChild(log_, [&](Status s) {
    const Bytes mine = fill();
    return s.ok() && write(pipes[1], &mine[kExtentBytes / 2], 64) == 64;
  }));
  const Bytes ours = fill();
  std::array<std::byte, 64> theirs;
  ASSERT_EQ(read(pipes[0], theirs.data(), 64), 64);
  EXPECT_NE(memcmp(&ours[kExtentBytes / 2], theirs.data(), 64), 0);
  close(pipes[0]);
  close(pipes[1]);
  for (uint64_t i = 0; i < 40; ++i) {
    log_->Free(kept_.at(7000 + i));
    kept_.erase(7000 + i);
  }
  ExpectAllRight();
}

}  // namespace
}  // namespace uzswap
