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

#include "base/frames_watcher.h"
#include "base/os.h"
#include "zpool/zsmalloc_hooks.h"
#include "zpool/zsmalloc_name.h"
#include "zpool/zsmalloc_pool.h"

namespace uzswap {

constinit LockClass ZsmallocSizeClass::lock_class{"zpool class"};

ZsmallocPool::ZsmallocPool(unsigned chain)
    : name_(kZsmallocNames[chain]), geometry_(chain) {
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
  Placed object;
  UZSWAP_RETURN_IF_ERROR(Place(bytes, object));
  handles_.Set(object.handle, object.unit);
  return Handle{object.handle};
}

// Nobody knows the handle before this returns, so the copy needs no lock.
Result<Handle> ZsmallocPool::Store(std::span<const std::byte> bytes) {
  Placed object;
  UZSWAP_RETURN_IF_ERROR(Place(bytes.size(), object));
  zsmalloc_hooks::Placed();
  memcpy(area_.At(object.unit), bytes.data(), bytes.size());
  handles_.Set(object.handle, object.unit);
  return Handle{object.handle};
}

Status ZsmallocPool::Place(ByteCount bytes, Placed& object) {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  if (bytes == 0) return Status::Error(EINVAL);
  if (bytes > kPageSize) return Status::Error(ENOSPC);
  object.handle = handles_.Take();
  if (object.handle == 0) return Status::Error(ENOMEM);
  ZsmallocSizeClass& c = ClassFor(bytes);
  ZspageId id = 0;
  unsigned frames = 0;
  {
    ScopedLock lock(c.lock);
    id = Fullest(c);
    if (id != 0 && HasRoom(c, area_[id])) {
      TakeObject(c, id, object);
      return kOk;
    }
    frames = FramesWanted(c, id);
    if (id != 0) area_[id].growing = true;
  }
  const Status status = id != 0             ? Grow(c, id, frames, object)
                        : Borrow(c, object) ? kOk
                                            : PlaceInNew(c, frames, object);
  if (!status.ok()) handles_.Return(object.handle);
  return status;
}

// What the zspage, or a new one, should have for one more object. Asking the
// system costs as much as half a frame, so a class that has many frames takes
// an eighth of them at once: 1 % of the pool is frames that nobody needs yet.
unsigned ZsmallocPool::FramesWanted(const ZsmallocSizeClass& c, ZspageId id) {
  const uint32_t fresh = id != 0 ? area_[id].fresh : 0;
  const unsigned had = id != 0 ? area_[id].frames : 0;
  const uint32_t end = fresh + c.units();
  const PageCount needed = (end + kUnitsPerPage - 1) / kUnitsPerPage;
  const PageCount least = id != 0 ? needed : 1;
  return static_cast<unsigned>(
      std::clamp<PageCount>(had + c.frames / 8, least, c.shape.pages));
}

// Before a class grows it looks for a freed object of a class up to a quarter
// larger. The bytes lost there are fewer than those of one more zspage that is
// seldom full: measured, it halves the overhead of small pools under churn.
bool ZsmallocPool::Borrow(const ZsmallocSizeClass& c, Placed& object) {
  const unsigned largest = c.shape.size + c.shape.size / 4;
  for (unsigned i = Number(c) + 1u;
       i < geometry_.count() && geometry_.shape(i).size <= largest; ++i) {
    ZsmallocSizeClass& lender = classes()[i];
    if (lender.holes.load(std::memory_order_relaxed) == 0) continue;
    ScopedLock lock(lender.lock);
    const ZspageId id = FullestWithHole(lender);
    if (id == 0) continue;
    TakeObject(lender, id, object);
    return true;
  }
  return false;
}

Status ZsmallocPool::PlaceInNew(ZsmallocSizeClass& c, unsigned frames,
                                Placed& object) {
  const Result<ZspageId> taken = area_.Take(c.shape.pages);
  if (!taken.ok()) return taken.status();
  const ZspageId id = taken.value();
  Zspage& z = area_[id];
  if (z.frames == 0) {
    const Status status = area_.Populate(z, frames);
    if (!status.ok()) {
      area_.Give(id);
      return status;
    }
    z.frames = static_cast<uint8_t>(frames);
  }
  StartZspage(c, z);
  ScopedLock lock(c.lock);
  c.frames += z.frames;
  Link(c, id, 0);
  TakeObject(c, id, object);  // the first object is in the first frame
  return kOk;
}

void ZsmallocPool::StartZspage(const ZsmallocSizeClass& c, Zspage& z) {
  z.class_number.store(Number(c), std::memory_order_relaxed);
  z.used = 0;
  z.fresh = 0;
  z.free_or_handle = kListEnd;
}

// A zspage that this thread has marked as growing gets `frames` frames, with no
// lock held, and then the object.
Status ZsmallocPool::Grow(ZsmallocSizeClass& c, ZspageId id, unsigned frames,
                          Placed& object) {
  Zspage& z = area_[id];
  const Status status = area_.Populate(z, frames);
  {
    ScopedLock lock(c.lock);
    z.growing = false;
    if (status.ok()) {
      c.frames += frames - z.frames;
      z.frames = static_cast<uint8_t>(frames);
      TakeObject(c, id, object);
      return kOk;
    }
    if (z.used > 0) return status;
    Retire(c, id);  // what was in it was freed meanwhile
  }
  area_.Give(id);
  return status;
}

// A zspage that another thread grows counts only if it has room now.
ZspageId ZsmallocPool::Fullest(const ZsmallocSizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    ZspageId id = c.heads[group];
    for (unsigned n = 0; n < kLooks && id != 0; ++n, id = area_[id].next) {
      if (!area_[id].growing || HasRoom(c, area_[id])) return id;
    }
  }
  return 0;
}

