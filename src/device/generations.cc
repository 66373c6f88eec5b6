// SPDX-License-Identifier: Apache-2.0
#include "device/generations.h"

#include "base/os.h"
#include "base/own_descriptors.h"

namespace uzswap {
namespace {

// Extent = generation << kIndexBits | its index in that generation.
constexpr unsigned kIndexBits = 40;
constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;

Extent MakeExtent(unsigned generation, uint64_t index) {
  return Extent{uint64_t{generation} << kIndexBits | index};
}
unsigned GenerationOf(Extent extent) {
  return static_cast<unsigned>(static_cast<uint64_t>(extent) >> kIndexBits);
}
uint64_t IndexOf(Extent extent) {
  return static_cast<uint64_t>(extent) & kIndexMask;
}

}  // namespace

Result<Extent> GenerationStorage::Write(std::span<const std::byte> bytes) {
  const Result<Place> taken = TakeExtent();
  if (!taken.ok()) return taken.status();
  const Place place = taken.value();
  const Extent extent = MakeExtent(place.generation, place.index);
  const Status s = WriteAt(place, bytes);
  if (s.ok()) return extent;
  Free(extent);
  return s;
}

Status GenerationStorage::Read(Extent extent, size_t offset,
                               std::span<std::byte> first,
                               std::span<std::byte> second) {
  return ReadAt(PlaceOf(extent), offset, first, second);
}

void GenerationStorage::Free(Extent extent) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(extent);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  generations_[number].blocks.Put(IndexOf(extent));
  used_.fetch_sub(1, std::memory_order_relaxed);
  if (number != current_ && generations_[number].blocks.in_use() == 0) {
    CloseGeneration(number);
  }
}

Result<GenerationStorage::Place> GenerationStorage::TakeExtent() {
  ScopedLock lock(mutex_);
  if (current_ == kNone || used() >= size_) return Status::Error(ENOSPC);
  Generation& generation = generations_[current_];
  const ByteCount map_bytes = generation.blocks.metadata_bytes();
  const Result<uint64_t> index = generation.blocks.Take();
  if (!index.ok()) return index.status();
  map_bytes_.fetch_add(generation.blocks.metadata_bytes() - map_bytes,
                       std::memory_order_relaxed);
  if (const Status s = PrepareExtent(current_, index.value()); !s.ok()) {
    generation.blocks.Put(index.value());
    return s;
  }
  used_.fetch_add(1, std::memory_order_relaxed);
  return Place{current_, index.value(), generation.fd};
}

GenerationStorage::Place GenerationStorage::PlaceOf(Extent extent) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(extent);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  return {number, IndexOf(extent), generations_[number].fd};
}

Status GenerationStorage::StartGeneration(int fd) {
  unsigned number = 0;
  while (number < kGenerations && generations_[number].fd >= 0) ++number;
  Status s = number == kGenerations ? Status::Error(ENOSPC) : kOk;
  if (s.ok()) s = generations_[number].blocks.Init(size_);
  if (!s.ok()) {
    os::Close(fd);
    return s;
  }
  generations_[number].fd = fd;
  current_ = number;
  CountMapBytes();
  return kOk;
}

Status GenerationStorage::StartNewGeneration() {
  OwnDescriptorsChange();
  const Result<int> fd = OpenGeneration();
  if (!fd.ok()) return fd.status();
  return StartGeneration(fd.value());
}

void GenerationStorage::CloseGeneration(unsigned number) {
  OwnDescriptorsChange();
  os::Close(generations_[number].fd);
  generations_[number].fd = -1;
  generations_[number].blocks.Release();
  GenerationClosed(number);
  CountMapBytes();
}

void GenerationStorage::CloseAll() {
  current_ = kNone;
  for (unsigned number = 0; number < kGenerations; ++number) {
    if (generations_[number].fd >= 0) CloseGeneration(number);
  }
}

unsigned GenerationStorage::LiveGenerations() const {
  unsigned live = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) ++live;
  }
  return live;
}

void GenerationStorage::CountMapBytes() {
  ByteCount bytes = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) bytes += generation.blocks.metadata_bytes();
  }
  map_bytes_.store(bytes, std::memory_order_relaxed);
}

ByteCount GenerationStorage::metadata_bytes() const {
  return PageCeil(sizeof(*this)) + OtherBytes() +
         map_bytes_.load(std::memory_order_relaxed);
}

size_t GenerationStorage::Descriptors(int* fds, size_t capacity) {
  ScopedLock lock(mutex_);
  size_t count = 0;
  const auto add = [&](int fd) {
    if (fd < 0) return;
    if (count < capacity) fds[count] = fd;
    ++count;
  };
  int others[kMoreDescriptors] = {-1, -1};
  OtherDescriptors(others);
  for (const int fd : others) add(fd);
  for (const Generation& generation : generations_) add(generation.fd);
  return count;
}

void GenerationStorage::ParentAfterFork() {
  ScopedLock lock(mutex_);
  // Without an extent in the current one the child has nothing to read there
  // and closes it: nothing to protect.
  if (current_ == kNone || generations_[current_].blocks.in_use() == 0) return;
  if (LiveGenerations() < kGenerationsForParent && StartNewGeneration().ok()) {
    return;
  }
  generations_[current_].blocks.KeepUsed();
  CountMapBytes();
}

Status GenerationStorage::ChildAfterFork() {
  mutex_.ResetInChild();
  ScopedLock lock(mutex_);
  InChild();
  const unsigned old = current_;
  current_ = kNone;
  if (old != kNone && generations_[old].blocks.in_use() == 0) {
    CloseGeneration(old);
  }
  return StartNewGeneration();
}

void GenerationStorage::CheckInvariants() {
  ScopedLock lock(mutex_);
  uint64_t used = 0;
  for (unsigned number = 0; number < kGenerations; ++number) {
    const Generation& generation = generations_[number];
    if (generation.fd < 0) {
      CHECK(number != current_);
      CHECK(generation.blocks.in_use() == 0);
      continue;
    }
    generation.blocks.CheckInvariants();
    CHECK(number == current_ || generation.blocks.in_use() > 0);
    used += generation.blocks.in_use();
  }
  CHECK(used == used_.load(std::memory_order_relaxed));
  CHECK(used <= size_);
}

}  // namespace uzswap
