// SPDX-License-Identifier: Apache-2.0
// Allocation, free, read and write of zsmalloc; see zsmalloc.h.
//
// An object of class size s is s bytes: the payload first, and in the last four
// bytes the tail: handle << 1 | 1 when it is allocated, the next free object
// << 1 when it is free. A huge object is a whole page and has no tail; its
// handle is in the descriptor. The tail proves at Free that the handle is the
// owner, and is how compaction finds the handle of an object it moves.
//
// Locks: at most one at a time. class: lists, counts, descriptors and tails of
// the zspages of one class. Handles are lock-free, frames have a leaf lock.
#include "zpool/zsmalloc.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/mutex.h"
#include "base/os.h"
#include "zpool/handle_table.h"
#include "zpool/zsmalloc_area.h"

namespace uzswap {
namespace {

constexpr ByteCount kTailBytes = sizeof(uint32_t);

constinit LockClass class_lock_class{"zpool class"};

// Invariants: a zspage that is not empty is on the list of FullnessGroup(its
// used, objects); an empty one is on none (it belongs to the area).
struct alignas(kCacheLine) SizeClass {
  explicit SizeClass(const ZsmallocShape& s) : shape(s) {}

  const ZsmallocShape shape;
  Mutex lock{class_lock_class};
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

class ZsmallocPool final : public Zsmalloc {
 public:
  explicit ZsmallocPool(unsigned chain) : geometry_(chain) {
    for (unsigned i = 0; i < geometry_.count(); ++i) {
      new (&classes()[i]) SizeClass(geometry_.shape(i));
    }
  }
  Status Init();

  Result<Handle> Allocate(ByteCount bytes) override;
  void Free(Handle handle) override;
  void Write(Handle handle, std::span<const std::byte> bytes) override;
  std::span<const std::byte> ReadBegin(Handle handle, ByteCount bytes,
                                       MutablePage scratch) override;
  void ReadEnd(Handle handle) override;

  PageCount total_pages() const override { return area_.frames(); }
  ByteCount metadata_bytes() const override {
    return PageCeil(sizeof(*this)) + handles_.metadata_bytes() +
           area_.metadata_bytes();
  }
  const char* name() const override { return "zsmalloc"; }

  void LockAll() override { frozen_.store(true, std::memory_order_relaxed); }
  void UnlockAll() override { frozen_.store(false, std::memory_order_relaxed); }
  void ResetLocksInChild() override;
  void CheckInvariants() override;
  void Destroy() override;

  unsigned class_count() const override { return geometry_.count(); }
  ZsmallocClassStats ClassStats(unsigned i) override;

 private:
  SizeClass* classes() { return reinterpret_cast<SizeClass*>(class_memory_); }
  SizeClass& ClassFor(ByteCount bytes) {
    return classes()[geometry_.ClassOf(bytes + kTailBytes)];
  }
  uint32_t Resolve(Handle handle);
  Zspage& ZspageOf(Handle handle);

  uint32_t& Tail(const SizeClass& c, uint32_t unit) {
    return *reinterpret_cast<uint32_t*>(area_.At(unit + c.units()) -
                                        kTailBytes);
  }
  static uint32_t AllocatedTail(uint32_t handle) { return handle << 1 | 1; }

  Status Place(SizeClass& c, uint32_t handle);
  bool Borrow(const SizeClass& c, uint32_t handle);
  Status PlaceInNew(SizeClass& c, uint32_t handle);
  ZspageId Fullest(SizeClass& c) UZSWAP_REQUIRES(c.lock);
  ZspageId FullestWithHole(SizeClass& c) UZSWAP_REQUIRES(c.lock);
  Status TakeObject(SizeClass& c, ZspageId id, uint32_t handle)
      UZSWAP_REQUIRES(c.lock);
  Status Extend(SizeClass& c, Zspage& z) UZSWAP_REQUIRES(c.lock);
  void ReturnObject(SizeClass& c, ZspageId id, uint32_t unit)
      UZSWAP_REQUIRES(c.lock);
  void Regroup(SizeClass& c, ZspageId id) UZSWAP_REQUIRES(c.lock);
  void Link(SizeClass& c, ZspageId id, unsigned group) UZSWAP_REQUIRES(c.lock);
  void Unlink(SizeClass& c, ZspageId id) UZSWAP_REQUIRES(c.lock);
  void CheckClass(SizeClass& c) UZSWAP_REQUIRES(c.lock);
  uint64_t CheckZspage(SizeClass& c, const Zspage& z) UZSWAP_REQUIRES(c.lock);