ZspageId ZsmallocPool::FullestWithHole(const ZsmallocSizeClass& c) {
  for (unsigned group = kGroupFull; group-- > 0;) {
    const ZspageId id = c.heads[group];
    if (id != 0 && area_[id].free_or_handle != kListEnd) return id;
  }
  return 0;
}

void ZsmallocPool::TakeObject(ZsmallocSizeClass& c, ZspageId id,
                              Placed& object) {
  object.unit = TakeUnit(c, id, object.handle);
  handles_.Expect(object.handle, object.unit);
}

// The object's place; the handle does not lead there yet. REQUIRES: HasRoom.
uint32_t ZsmallocPool::TakeUnit(ZsmallocSizeClass& c, ZspageId id,
                                uint32_t handle) {
  Zspage& z = area_[id];
  const bool recycled = !c.shape.huge() && z.free_or_handle != kListEnd;
  const uint32_t at = recycled ? z.free_or_handle : z.fresh;
  const uint32_t unit = z.first_page * kUnitsPerPage + at;
  if (recycled) {
    z.free_or_handle = Tail(c, unit) >> 1;
    c.AddHoles(-1);
    // For the next one, whose tail nobody has touched since it was freed.
    if (z.free_or_handle != kListEnd) {
      __builtin_prefetch(&Tail(c, unit - at + z.free_or_handle), 1);
    }
  } else {
    z.fresh = static_cast<uint16_t>(z.fresh + c.units());
    DCHECK(z.fresh <= z.frames * kUnitsPerPage);
  }
  WillWrite(area_.At(unit), c.shape.size);
  if (c.shape.huge()) {
    z.free_or_handle = handle;
  } else {
    Tail(c, unit) = AllocatedTail(handle);
  }
  ++z.used;
  ++c.used;
  Regroup(c, id);
  return unit;
}

// ---- free

void ZsmallocPool::Free(Handle handle) {
  const uint32_t word = Checked(handle);
  while (!FreeAt(word, handles_.Find(word))) {
  }
}

// False: the object was moved away from `unit` before its class was locked.
bool ZsmallocPool::FreeAt(uint32_t handle, uint32_t unit) {
  const ZspageId id = area_.ZspageAt(unit);
  CHECK(id != 0);
  const Zspage& z = area_[id];
  ZsmallocSizeClass& c =
      classes()[z.class_number.load(std::memory_order_relaxed)];
  bool empty = false;
  zsmalloc_hooks::Located();
  {
    ScopedLock lock(c.lock);
    // Both, because the zspage may have gone to another class, and the object
    // come back to one in this place, between the two loads above.
    if (handles_.Find(handle) != unit ||
        z.class_number.load(std::memory_order_relaxed) != Number(c))
      return false;
    // Dies for a handle that was freed before: its entry leads nowhere, or to
    // an object of somebody else.
    CHECK(z.used > 0);
    CHECK(c.shape.huge() ? z.free_or_handle == handle
                         : Tail(c, unit) == AllocatedTail(handle));
    CHECK(!handles_.InUse(handle));
    empty = ReturnObject(c, id, unit);
  }
  handles_.Return(handle);
  if (empty) area_.Give(id);
  return true;
}

bool ZsmallocPool::ReturnObject(ZsmallocSizeClass& c, ZspageId id,
                                uint32_t unit) {
  Zspage& z = area_[id];
  --z.used;
  --c.used;
  if (z.used == 0 && !z.growing) {
    c.AddHoles(1);
    Retire(c, id);
    return true;
  }
  WillWrite(&Tail(c, unit), sizeof(uint32_t));
  Tail(c, unit) = z.free_or_handle << 1;
  c.AddHoles(1);
  z.free_or_handle = unit - z.first_page * kUnitsPerPage;
  Regroup(c, id);
  return false;
}

// An empty zspage leaves its class.
void ZsmallocPool::Retire(ZsmallocSizeClass& c, ZspageId id) {
  Zspage& z = area_[id];
  c.frames -= z.frames;
  c.AddHoles(-(z.fresh / static_cast<int>(c.units())));
  z.free_or_handle = kListEnd;
  Unlink(c, id);
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
  DCHECK(bytes.size() <= ClassAt(unit).capacity());
  memcpy(area_.At(unit), bytes.data(), bytes.size());
  handles_.EndUse(word);
}

std::span<const std::byte> ZsmallocPool::ReadBegin(Handle handle,
                                                   ByteCount bytes,
                                                   MutablePage) {
  const uint32_t word = Checked(handle);
  // No load passes the locked instruction that begins the use, so what is going
  // to be read is asked for before it; the processor finds the rest by itself.
  const std::byte* line = area_.At(handles_.Get(word));
  const std::byte* const end = line + std::min(bytes, kPrefetch);
  for (; line < end; line += kCacheLine) __builtin_prefetch(line);
  const uint32_t unit = handles_.BeginUse(word);
  DCHECK(bytes <= ClassAt(unit).capacity());
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
