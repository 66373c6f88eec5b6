// SPDX-License-Identifier: Apache-2.0
// A storage in memory that does what disks do: fails, writes a part, returns
// other bytes than were written. Each process has its own after a fork, but
// writes nothing where it wrote before, as storage.h demands.
#ifndef UZSWAP_TESTS_SUPPORT_FAULTY_STORAGE_H_
#define UZSWAP_TESTS_SUPPORT_FAULTY_STORAGE_H_

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "device/storage.h"

namespace uzswap {

class FaultyStorage final : public Storage {
 public:
  using Bytes = std::vector<std::byte>;

  explicit FaultyStorage(uint64_t extents, size_t alignment = 1)
      : alignment_(alignment), size_(extents) {}

  // ---- what goes wrong; any time
  std::atomic<int> write_error{0};  // of each write, with nothing written
  std::atomic<int> short_error{0};  // of each write, with a half written
  // Writes that seem to succeed, and leave a sector of zeros, or a wrong bit.
  std::atomic<bool> torn_writes{false};
  std::atomic<bool> wrong_writes{false};
  std::atomic<int> read_error{0};
  std::atomic<int64_t> bad_extent{-1};  // reads of this one fail
  // Reads that touch these bytes of any extent fail.
  std::atomic<size_t> bad_sector_from{0};
  std::atomic<size_t> bad_sector_to{0};
  std::atomic<unsigned> wrong_reads{0};  // so many bring a bit or two flipped
  std::atomic<bool> vanished{false};     // everything fails from now on
  std::atomic<unsigned> delay_us{0};
  std::atomic<bool> child_has_no_room{false};

  std::atomic<uint64_t> writes{0};  // that succeeded
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> failures{0};
  std::atomic<uint64_t> refused{0};  // writes, for there was no room
  std::atomic<bool> destroyed{false};
  // Runs in each write, before anything is written; may be null.
  void (*during_write)(void* argument) = nullptr;
  void* during_write_argument = nullptr;
  // Runs in each read, before anything is read.
  std::function<void()> during_read;

  // Calls f with the bytes of each extent in use.
  template <typename F>
  void ForEach(F f) {
    const std::lock_guard lock(mutex_);
    for (auto& [number, bytes] : extents_) f(bytes);
  }
  uint64_t ContentBytes() {
    uint64_t sum = 0;
    ForEach([&](const Bytes& bytes) { sum += bytes.size(); });
    return sum;
  }
  void SetSize(uint64_t extents) { size_ = extents; }

  Result<Extent> Write(std::span<const std::byte> bytes) override {
    CheckAligned(bytes.data(), bytes.size());
    Delay();
    if (during_write != nullptr) during_write(during_write_argument);
    if (vanished) return Fail(EIO);
    if (write_error != 0) return Fail(write_error);
    const std::lock_guard lock(mutex_);
    if (!can_write_ || extents_.size() >= size_) {
      ++refused;
      return Status::Error(ENOSPC);
    }
    uint64_t number = first_free_;
    while (extents_.contains(number)) ++number;
    if (short_error != 0) {
      stale_[number] = {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(
                                                           bytes.size() / 2)};
      return Fail(short_error);
    }
    Bytes& kept = extents_[number];
    kept = {bytes.begin(), bytes.end()};
    if (torn_writes && kept.size() >= 1024) {
      memset(&kept[kept.size() / 2], 0, 512);
    }
    if (wrong_writes) kept[kept.size() / 2] ^= std::byte{16};
    ++writes;
    return Extent{number};
  }
  Status Read(Extent extent, size_t offset, std::span<std::byte> first,
              std::span<std::byte> second) override {
    if (alignment_ != 1 && !second.empty()) abort();
    CheckAligned(first.data(), first.size() | offset);
    Delay();
    std::fill(first.begin(), first.end(), std::byte{0xee});
    std::fill(second.begin(), second.end(), std::byte{0xee});
    if (vanished) return Fail(EIO);
    if (read_error != 0) return Fail(read_error);
    if (static_cast<int64_t>(extent) == bad_extent) return Fail(EIO);
    if (offset < bad_sector_to &&
        offset + first.size() + second.size() > bad_sector_from) {
      return Fail(EIO);
    }
    if (during_read) during_read();
    const std::lock_guard lock(mutex_);
    const Bytes& bytes = extents_.at(static_cast<uint64_t>(extent));
    if (offset + first.size() + second.size() > bytes.size()) return Fail(EIO);
    const std::byte* from = bytes.data() + offset;
    std::copy_n(from, first.size(), first.begin());
    std::copy_n(from + first.size(), second.size(), second.begin());
    ++reads;
    if (wrong_reads != 0) {
      --wrong_reads;
      for (size_t i = 0; i < first.size(); i += 100) first[i] ^= std::byte{1};
    }
    return kOk;
  }
  void Free(Extent extent) override {
    const std::lock_guard lock(mutex_);
    if (extents_.erase(static_cast<uint64_t>(extent)) != 1) abort();
  }

  size_t alignment() const override { return alignment_; }
  uint64_t size() const override { return size_; }
  uint64_t used() const override {
    const std::lock_guard lock(mutex_);
    return extents_.size();
  }
  ByteCount metadata_bytes() const override { return 0; }
  size_t Descriptors(int*, size_t) override { return 0; }
  void ParentAfterFork() override { NeverAgain(); }
  Status ChildAfterFork() override {
    NeverAgain();
    if (child_has_no_room) can_write_ = false;
    return can_write_ ? kOk : Status::Error(ENOSPC);
  }
  void CheckInvariants() override {}
  // The object itself belongs to the test.
  void Destroy() override { destroyed = true; }

 private:
  Status Fail(int error) {
    ++failures;
    return Status::Error(error);
  }
  void CheckAligned(const void* memory, size_t bytes) const {
    if ((reinterpret_cast<uintptr_t>(memory) | bytes) % alignment_ != 0) {
      abort();
    }
  }
  void Delay() const {
    const unsigned us = delay_us;
    if (us != 0) std::this_thread::sleep_for(std::chrono::microseconds(us));
  }
  void NeverAgain() {
    if (!extents_.empty()) first_free_ = extents_.rbegin()->first + 1;
  }

  const size_t alignment_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Bytes> extents_;
  std::map<uint64_t, Bytes> stale_;  // what failed writes left
  uint64_t first_free_ = 0;
  std::atomic<uint64_t> size_;
  bool can_write_ = true;
};

}  // namespace uzswap

#endif  // UZSWAP_TESTS_SUPPORT_FAULTY_STORAGE_H_