  const ZsmallocGeometry geometry_;
  HandleTable handles_;
  ZsmallocArea area_;
  std::atomic<bool> frozen_{false};  // between LockAll and UnlockAll
  alignas(SizeClass) std::byte
      class_memory_[ZsmallocGeometry::kSteps * sizeof(SizeClass)];
};

Status ZsmallocPool::Init() {
  UZSWAP_RETURN_IF_ERROR(area_.Init());
  const uint64_t objects =
      area_.limit() * (kPageSize / ZsmallocGeometry::kMinSize);
  const Status status =
      handles_.Init(std::min(objects, HandleTable::kMaxHandles));
  if (!status.ok()) area_.Release();
  return status;
}

void ZsmallocPool::Destroy() {
  handles_.Release();
  area_.Release();
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

// ---- allocate

Result<Handle> ZsmallocPool::Allocate(ByteCount bytes) {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  if (bytes == 0) return Status::Error(EINVAL);
  if (bytes > kPageSize) return Status::Error(ENOSPC);
  const uint32_t handle = handles_.Take();
  if (handle == 0) return Status::Error(ENOMEM);
  const Status status = Place(ClassFor(bytes), handle);
  if (!status.ok()) {
    handles_.Return(handle);
    return status;
  }
  return Handle{handle};
}

Status ZsmallocPool::Place(SizeClass& c, uint32_t handle) {
  {
    ScopedLock lock(c.lock);
    const ZspageId id = Fullest(c);
    if (id != 0) return TakeObject(c, id, handle);
  }
  if (Borrow(c, handle)) return kOk;
  return PlaceInNew(c, handle);
}

// Before a class grows it looks for a freed object of a class up to a quarter
// larger. The bytes lost there are fewer than those of one more zspage that is
// seldom full: measured, it halves the overhead of small pools under churn.
bool ZsmallocPool::Borrow(const SizeClass& c, uint32_t handle) {
  const unsigned largest = c.shape.size + c.shape.size / 4;
  for (auto i = static_cast<unsigned>(&c - classes()) + 1;
       i < geometry_.count() && geometry_.shape(i).size <= largest; ++i) {
    SizeClass& lender = classes()[i];
    if (lender.holes.load(std::memory_order_relaxed) == 0) continue;
    ScopedLock lock(lender.lock);
    const ZspageId id = FullestWithHole(lender);
    // Cannot fail: an object that was one before has its frame.
    if (id != 0) return TakeObject(lender, id, handle).ok();
  }
  return false;
}

Status ZsmallocPool::PlaceInNew(SizeClass& c, uint32_t handle) {
  const Result<ZspageId> taken = area_.Take(c.shape.pages);
  if (!taken.ok()) return taken.status();
  const ZspageId id = taken.value();
  Zspage& z = area_[id];
  if (z.frames == 0) {
    const Status status = area_.Materialize(z, 1);
    if (!status.ok()) {
      area_.Give(id);
      return status;
    }
  }
  z.class_number = static_cast<uint8_t>(&c - classes());
  z.used = 0;
  z.fresh = 0;
  z.free_or_handle = kListEnd;
  ScopedLock lock(c.lock);
  c.frames += z.frames;
  Link(c, id, 0);
  const Status status = TakeObject(c, id, handle);
  CHECK(status.ok());  // the first object is in the first frame
  return kOk;
}

ZspageId ZsmallocPool::Fullest(SizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    if (c.heads[group] != 0) return c.heads[group];
  }
  return 0;
}

ZspageId ZsmallocPool::FullestWithHole(SizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    const ZspageId id = c.heads[group];
    if (id != 0 && area_[id].free_or_handle != kListEnd) return id;
  }
  return 0;
}

Status ZsmallocPool::TakeObject(SizeClass& c, ZspageId id, uint32_t handle) {
  Zspage& z = area_[id];
  const bool recycled = !c.shape.huge() && z.free_or_handle != kListEnd;
  if (!recycled) UZSWAP_RETURN_IF_ERROR(Extend(c, z));
  const uint32_t at = recycled ? z.free_or_handle : z.fresh - c.units();
  const uint32_t unit = z.first_page * kUnitsPerPage + at;
  if (c.shape.huge()) {
    z.free_or_handle = handle;
  } else {
    if (recycled) {
      z.free_or_handle = Tail(c, unit) >> 1;
      c.AddHoles(-1);
    }
    Tail(c, unit) = AllocatedTail(handle);
  }
  handles_.Set(handle, unit);
  ++z.used;
  ++c.used;
  Regroup(c, id);
  return kOk;
}

// One more object that never was one. Frames come with it; a class that has
// many gets a few more at once, since it will want them.
Status ZsmallocPool::Extend(SizeClass& c, Zspage& z) {
  const uint32_t end = z.fresh + c.units();
  const unsigned needed = (end + kUnitsPerPage - 1) / kUnitsPerPage;
  if (needed > z.frames) {
    const PageCount ahead = z.frames + c.frames / 32;
    const auto frames =
        static_cast<unsigned>(std::clamp<PageCount>(ahead, needed, z.pages));
    const unsigned had = z.frames;
    UZSWAP_RETURN_IF_ERROR(area_.Materialize(z, frames));
    c.frames += z.frames - had;
  }
  z.fresh = static_cast<uint16_t>(end);
  return kOk;
}

// ---- free

void ZsmallocPool::Free(Handle handle) {
  const uint32_t unit = Resolve(handle);
  const ZspageId id = area_.ZspageAt(unit);
  CHECK(id != 0);
  Zspage& z = area_[id];
  SizeClass& c = classes()[z.class_number];
  const auto word = static_cast<uint32_t>(handle);
  bool empty = false;
  {
    ScopedLock lock(c.lock);
    // Dies for a handle that was freed before: its entry leads nowhere, or to
    // an object of somebody else.
    CHECK(z.used > 0);
    CHECK(c.shape.huge() ? z.free_or_handle == word
                         : Tail(c, unit) == AllocatedTail(word));
    ReturnObject(c, id, unit);
    empty = z.used == 0;
  }
  handles_.Return(word);
  if (empty) area_.Give(id);
}

void ZsmallocPool::ReturnObject(SizeClass& c, ZspageId id, uint32_t unit) {
  Zspage& z = area_[id];
  --z.used;
  --c.used;
  if (z.used == 0) {
#ifdef UZSWAP_DEBUG
    CHECK(z.readers.load(std::memory_order_relaxed) == 0);
#endif
    c.frames -= z.frames;
    c.AddHoles(1 - z.fresh / static_cast<int>(c.units()));
    z.free_or_handle = kListEnd;
    Unlink(c, id);
    return;
  }
  Tail(c, unit) = z.free_or_handle << 1;
  c.AddHoles(1);
  z.free_or_handle = unit - z.first_page * kUnitsPerPage;
  Regroup(c, id);
}

// ---- the lists of a class

void ZsmallocPool::Regroup(SizeClass& c, ZspageId id) {
  const Zspage& z = area_[id];
  const unsigned group = FullnessGroup(z.used, c.shape.objects);
  if (group == z.group) return;
  Unlink(c, id);
  Link(c, id, group);
}

void ZsmallocPool::Link(SizeClass& c, ZspageId id, unsigned group) {
  Zspage& z = area_[id];
  z.group = static_cast<uint8_t>(group);
  z.prev = 0;
  z.next = c.heads[group];
  if (z.next != 0) area_[z.next].prev = id;
  c.heads[group] = id;
  ++c.counts[group];
}

void ZsmallocPool::Unlink(SizeClass& c, ZspageId id) {
  const Zspage& z = area_[id];
  (z.prev != 0 ? area_[z.prev].next : c.heads[z.group]) = z.next;
  if (z.next != 0) area_[z.next].prev = z.prev;
  --c.counts[z.group];
}

// ---- read and write

uint32_t ZsmallocPool::Resolve(Handle handle) {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  CHECK(handles_.WasGiven(static_cast<uint64_t>(handle)));
  return handles_.Get(static_cast<uint32_t>(handle));
}

Zspage& ZsmallocPool::ZspageOf(Handle handle) {
  return area_[area_.ZspageAt(Resolve(handle))];
}

void ZsmallocPool::Write(Handle handle, std::span<const std::byte> bytes) {
  const uint32_t unit = Resolve(handle);
  DCHECK(bytes.size() <= classes()[ZspageOf(handle).class_number].capacity());
  memcpy(area_.At(unit), bytes.data(), bytes.size());
}

std::span<const std::byte> ZsmallocPool::ReadBegin(Handle handle,
                                                   ByteCount bytes,
                                                   MutablePage) {
  const uint32_t unit = Resolve(handle);
  DCHECK(bytes <= classes()[ZspageOf(handle).class_number].capacity());
#ifdef UZSWAP_DEBUG
  ZspageOf(handle).readers.fetch_add(1, std::memory_order_relaxed);
#endif
  return {area_.At(unit), bytes};
}

void ZsmallocPool::ReadEnd([[maybe_unused]] Handle handle) {
#ifdef UZSWAP_DEBUG
  CHECK(ZspageOf(handle).readers.fetch_sub(1, std::memory_order_relaxed) > 0);
#endif
}

// ---- fork, accounts, checks

void ZsmallocPool::ResetLocksInChild() {
  for (unsigned i = 0; i < geometry_.count(); ++i) {
    classes()[i].lock.ResetInChild();
  }
  area_.ResetLocksInChild();
  UnlockAll();
}

ZsmallocClassStats ZsmallocPool::ClassStats(unsigned i) {
  SizeClass& c = classes()[i];
  ZsmallocClassStats stats{};
  stats.index = c.shape.index;
  stats.size = c.shape.size;
  stats.pages_per_zspage = c.shape.pages;
  ScopedLock lock(c.lock);
  uint64_t zspages = 0;
  for (unsigned group = 0; group < kFullnessGroups; ++group) {
    stats.zspages[group] = c.counts[group];
    zspages += c.counts[group];
  }
  stats.obj_allocated = zspages * c.shape.objects;
  stats.obj_used = c.used;
  stats.pages_used = c.frames;
  stats.freeable =
      (stats.obj_allocated - c.used) / c.shape.objects * stats.pages_per_zspage;
  return stats;
}

void ZsmallocPool::CheckInvariants() {
  uint64_t live = 0;
  uint64_t runs = 0;
  PageCount frames = 0;
  for (unsigned i = 0; i < geometry_.count(); ++i) {
    SizeClass& c = classes()[i];
    ScopedLock lock(c.lock);
    CheckClass(c);
    live += c.used;
    frames += c.frames;
    for (const uint32_t count : c.counts) runs += count;
  }
  handles_.CheckInvariants(live);
  area_.CheckInvariants(runs, frames);
}

void ZsmallocPool::CheckClass(SizeClass& c) {
  uint64_t used = 0;
  uint64_t holes = 0;
  PageCount frames = 0;
  CHECK(c.heads[0] == 0);
  for (unsigned group = 0; group < kFullnessGroups; ++group) {
    uint64_t count = 0;
    ZspageId prev = 0;
    for (ZspageId id = c.heads[group]; id != 0; id = area_[id].next) {
      const Zspage& z = area_[id];
      CHECK(++count <= c.counts[group]);
      CHECK(z.prev == prev);
      CHECK(z.group == group);
      CHECK(group == FullnessGroup(z.used, c.shape.objects));
      CHECK(&classes()[z.class_number] == &c);
      holes += CheckZspage(c, z);
      used += z.used;
      frames += z.frames;
      prev = id;
    }
    CHECK(count == c.counts[group]);
  }
  CHECK(used == c.used);
  CHECK(frames == c.frames);
  CHECK(holes ==
        static_cast<uint64_t>(c.holes.load(std::memory_order_relaxed)));
}

// Returns how many holes it has.
uint64_t ZsmallocPool::CheckZspage(SizeClass& c, const Zspage& z) {
  const uint32_t first = z.first_page * kUnitsPerPage;
  CHECK(z.pages == c.shape.pages);
  CHECK(z.fresh % c.units() == 0);
  CHECK(z.fresh <= z.frames * kUnitsPerPage);
  CHECK(z.fresh / c.units() <= c.shape.objects);
  if (c.shape.huge()) {
    CHECK(handles_.WasGiven(z.free_or_handle));
    CHECK(handles_.Get(z.free_or_handle) == first);
    return 0;
  }
  uint32_t allocated = 0;
  for (uint32_t at = 0; at < z.fresh; at += c.units()) {
    const uint32_t tail = Tail(c, first + at);
    if ((tail & 1) == 0) continue;
    CHECK(handles_.WasGiven(tail >> 1));
    CHECK(handles_.Get(tail >> 1) == first + at);
    ++allocated;
  }
  CHECK(allocated == z.used);
  uint32_t free = 0;
  uint32_t at = z.free_or_handle;
  while (at != kListEnd) {
    CHECK(at < z.fresh && at % c.units() == 0);
    CHECK((Tail(c, first + at) & 1) == 0);
    CHECK(++free <= c.shape.objects);
    at = Tail(c, first + at) >> 1;
  }
  CHECK(allocated + free == z.fresh / c.units());
  return free;
}

}  // namespace

Result<Zsmalloc*> NewZsmalloc(unsigned chain) {
  CHECK(chain >= ZsmallocGeometry::kMinChain &&
        chain <= ZsmallocGeometry::kMaxChain);
  const Result<void*> memory = os::Map(PageCeil(sizeof(ZsmallocPool)));
  if (!memory.ok()) return memory.status();
  auto* pool = new (memory.value()) ZsmallocPool(chain);
  const Status status = pool->Init();
  if (!status.ok()) {
    CHECK(os::Unmap(pool, PageCeil(sizeof(*pool))).ok());
    return status;
  }
  return static_cast<Zsmalloc*>(pool);
}

}  // namespace uzswap
