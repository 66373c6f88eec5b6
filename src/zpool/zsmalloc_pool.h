// SPDX-License-Identifier: Apache-2.0
// The inside of a zsmalloc pool: its classes and what they own. zsmalloc.cc
// allocates and frees, zsmalloc_check.cc counts and checks.
//
// An object of class size s is s bytes: the payload first, and in the last four
// bytes the tail: handle << 1 | 1 when it is allocated, the next free object
// << 1 when it is free. A huge object is a whole page and has no tail; its
// handle is in the descriptor. The tail proves at Free that the handle is the
// owner, and leads from an object that is to be moved to its handle.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_POOL_H_
#define UZSWAP_ZPOOL_ZSMALLOC_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.h"
#include "zpool/handle_table.h"
#include "zpool/zsmalloc.h"
#include "zpool/zsmalloc_area.h"

namespace uzswap {

// Invariants: a zspage that is not empty is on the list of FullnessGroup(its
// used, objects); an empty one is on none (it belongs to the area).
struct alignas(kCacheLine) ZsmallocSizeClass {
  explicit ZsmallocSizeClass(const ZsmallocShape& s) : shape(s) {}

  static constexpr ByteCount kTailBytes = sizeof(uint32_t);
  static LockClass lock_class;

  const ZsmallocShape shape;
  Mutex lock{lock_class};
  ZspageId heads[kFullnessGroups] UZSWAP_GUARDED_BY(lock) = {};
  uint32_t counts[kFullnessGroups] UZSWAP_GUARDED_BY(lock) = {};
  uint64_t used UZSWAP_GUARDED_BY(lock) = 0;     // objects
  PageCount frames UZSWAP_GUARDED_BY(lock) = 0;  // of its zspages

  // Freed objects in its zspages. Written under the lock, read as a hint.
  std::atomic<int64_t> holes{0};

  void AddHoles(int n) UZSWAP_REQUIRES(lock) {
    holes.store(holes.load(std::memory_order_relaxed) + n,
                std::memory_order_relaxed);
  }
  uint32_t units() const { return shape.size >> kUnitShift; }
  ByteCount capacity() const {
    return shape.huge() ? kPageSize : shape.size - kTailBytes;
  }
};

// Threads: who allocates or frees holds the lock of a class for one object;
// compaction for kMaxSeenAtOnce objects, and as many bytes as are moved by the
// first object that goes beyond kMaxMovedAtOnce. No lock is held while the
// system is asked for frames or gets them back.
class ZsmallocPool final : public Zsmalloc {
 public:
  explicit ZsmallocPool(unsigned chain);
  Status Init();

  Result<Handle> Allocate(ByteCount bytes) override;
  void Free(Handle handle) override;
  void Write(Handle handle, std::span<const std::byte> bytes) override;
  Result<Handle> Store(std::span<const std::byte> bytes) override;
  std::span<const std::byte> ReadBegin(Handle handle, ByteCount bytes,
                                       MutablePage scratch) override;
  void ReadEnd(Handle handle) override;

  PageCount Compact(unsigned objects) override;

  ByteCount Footprint(ByteCount bytes) const override {
    return geometry_
        .shape(geometry_.ClassOf(bytes + ZsmallocSizeClass::kTailBytes))
        .size;
  }
  PageCount total_pages() const override { return area_.frames(); }
  ByteCount metadata_bytes() const override {
    const auto* begin = reinterpret_cast<const std::byte*>(this);
    const std::byte* end =
        class_memory_ + geometry_.count() * sizeof(ZsmallocSizeClass);
    return PageCeil(static_cast<ByteCount>(end - begin)) +
           handles_.metadata_bytes() + area_.metadata_bytes();
  }
  const char* name() const override { return name_; }

  void LockAll() override { frozen_.store(true, std::memory_order_relaxed); }
  void UnlockAll() override { frozen_.store(false, std::memory_order_relaxed); }
  void ResetLocksInChild() override;
  void CheckInvariants() override;
  void Destroy() override;

  unsigned class_count() const override { return geometry_.count(); }
  ZsmallocClassStats ClassStats(unsigned i) override;
  PageCount kept_pages() override { return area_.KeptFrames(); }

 private:
  // Zspages looked at in one list, so that the lock is short.
  static constexpr unsigned kLooks = 4;
  // Of an object that is going to be read.
  static constexpr ByteCount kPrefetch = 1024;

  ZsmallocSizeClass* classes() {
    return reinterpret_cast<ZsmallocSizeClass*>(class_memory_);
  }
  ZsmallocSizeClass& ClassFor(ByteCount bytes) {
    return classes()[geometry_.ClassOf(bytes + ZsmallocSizeClass::kTailBytes)];
  }
  ZsmallocSizeClass& ClassAt(uint32_t unit) {
    return classes()[area_[area_.ZspageAt(unit)].class_number.load(
        std::memory_order_relaxed)];
  }
  uint8_t Number(const ZsmallocSizeClass& c) {
    return static_cast<uint8_t>(&c - classes());
  }
  uint32_t Checked(Handle handle) const;

