// SPDX-License-Identifier: Apache-2.0
// Extents in files. What a fork must not disturb is kept apart by generations:
// a generation is one file; only the current one is written to. At a fork the
// current one is frozen in both processes (its extents can be read and freed,
// never rewritten) and each process goes on in a new file. A frozen generation
// is closed when this process has freed its last extent in it. Where no new
// file can be had the parent goes on in the old one without ever reusing an
// extent that was in use at the fork; the child then cannot write.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "base/mutex.h"
#include "base/os.h"
#include "base/own_descriptors.h"
#include "device/backing_file.h"
#include "device/block_map.h"
#include "device/device.h"
#include "device/storage.h"

namespace uzswap {
namespace {

constinit LockClass file_storage_class{"file storage"};

constexpr unsigned kGenerations = 64;
static_assert(kGenerations + 1 <= kMaxDeviceDescriptors);  // the directory
// A process that forks often leaves the other half to its children.
constexpr unsigned kGenerationsForParent = 32;
constexpr unsigned kNone = kGenerations;

// Extent = generation << kIndexBits | its index in that file.
constexpr unsigned kIndexBits = 40;
constexpr uint64_t kMaxIndex = (uint64_t{1} << kIndexBits) - 1;

Extent MakeExtent(unsigned generation, uint64_t index) {
  return Extent{uint64_t{generation} << kIndexBits | index};
}
unsigned GenerationOf(Extent extent) {
  return static_cast<unsigned>(static_cast<uint64_t>(extent) >> kIndexBits);
}
uint64_t IndexOf(Extent extent) {
  return static_cast<uint64_t>(extent) & kMaxIndex;
}
uint64_t OffsetOf(Extent extent) { return IndexOf(extent) * kExtentBytes; }

// Invariants: fd < 0 exactly when the place is free; a generation that is not
// the current one has extents in use; used_ = extents in use of all of them.
class FileStorage final : public Storage {
 public:
  explicit FileStorage(uint64_t size) : size_(size) {}

  Status OpenStorage(const char* path);
  void Destroy() override;

  Result<Extent> Write(std::span<const std::byte> bytes) override;
  Status Read(Extent extent, size_t offset, std::span<std::byte> first,
              std::span<std::byte> second) override;
  void Free(Extent extent) override;

  size_t alignment() const override { return 1; }
  uint64_t size() const override { return size_; }
  uint64_t used() const override {
    return used_.load(std::memory_order_relaxed);
  }
  ByteCount metadata_bytes() const override {
    return PageCeil(sizeof(*this)) + map_bytes_.load(std::memory_order_relaxed);
  }
  size_t Descriptors(int* fds, size_t capacity) override;

  void ParentAfterFork() override;
  Status ChildAfterFork() override;
  void CheckInvariants() override;

 private:
  struct Generation {
    int fd = -1;
    BlockMap blocks;
  };
  struct Place {
    Extent extent;
    int fd;
  };

  Result<Place> TakeExtent();
  int FdOf(Extent extent);
  Status StartGeneration(int fd) UZSWAP_REQUIRES(mutex_);
  Status StartUnlinkedGeneration() UZSWAP_REQUIRES(mutex_);
  void CloseGeneration(unsigned number) UZSWAP_REQUIRES(mutex_);
  unsigned LiveGenerations() const UZSWAP_REQUIRES(mutex_);
  void CountMapBytes() UZSWAP_REQUIRES(mutex_);

  // Constant after OpenStorage.
  uint64_t size_;
  int directory_ = -1;  // -1: the storage is one file or block device

  mutable Mutex mutex_{file_storage_class};  // never held across I/O
  unsigned current_ UZSWAP_GUARDED_BY(mutex_) = kNone;
  Generation generations_[kGenerations] UZSWAP_GUARDED_BY(mutex_);
  std::atomic<uint64_t> used_{0};  // written under mutex_
  std::atomic<ByteCount> map_bytes_{0};
};

Result<Extent> FileStorage::Write(std::span<const std::byte> bytes) {
  const Result<Place> taken = TakeExtent();
  if (!taken.ok()) return taken.status();
  const Place place = taken.value();
  // The program may have lowered its limit: past it comes a signal, too.
  const bool allowed =
      IndexOf(place.extent) < backing_file::FileSizeLimit() / kExtentPages;
  const Status s = allowed ? os::PWrite(place.fd, bytes.data(), bytes.size(),
                                        OffsetOf(place.extent))
                           : Status::Error(EFBIG);
  if (s.ok()) return place.extent;
  Free(place.extent);
  // A quota and a size limit are full devices, too.
  const bool full = s.error() == EDQUOT || s.error() == EFBIG;
  return full ? Status::Error(ENOSPC) : s;
}

// One call as a rule; a short count is the end of the file, or a signal.
Status FileStorage::Read(Extent extent, size_t offset,
                         std::span<std::byte> first,
                         std::span<std::byte> second) {
  const int fd = FdOf(extent);
  const uint64_t at = OffsetOf(extent) + offset;
  const iovec parts[] = {{first.data(), first.size()},
                         {second.data(), second.size()}};
  const int64_t r =
      os::Syscall(SYS_preadv, fd, reinterpret_cast<int64_t>(parts), 2,
                  static_cast<int64_t>(at));
  if (r == static_cast<int64_t>(first.size() + second.size())) return kOk;
  UZSWAP_RETURN_IF_ERROR(os::PRead(fd, first.data(), first.size(), at));
  return os::PRead(fd, second.data(), second.size(), at + first.size());
}

void FileStorage::Free(Extent extent) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(extent);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  generations_[number].blocks.Put(IndexOf(extent));
  used_.fetch_sub(1, std::memory_order_relaxed);
  if (number != current_ && generations_[number].blocks.in_use() == 0) {
    CloseGeneration(number);
  }
}

Result<FileStorage::Place> FileStorage::TakeExtent() {
  ScopedLock lock(mutex_);
  if (current_ == kNone || used() >= size_) return Status::Error(ENOSPC);
  Generation& generation = generations_[current_];
  const ByteCount map_bytes = generation.blocks.metadata_bytes();
  const Result<uint64_t> index = generation.blocks.Take();
  if (!index.ok()) return index.status();
  used_.fetch_add(1, std::memory_order_relaxed);
  map_bytes_.fetch_add(generation.blocks.metadata_bytes() - map_bytes,
                       std::memory_order_relaxed);
  return Place{MakeExtent(current_, index.value()), generation.fd};
}

int FileStorage::FdOf(Extent extent) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(extent);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  return generations_[number].fd;
}

