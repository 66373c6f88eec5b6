// SPDX-License-Identifier: Apache-2.0
// Allocation, free, read and write of zsmalloc; the layout of objects is in
// zsmalloc_pool.h.
//
// Locks: at most one at a time. class: lists, counts, descriptors and tails of
// the zspages of one class. Handles are lock-free, frames have a leaf lock.
#include "zpool/zsmalloc.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/os.h"
#include "zpool/zsmalloc_pool.h"

namespace uzswap {

constinit LockClass ZsmallocSizeClass::lock_class{"zpool class"};

ZsmallocPool::ZsmallocPool(unsigned chain) : geometry_(chain) {
  for (unsigned i = 0; i < geometry_.count(); ++i) {
    new (&classes()[i]) ZsmallocSizeClass(geometry_.shape(i));
  }
}

Status ZsmallocPool::Init() {
  constexpr PageCount kMinPages = (PageCount{16} << 20) >> kPageShift;
  constexpr uint64_t kMaxPerPage = kPageSize / ZsmallocGeometry::kMinSize;
  // Under a limit on address space a smaller pool is better than none.
  Status status;
  for (PageCount pages = ZsmallocArea::kMaxPages; pages >= kMinPages;
       pages /= 2) {
    status = area_.Init(pages);
    if (!status.ok()) continue;
    status =
        handles_.Init(std::min(pages * kMaxPerPage, HandleTable::kMaxHandles));
    if (status.ok()) return kOk;
    area_.Release();
  }
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

Status ZsmallocPool::Place(ZsmallocSizeClass& c, uint32_t handle) {
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
bool ZsmallocPool::Borrow(const ZsmallocSizeClass& c, uint32_t handle) {
  const unsigned largest = c.shape.size + c.shape.size / 4;
  for (auto i = static_cast<unsigned>(&c - classes()) + 1;
       i < geometry_.count() && geometry_.shape(i).size <= largest; ++i) {
    ZsmallocSizeClass& lender = classes()[i];
    if (lender.holes.load(std::memory_order_relaxed) == 0) continue;
    ScopedLock lock(lender.lock);
    const ZspageId id = FullestWithHole(lender);
    // Cannot fail: an object that was one before has its frame.
    if (id != 0) return TakeObject(lender, id, handle).ok();
  }
  return false;
}

Status ZsmallocPool::PlaceInNew(ZsmallocSizeClass& c, uint32_t handle) {
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

ZspageId ZsmallocPool::Fullest(ZsmallocSizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    if (c.heads[group] != 0) return c.heads[group];
  }
  return 0;
}

ZspageId ZsmallocPool::FullestWithHole(ZsmallocSizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    const ZspageId id = c.heads[group];
    if (id != 0 && area_[id].free_or_handle != kListEnd) return id;
  }
  return 0;
}

Status ZsmallocPool::TakeObject(ZsmallocSizeClass& c, ZspageId id,
                                uint32_t handle) {
  const Result<uint32_t> unit = TakeUnit(c, id, handle);
  if (!unit.ok()) return unit.status();
  handles_.Set(handle, unit.value());
  return kOk;
}

// The object's place; the handle does not lead there yet.
Result<uint32_t> ZsmallocPool::TakeUnit(ZsmallocSizeClass& c, ZspageId id,
                                        uint32_t handle) {
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
  ++z.used;
  ++c.used;
  Regroup(c, id);
  return unit;
}

// One more object that never was one. Frames come with it; a class that has
// many gets a few more at once, since it will want them.
Status ZsmallocPool::Extend(ZsmallocSizeClass& c, Zspage& z) {
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
  const uint32_t word = Checked(handle);
  // In use, it stays in its zspage; under the class's lock, anyway.
  const uint32_t unit = handles_.BeginUse(word);
  const ZspageId id = area_.ZspageAt(unit);
  CHECK(id != 0);
  const Zspage& z = area_[id];
  ZsmallocSizeClass& c = classes()[z.class_number];
  bool empty = false;
  {
    ScopedLock lock(c.lock);
    handles_.EndUse(word);
    // Dies for a handle that was freed before: its entry leads nowhere, or to
    // an object of somebody else.
    CHECK(z.used > 0);
    CHECK(c.shape.huge() ? z.free_or_handle == word
                         : Tail(c, unit) == AllocatedTail(word));
    CHECK(!handles_.InUse(word));
    ReturnObject(c, id, unit);
    empty = z.used == 0;
  }
  handles_.Return(word);
  if (empty) area_.Give(id);
}

void ZsmallocPool::ReturnObject(ZsmallocSizeClass& c, ZspageId id,
                                uint32_t unit) {
  Zspage& z = area_[id];
  --z.used;
  --c.used;
  if (z.used == 0) {
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

void ZsmallocPool::Regroup(ZsmallocSizeClass& c, ZspageId id) {
  const Zspage& z = area_[id];
  const unsigned group = FullnessGroup(z.used, c.shape.objects);
  if (group == z.group) return;
  Unlink(c, id);
  Link(c, id, group);
}

void ZsmallocPool::Link(ZsmallocSizeClass& c, ZspageId id, unsigned group) {
  Zspage& z = area_[id];
  z.group = static_cast<uint8_t>(group);
  z.prev = 0;
  z.next = c.heads[group];
  if (z.next != 0) area_[z.next].prev = id;
  c.heads[group] = id;
  ++c.counts[group];
}

void ZsmallocPool::Unlink(ZsmallocSizeClass& c, ZspageId id) {
  const Zspage& z = area_[id];
  (z.prev != 0 ? area_[z.prev].next : c.heads[z.group]) = z.next;
  if (z.next != 0) area_[z.next].prev = z.prev;
  --c.counts[z.group];
}

// ---- read and write

uint32_t ZsmallocPool::Checked(Handle handle) const {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  CHECK(handles_.WasGiven(static_cast<uint64_t>(handle)));
  return static_cast<uint32_t>(handle);
}

void ZsmallocPool::Write(Handle handle, std::span<const std::byte> bytes) {
  const uint32_t word = Checked(handle);
  const uint32_t unit = handles_.BeginUse(word);
  DCHECK(bytes.size() <=
         classes()[area_[area_.ZspageAt(unit)].class_number].capacity());
  memcpy(area_.At(unit), bytes.data(), bytes.size());
  handles_.EndUse(word);
}

std::span<const std::byte> ZsmallocPool::ReadBegin(Handle handle,
                                                   ByteCount bytes,
                                                   MutablePage) {
  const uint32_t unit = handles_.BeginUse(Checked(handle));
  DCHECK(bytes <=
         classes()[area_[area_.ZspageAt(unit)].class_number].capacity());
  return {area_.At(unit), bytes};
}

void ZsmallocPool::ReadEnd(Handle handle) {
  handles_.EndUse(static_cast<uint32_t>(handle));
}

// ---- fork, accounts, checks

void ZsmallocPool::ResetLocksInChild() {
  for (unsigned i = 0; i < geometry_.count(); ++i) {
    classes()[i].lock.ResetInChild();
  }
  area_.ResetLocksInChild();
  UnlockAll();
}

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