  uint32_t& Tail(const ZsmallocSizeClass& c, uint32_t unit) {
    return *reinterpret_cast<uint32_t*>(area_.At(unit + c.units()) -
                                        c.kTailBytes);
  }
  static uint32_t AllocatedTail(uint32_t handle) { return handle << 1 | 1; }

  // An object of a class whose owner does not have it yet: its handle leads to
  // `unit`, and it stays there until the handle is set.
  struct Placed {
    uint32_t handle = 0;
    uint32_t unit = 0;
  };
  Status Place(ByteCount bytes, Placed& object);
  bool Borrow(const ZsmallocSizeClass& c, Placed& object);
  Status PlaceInNew(ZsmallocSizeClass& c, unsigned frames, Placed& object);
  Status Grow(ZsmallocSizeClass& c, ZspageId id, unsigned frames,
              Placed& object);
  void StartZspage(const ZsmallocSizeClass& c, Zspage& z);
  unsigned FramesWanted(const ZsmallocSizeClass& c, ZspageId id)
      UZSWAP_REQUIRES(c.lock);
  ZspageId Fullest(const ZsmallocSizeClass& c) UZSWAP_REQUIRES(c.lock);
  ZspageId FullestWithHole(const ZsmallocSizeClass& c) UZSWAP_REQUIRES(c.lock);
  void TakeObject(ZsmallocSizeClass& c, ZspageId id, Placed& object)
      UZSWAP_REQUIRES(c.lock);
  uint32_t TakeUnit(ZsmallocSizeClass& c, ZspageId id, uint32_t handle)
      UZSWAP_REQUIRES(c.lock);
  bool FreeAt(uint32_t handle, uint32_t unit);
  // Whether the zspage is the caller's to give to the area.
  bool ReturnObject(ZsmallocSizeClass& c, ZspageId id, uint32_t unit)
      UZSWAP_REQUIRES(c.lock);
  void Retire(ZsmallocSizeClass& c, ZspageId id) UZSWAP_REQUIRES(c.lock);
  // zsmalloc_compact.cc
  // How far compaction is in a zspage, in units from its start.
  struct Walk {
    ZspageId source = 0;
    uint32_t at = 0;
    bool packing = false;
    ZspageId target = 0;  // packing: the new zspage, if one is needed
  };
  // Frames given back to the system and taken from it.
  struct Balance {
    PageCount gone = 0;
    PageCount taken = 0;
  };
  PageCount Settle(const Balance& balance);
  enum class Step { kGoOn, kEmptied, kDone };
  bool CompactZspage(ZsmallocSizeClass& c, unsigned* objects, Balance* balance);
  Step CompactStep(ZsmallocSizeClass& c, Walk& walk, unsigned* objects);
  Step CompactObject(ZsmallocSizeClass& c, const Walk& walk, unsigned* objects,
                     ByteCount* moved) UZSWAP_REQUIRES(c.lock);
  bool WorthCompacting(const ZsmallocSizeClass& c) UZSWAP_REQUIRES(c.lock);
  ZspageId Emptiest(const ZsmallocSizeClass& c) UZSWAP_REQUIRES(c.lock);
  ZspageId RoomBeside(const ZsmallocSizeClass& c, ZspageId source)
      UZSWAP_REQUIRES(c.lock);
  bool HasRoom(const ZsmallocSizeClass& c, const Zspage& z) const
      UZSWAP_REQUIRES(c.lock);

  // zsmalloc_pack.cc
  bool PackZspage(ZsmallocSizeClass& c, unsigned* objects, Balance* balance);
  ZspageId Loose(const ZsmallocSizeClass& c, ZspageId besides)
      UZSWAP_REQUIRES(c.lock);
  uint64_t HolesBeside(const ZsmallocSizeClass& c, ZspageId source)
      UZSWAP_REQUIRES(c.lock);
  bool IsIdle(ZsmallocSizeClass& c, ZspageId id);
  ZspageId OpenTarget(ZsmallocSizeClass& c, unsigned frames);
  PageCount CloseTarget(ZsmallocSizeClass& c, ZspageId id);

  void Regroup(ZsmallocSizeClass& c, ZspageId id) UZSWAP_REQUIRES(c.lock);
  void Link(ZsmallocSizeClass& c, ZspageId id, unsigned group)
      UZSWAP_REQUIRES(c.lock);
  void Unlink(ZsmallocSizeClass& c, ZspageId id) UZSWAP_REQUIRES(c.lock);
  void CheckClass(ZsmallocSizeClass& c) UZSWAP_REQUIRES(c.lock);
  uint64_t CheckZspage(ZsmallocSizeClass& c, const Zspage& z)
      UZSWAP_REQUIRES(c.lock);

  const char* const name_;
  const ZsmallocGeometry geometry_;
  HandleTable handles_;
  ZsmallocArea area_;
  std::atomic<PageCount> owed_{0};       // frames that compaction took, net
  std::atomic<unsigned> next_class_{0};  // where compaction goes on
  std::atomic<bool> frozen_{false};      // between LockAll and UnlockAll
  // The last member: only what the classes there are need is ever touched.
  alignas(ZsmallocSizeClass) std::byte
      class_memory_[ZsmallocGeometry::kSteps * sizeof(ZsmallocSizeClass)];
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZSMALLOC_POOL_H_
