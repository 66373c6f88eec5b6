// SPDX-License-Identifier: Apache-2.0
// A storage that survives forks. What a fork must not disturb is kept apart by
// generations: a generation is room that no other process writes to, held by
// one descriptor (a file, or the locks on regions of an export); only the
// current one is written to. At a fork the current one is frozen in both
// processes (its extents can be read and freed, never rewritten) and each
// process goes on in a new one. A frozen generation is closed when this process
// has freed its last extent in it; the room is free when all have. Where no new
// one can be had the parent goes on in the old one without ever reusing an
// extent that was in use at the fork; the child then cannot write.
#ifndef UZSWAP_DEVICE_GENERATIONS_H_
#define UZSWAP_DEVICE_GENERATIONS_H_

#include <atomic>

#include "base/mutex.h"
#include "device/block_map.h"
#include "device/device.h"
#include "device/storage.h"

namespace uzswap {

// Invariants: fd < 0 exactly when the place is free; a generation that is not
// the current one has extents in use; used_ = extents in use of all of them.
class GenerationStorage : public Storage {
 public:
  Result<Extent> Write(std::span<const std::byte> bytes) final;
  Status Read(Extent extent, size_t offset, std::span<std::byte> first,
              std::span<std::byte> second) final;
  void Free(Extent extent) final;

  uint64_t size() const final { return size_; }
  uint64_t used() const final { return used_.load(std::memory_order_relaxed); }
  ByteCount metadata_bytes() const final;
  size_t Descriptors(int* fds, size_t capacity) final;

  void ParentAfterFork() final;
  Status ChildAfterFork() final;
  void CheckInvariants() final;

 protected:
  static constexpr unsigned kGenerations = 64;
  // Besides those of the generations: a directory; a socket and a lock file.
  static constexpr unsigned kMoreDescriptors = 2;
  static_assert(kGenerations + kMoreDescriptors <= kMaxDeviceDescriptors);

  struct Place {
    unsigned generation;
    uint64_t index;  // of the extent in it
    int fd;
  };

  GenerationStorage(uint64_t size, LockClass& lock_class)
      : size_(size), mutex_(lock_class) {}
  ~GenerationStorage() = default;

  // ---- what each kind does its own way; none is pure, for that would need
  // libstdc++ at run time
  void Destroy() override {}
  size_t alignment() const override { return 1; }
  // Without the lock. On error nothing is there.
  virtual Status WriteAt(const Place&, std::span<const std::byte>) {
    return Status::Error(ENOSYS);
  }
  virtual Status ReadAt(const Place&, size_t, std::span<std::byte>,
                        std::span<std::byte>) {
    return Status::Error(ENOSYS);
  }
  // A descriptor of a new generation. ENOSPC: there is only this one.
  virtual Result<int> OpenGeneration() UZSWAP_REQUIRES(mutex_) {
    return Status::Error(ENOSPC);
  }
  // Makes sure that the generation has room for the extent of that index.
  virtual Status PrepareExtent(unsigned, uint64_t) UZSWAP_REQUIRES(mutex_) {
    return kOk;
  }
  virtual void GenerationClosed(unsigned) UZSWAP_REQUIRES(mutex_) {}
  // Up to kMoreDescriptors, or -1.
  virtual void OtherDescriptors(int*) UZSWAP_REQUIRES(mutex_) {}
  // The child's share of what is not about generations; before everything else.
  virtual void InChild() UZSWAP_REQUIRES(mutex_) {}
  virtual ByteCount OtherBytes() const { return 0; }

  int FdOf(unsigned generation) const UZSWAP_REQUIRES(mutex_) {
    return generations_[generation].fd;
  }
  // Takes fd over, also when it fails.
  Status StartGeneration(int fd) UZSWAP_REQUIRES(mutex_);
  Status StartNewGeneration() UZSWAP_REQUIRES(mutex_);
  void CloseAll() UZSWAP_REQUIRES(mutex_);

  uint64_t size_;  // in extents; constant after opening

  mutable Mutex mutex_;  // never held across I/O of pages

 private:
  static constexpr unsigned kNone = kGenerations;
  // A process that forks often leaves the other half to its children.
  static constexpr unsigned kGenerationsForParent = 32;

  struct Generation {
    int fd = -1;
    BlockMap blocks;
  };

  Result<Place> TakeExtent();
  Place PlaceOf(Extent extent);
  void CloseGeneration(unsigned number) UZSWAP_REQUIRES(mutex_);
  unsigned LiveGenerations() const UZSWAP_REQUIRES(mutex_);
  void CountMapBytes() UZSWAP_REQUIRES(mutex_);

  unsigned current_ UZSWAP_GUARDED_BY(mutex_) = kNone;
  Generation generations_[kGenerations] UZSWAP_GUARDED_BY(mutex_);
  std::atomic<uint64_t> used_{0};  // written under mutex_
  std::atomic<ByteCount> map_bytes_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_GENERATIONS_H_
