// SPDX-License-Identifier: Apache-2.0
// Pages in files. What a fork must not disturb is kept apart by generations: a
// generation is one file; only the current one is written to. At a fork the
// current one is frozen in both processes (its blocks can be read and freed,
// never rewritten) and each process goes on in a new file. A frozen generation
// is closed when this process has freed its last block in it. Where no new file
// can be had the parent goes on in the old one without ever reusing a block
// that was in use at the fork; the child then cannot write.
#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "base/mutex.h"
#include "base/os.h"
#include "device/backing_file.h"
#include "device/block_map.h"
#include "device/device.h"

namespace uzswap {
namespace {

constinit LockClass file_device_class{"file device"};

constexpr unsigned kGenerations = 64;
// A process that forks often leaves the other half to its children.
constexpr unsigned kGenerationsForParent = 32;
constexpr unsigned kNone = kGenerations;

// Block = generation << kIndexBits | index of the page in that file.
constexpr unsigned kIndexBits = 40;
constexpr uint64_t kMaxIndex = (uint64_t{1} << kIndexBits) - 1;

Block MakeBlock(unsigned generation, uint64_t index) {
  return Block{uint64_t{generation} << kIndexBits | index};
}
unsigned GenerationOf(Block block) {
  return static_cast<unsigned>(static_cast<uint64_t>(block) >> kIndexBits);
}
uint64_t IndexOf(Block block) {
  return static_cast<uint64_t>(block) & kMaxIndex;
}

// Invariants: fd < 0 exactly when the place is free; a generation that is not
// the current one has blocks in use; used_ = blocks in use of all of them.
class FileDevice final : public Device {
 public:
  explicit FileDevice(PageCount size) : size_(size) {}

  Status OpenStorage(const char* path);
  void Destroy() override;

  Result<Block> Write(ConstPage page) override;
  Status Read(Block block, MutablePage page) override;
  void Free(Block block) override;

  PageCount size() const override { return size_; }
  PageCount used() const override {
    return used_.load(std::memory_order_relaxed);
  }
  ByteCount metadata_bytes() const override {
    return PageCeil(sizeof(*this)) + map_bytes_.load(std::memory_order_relaxed);
  }
  size_t Descriptors(int* fds, size_t capacity) override;

  void PrepareFork() override {}
  void ParentAfterFork() override;
  Status ChildAfterFork() override;
  void CheckInvariants() override;

 private:
  struct Generation {
    int fd = -1;
    BlockMap blocks;
  };
  struct Place {
    Block block;
    int fd;
  };

  Result<Place> TakeBlock();
  int FdOf(Block block);
  Status StartGeneration(int fd) UZSWAP_REQUIRES(mutex_);
  Status StartUnlinkedGeneration() UZSWAP_REQUIRES(mutex_);
  void CloseGeneration(unsigned number) UZSWAP_REQUIRES(mutex_);
  unsigned LiveGenerations() const UZSWAP_REQUIRES(mutex_);
  void CountMapBytes() UZSWAP_REQUIRES(mutex_);

  // Constant after OpenStorage.
  PageCount size_;
  int directory_ = -1;  // -1: the storage is one file or block device

