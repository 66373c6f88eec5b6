// SPDX-License-Identifier: Apache-2.0
// A device without storage, for tests. Private memory is copied by fork, so the
// fork rules hold by themselves.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "base/arena.h"
#include "base/mutex.h"
#include "base/os.h"
#include "device/block_map.h"
#include "device/device.h"

namespace uzswap {
namespace {

constinit LockClass memory_device_class{"memory device"};

class MemoryDevice final : public Device {
 public:
  explicit MemoryDevice(PageCount size) : capacity_(size), size_(size) {}

  Status Init() {
    ScopedLock lock(mutex_);
    UZSWAP_RETURN_IF_ERROR(blocks_.Init(capacity_));
    const Status s = bytes_.Init(capacity_ * kPageSize);
    if (!s.ok()) blocks_.Release();
    return s;
  }

  Result<ObjectId> Write(std::span<const std::byte> object) override {
    uint64_t index;
    {
      ScopedLock lock(mutex_);
      if (blocks_.in_use() >= size()) return Status::Error(ENOSPC);
      const Result<uint64_t> taken = blocks_.Take();
      if (!taken.ok()) return taken.status();
      index = taken.value();
    }
    memcpy(&bytes_[index * kPageSize], object.data(), object.size());
    return ObjectId{index};
  }

  Status ReadWith(ObjectId id, std::span<std::byte> object,
                  ReadAround&) override {
    const uint64_t offset = static_cast<uint64_t>(id) * kPageSize;
    memcpy(object.data(), &bytes_[offset], object.size());
    return kOk;
  }

  Status ReadHeld(ObjectId, std::span<std::byte>) override {
    return Status::Error(ENODATA);
  }

  void Free(ObjectId id) override {
    ScopedLock lock(mutex_);
    blocks_.Put(static_cast<uint64_t>(id));
  }

  PageCount size() const override {
    return size_.load(std::memory_order_relaxed);
  }
  void SetSize(PageCount pages) override {
    size_.store(std::clamp<PageCount>(pages, 1, capacity_),
                std::memory_order_relaxed);
  }
  uint64_t used() const override {
    ScopedLock lock(mutex_);
    return blocks_.in_use();
  }
  ByteCount metadata_bytes() const override {
    ScopedLock lock(mutex_);
    return blocks_.metadata_bytes();
  }
  DeviceStats Stats() override { return {}; }
  size_t Descriptors(int*, size_t) override { return 0; }

  void PrepareFork() override {}
  void ParentAfterFork() override {}
  Status ChildAfterFork() override {
    mutex_.ResetInChild();
    return kOk;
  }

  void CheckInvariants() override {
    ScopedLock lock(mutex_);
    blocks_.CheckInvariants();
  }

  void Destroy() override {
    {
      ScopedLock lock(mutex_);
      blocks_.Release();
    }
    bytes_.Release();
    CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
  }

 private:
  const PageCount capacity_;
  std::atomic<PageCount> size_;
  mutable Mutex mutex_{memory_device_class};
  BlockMap blocks_ UZSWAP_GUARDED_BY(mutex_);
  SparseTable<std::byte> bytes_;  // an object's bytes belong to its holder
};

}  // namespace

Result<Device*> NewMemoryDevice(PageCount size) {
  if (size == 0) return Status::Error(EINVAL);
  const Result<void*> memory = os::Map(PageCeil(sizeof(MemoryDevice)));
  if (!memory.ok()) return memory.status();
  auto* device = new (memory.value()) MemoryDevice(size);
  if (const Status s = device->Init(); !s.ok()) {
    CHECK(os::Unmap(device, PageCeil(sizeof(*device))).ok());
    return s;
  }
  return static_cast<Device*>(device);
}

}  // namespace uzswap
