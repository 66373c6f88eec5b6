// SPDX-License-Identifier: Apache-2.0
// Compaction (mm/zsmalloc.c, __zs_compact): within a class, objects of the
// emptiest zspage move into holes of the fullest ones until it is empty and its
// frames can go. It pays as soon as the free objects of a class would fill a
// zspage. An object in use stays, and with it its zspage, for this time.
#include <cstring>

#include "zpool/zsmalloc_pool.h"

namespace uzswap {

PageCount ZsmallocPool::Compact(unsigned objects) {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  const PageCount before = area_.frames();
  const unsigned count = geometry_.count();
  unsigned at = next_class_.load(std::memory_order_relaxed) % count;
  for (unsigned n = 0; n < count && objects > 0; ++n) {
    while (objects > 0 && CompactZspage(classes()[at], &objects)) {
    }
    if (objects > 0) at = (at + 1) % count;
  }
  next_class_.store(at, std::memory_order_relaxed);
  const PageCount after = area_.frames();
  return before > after ? before - after : 0;
}

// Moves the objects of one zspage, *objects at most. False: nothing more is to
// be gained in this class now.
bool ZsmallocPool::CompactZspage(ZsmallocSizeClass& c, unsigned* objects) {
  if (c.holes.load(std::memory_order_relaxed) == 0) return false;
  ZspageId source = 0;
  bool empty = false;
  {
    ScopedLock lock(c.lock);
    if (!WorthCompacting(c)) return false;
    source = Emptiest(c);
    if (source == 0) return false;
    const Zspage& z = area_[source];
    const uint32_t first = z.first_page * kUnitsPerPage;
    for (uint32_t at = 0; at < z.fresh && z.used > 0; at += c.units()) {
      if ((Tail(c, first + at) & 1) == 0) continue;
      const ZspageId to = RoomBeside(c, source);
      if (to == 0 || *objects == 0) break;
      if (MoveObject(c, source, first + at, to)) --*objects;
    }
    empty = z.used == 0;
  }
  if (empty) area_.Give(source);
  return empty;
}

// The last object of a zspage takes it off the lists; nothing of it is touched
// after that.
bool ZsmallocPool::MoveObject(ZsmallocSizeClass& c, ZspageId from,
                              uint32_t unit, ZspageId to) {
  const uint32_t handle = Tail(c, unit) >> 1;
  if (!handles_.BeginMove(handle, unit)) return false;
  const Result<uint32_t> taken = TakeUnit(c, to, handle);
  CHECK(taken.ok());  // HasRoom: no frame is needed
  memcpy(area_.At(taken.value()), area_.At(unit), c.capacity());
  handles_.Set(handle, taken.value());
  ReturnObject(c, from, unit);
  return true;
}

bool ZsmallocPool::WorthCompacting(const ZsmallocSizeClass& c) {
  if (c.shape.objects < 2) return false;
  uint64_t zspages = 0;
  for (const uint32_t count : c.counts) zspages += count;
  return zspages * c.shape.objects - c.used >= c.shape.objects;
}

ZspageId ZsmallocPool::Emptiest(const ZsmallocSizeClass& c) {
  for (unsigned group = 0; group < kGroupFull; ++group) {
    if (c.heads[group] != 0) return c.heads[group];
  }
  return 0;
}

bool ZsmallocPool::HasRoom(const ZsmallocSizeClass& c, const Zspage& z) const {
  return z.free_or_handle != kListEnd ||
         (z.fresh + c.units() <= z.frames * kUnitsPerPage &&
          z.fresh / c.units() < c.shape.objects);
}

// The fullest zspage but `source` that takes another object without a frame.
ZspageId ZsmallocPool::RoomBeside(const ZsmallocSizeClass& c, ZspageId source) {
  constexpr unsigned kLooks = 4;  // at each list, so that the lock is short
  for (unsigned group = kGroupFull; group-- > 0;) {
    ZspageId id = c.heads[group];
    for (unsigned n = 0; n < kLooks && id != 0; ++n, id = area_[id].next) {
      if (id != source && HasRoom(c, area_[id])) return id;
    }
  }
  return 0;
}

}  // namespace uzswap