  mutable Mutex mutex_{file_device_class};  // never held across I/O of pages
  unsigned current_ UZSWAP_GUARDED_BY(mutex_) = kNone;
  Generation generations_[kGenerations] UZSWAP_GUARDED_BY(mutex_);
  std::atomic<PageCount> used_{0};  // written under mutex_
  std::atomic<ByteCount> map_bytes_{0};
};

Result<Block> FileDevice::Write(ConstPage page) {
  const Result<Place> taken = TakeBlock();
  if (!taken.ok()) return taken.status();
  const Place place = taken.value();
  const Status s = os::PWrite(place.fd, page.data(), kPageSize,
                              IndexOf(place.block) * kPageSize);
  if (s.ok()) return place.block;
  Free(place.block);
  // A quota and a size limit are full devices, too.
  const bool full = s.error() == EDQUOT || s.error() == EFBIG;
  return full ? Status::Error(ENOSPC) : s;
}

Status FileDevice::Read(Block block, MutablePage page) {
  return os::PRead(FdOf(block), page.data(), kPageSize,
                   IndexOf(block) * kPageSize);
}

void FileDevice::Free(Block block) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(block);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  generations_[number].blocks.Put(IndexOf(block));
  used_.fetch_sub(1, std::memory_order_relaxed);
  if (number != current_ && generations_[number].blocks.in_use() == 0) {
    CloseGeneration(number);
  }
}

Result<FileDevice::Place> FileDevice::TakeBlock() {
  ScopedLock lock(mutex_);
  if (current_ == kNone || used() >= size_) return Status::Error(ENOSPC);
  Generation& generation = generations_[current_];
  const ByteCount map_bytes = generation.blocks.metadata_bytes();
  const Result<uint64_t> index = generation.blocks.Take();
  if (!index.ok()) return index.status();
  used_.fetch_add(1, std::memory_order_relaxed);
  map_bytes_.fetch_add(generation.blocks.metadata_bytes() - map_bytes,
                       std::memory_order_relaxed);
  return Place{MakeBlock(current_, index.value()), generation.fd};
}

int FileDevice::FdOf(Block block) {
  ScopedLock lock(mutex_);
  const unsigned number = GenerationOf(block);
  CHECK(number < kGenerations && generations_[number].fd >= 0);
  return generations_[number].fd;
}

// Takes fd over, also when it fails.
Status FileDevice::StartGeneration(int fd) {
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

Status FileDevice::StartUnlinkedGeneration() {
  const Result<int> fd = backing_file::OpenUnlinked(directory_);
  if (!fd.ok()) return fd.status();
  return StartGeneration(fd.value());
}

void FileDevice::CloseGeneration(unsigned number) {
  os::Close(generations_[number].fd);
  generations_[number].fd = -1;
  generations_[number].blocks.Release();
  CountMapBytes();
}

unsigned FileDevice::LiveGenerations() const {
  unsigned live = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) ++live;
  }
  return live;
}

void FileDevice::CountMapBytes() {
  ByteCount bytes = 0;
  for (const Generation& generation : generations_) {
    if (generation.fd >= 0) bytes += generation.blocks.metadata_bytes();
  }
  map_bytes_.store(bytes, std::memory_order_relaxed);
}

size_t FileDevice::Descriptors(int* fds, size_t capacity) {
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

void FileDevice::ParentAfterFork() {
  ScopedLock lock(mutex_);
  // Without a block in the file the child has nothing to read there and closes
  // it: nothing to protect.
  if (current_ == kNone || generations_[current_].blocks.in_use() == 0) return;
  if (directory_ >= 0 && LiveGenerations() < kGenerationsForParent &&
      StartUnlinkedGeneration().ok()) {
    return;
  }
  generations_[current_].blocks.KeepUsed();
  CountMapBytes();
}

Status FileDevice::ChildAfterFork() {
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

void FileDevice::CheckInvariants() {
  ScopedLock lock(mutex_);
  PageCount used = 0;
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

Status FileDevice::OpenStorage(const char* path) {
  ScopedLock lock(mutex_);
  size_ = std::min({size_, backing_file::FileSizeLimit(), kMaxIndex});
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
  size_ = std::min(size_, capacity.ok() ? capacity.value() : 0);
  if (size_ == 0) {
    os::Close(file.value());
    return capacity.ok() ? Status::Error(EINVAL) : capacity.status();
  }
  return StartGeneration(file.value());
}

void FileDevice::Destroy() {
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

Result<Device*> NewFileDevice(const char* path, PageCount size) {
  const Result<void*> memory = os::Map(PageCeil(sizeof(FileDevice)));
  if (!memory.ok()) return memory.status();
  auto* device = new (memory.value()) FileDevice(size);
  if (const Status s = device->OpenStorage(path); !s.ok()) {
    device->Destroy();
    return s;
  }
  return static_cast<Device*>(device);
}

}  // namespace uzswap