// Takes fd over, also when it fails.
Status FileStorage::StartGeneration(int fd) {
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

Status FileStorage::StartUnlinkedGeneration() {
  OwnDescriptorsChange();
  const Result<int> fd = backing_file::OpenUnlinked(directory_);
  if (!fd.ok()) return fd.status();
  return StartGeneration(fd.value());
}

void FileStorage::CloseGeneration(unsigned number) {
  OwnDescriptorsChange();
  os::Close(generations_[number].fd);
  generations_[number].fd = -1;
  generations_[number].blocks.Release();
  CountMapBytes();
}

unsigned FileStorage::LiveGenerations() const {
  unsigned live = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) ++live;
  }
  return live;
}

void FileStorage::CountMapBytes() {
  ByteCount bytes = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) bytes += generation.blocks.metadata_bytes();
  }
  map_bytes_.store(bytes, std::memory_order_relaxed);
}

size_t FileStorage::Descriptors(int* fds, size_t capacity) {
  ScopedLock lock(mutex_);
  size_t count = 0;
  const auto add = [&](int fd) {
    if (fd < 0) return;
    if (count < capacity) fds[count] = fd;
    ++count;
  };
  add(directory_);
  for (const Generation& generation : generations_) add(generation.fd);
  return count;
}

void FileStorage::ParentAfterFork() {
  ScopedLock lock(mutex_);
  // Without an extent in the file the child has nothing to read there and
  // closes it: nothing to protect.
  if (current_ == kNone || generations_[current_].blocks.in_use() == 0) return;
  if (directory_ >= 0 && LiveGenerations() < kGenerationsForParent &&
      StartUnlinkedGeneration().ok()) {
    return;
  }
  generations_[current_].blocks.KeepUsed();
  CountMapBytes();
}

Status FileStorage::ChildAfterFork() {
  mutex_.ResetInChild();
  ScopedLock lock(mutex_);
  const unsigned old = current_;
  current_ = kNone;
  if (old != kNone && generations_[old].blocks.in_use() == 0) {
    CloseGeneration(old);
  }
  if (directory_ < 0) return Status::Error(ENOSPC);
  return StartUnlinkedGeneration();
}

void FileStorage::CheckInvariants() {
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

Status FileStorage::OpenStorage(const char* path) {
  ScopedLock lock(mutex_);
  size_ = std::min(
      {size_, backing_file::FileSizeLimit() / kExtentPages, kMaxIndex});
  const Result<int> directory = backing_file::OpenDirectory(path);
  if (directory.ok()) {
    if (size_ == 0) return Status::Error(EINVAL);
    directory_ = directory.value();
    return StartUnlinkedGeneration();
  }
  if (directory.error() != ENOTDIR) return directory.status();
  const Result<int> file = backing_file::OpenWhole(path);
  if (!file.ok()) return file.status();
  const Result<PageCount> capacity = backing_file::Capacity(file.value());
  size_ = std::min(size_, capacity.ok() ? capacity.value() / kExtentPages : 0);
  if (size_ == 0) {
    os::Close(file.value());
    return capacity.ok() ? Status::Error(EINVAL) : capacity.status();
  }
  return StartGeneration(file.value());
}

void FileStorage::Destroy() {
  {
    ScopedLock lock(mutex_);
    current_ = kNone;
    for (unsigned number = 0; number < kGenerations; ++number) {
      if (generations_[number].fd >= 0) CloseGeneration(number);
    }
    if (directory_ >= 0) os::Close(directory_);
  }
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

}  // namespace

Result<Storage*> NewFileStorage(const char* path, uint64_t extents) {
  const Result<void*> memory = os::Map(PageCeil(sizeof(FileStorage)));
  if (!memory.ok()) return memory.status();
  auto* device = new (memory.value()) FileStorage(extents);
  if (const Status s = device->OpenStorage(path); !s.ok()) {
    device->Destroy();
    return s;
  }
  return static_cast<Storage*>(device);
}

}  // namespace uzswap
