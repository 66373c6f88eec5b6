// SPDX-License-Identifier: Apache-2.0
// Compaction (mm/zsmalloc.c, __zs_compact): within a class, objects of the
// emptiest zspage move into holes of the fullest ones until it is empty and its
// frames can go (what is left then: zsmalloc_pack.cc). It pays as soon as the
// free objects of a class would fill a zspage. An object in use stays, and with
// it its zspage, for this time.
#include <cstring>

#include "zpool/zsmalloc_hooks.h"
#include "zpool/zsmalloc_pool.h"

namespace uzswap {

PageCount ZsmallocPool::Compact(unsigned objects) {
  DCHECK(!frozen_.load(std::memory_order_relaxed));
  Balance balance;
  const unsigned count = geometry_.count();
  unsigned at = next_class_.load(std::memory_order_relaxed) % count;
  for (unsigned n = 0; n < count && objects > 0; ++n) {
    ZsmallocSizeClass& c = classes()[at];
    while (objects > 0 && CompactZspage(c, &objects, &balance)) {
    }
    while (objects > 0 && PackZspage(c, &objects, &balance)) {
    }
    if (objects > 0) at = (at + 1) % count;
  }
  next_class_.store(at, std::memory_order_relaxed);
  // Whoever compacts wants memory more than a pool that breathes easily.
  // What packing took is given back at once, from what it emptied.
  constexpr PageCount kWorthACall = 8;
  const bool owes = balance.taken > balance.gone;
  if (objects > 0 || owes) balance.gone += area_.Trim(owes ? 0 : kWorthACall);
  return Settle(balance);
}

// What one call took and another gave back is counted once: a call that ends
// with less than it began with leaves its debt to the next.
PageCount ZsmallocPool::Settle(const Balance& balance) {
  const PageCount owed =
      balance.taken + owed_.exchange(0, std::memory_order_relaxed);
  if (balance.gone >= owed) return balance.gone - owed;
  owed_.fetch_add(owed - balance.gone, std::memory_order_relaxed);
  return 0;
}

// Moves the objects of one zspage, *objects at most. False: nothing more is to
// be gained in this class now.
bool ZsmallocPool::CompactZspage(ZsmallocSizeClass& c, unsigned* objects,
                                 Balance* balance) {
  if (c.holes.load(std::memory_order_relaxed) == 0) return false;
  Walk walk;
  Step step = Step::kGoOn;
  while (step == Step::kGoOn) step = CompactStep(c, walk, objects);
  if (step == Step::kDone) return false;
  balance->gone += area_.Give(walk.source);
  return true;
}

// One hold of the lock. A zspage that is not the emptiest any more is left as
// it is.
ZsmallocPool::Step ZsmallocPool::CompactStep(ZsmallocSizeClass& c, Walk& walk,
                                             unsigned* objects) {
  ScopedLock lock(c.lock);
  const ZspageId source = walk.packing         ? Loose(c, walk.target)
                          : WorthCompacting(c) ? Emptiest(c)
                                               : 0;
  if (source == 0) return Step::kDone;
  if (source != walk.source) {
    walk.source = source;
    walk.at = 0;
  }
  const Zspage& z = area_[source];
  unsigned seen = 0;
  ByteCount moved = 0;
  Step step = Step::kGoOn;
  while (step == Step::kGoOn && seen < kMaxSeenAtOnce &&
         moved < kMaxMovedAtOnce) {
    if (walk.at >= z.fresh) {
      step = Step::kDone;  // what is left is in use
      break;
    }
    step = CompactObject(c, walk, objects, &moved);
    walk.at += c.units();
    ++seen;
  }
  zsmalloc_hooks::Compacted(seen, moved);
  return step;
}

ZsmallocPool::Step ZsmallocPool::CompactObject(ZsmallocSizeClass& c,
                                               const Walk& walk,
                                               unsigned* objects,
                                               ByteCount* moved) {
  const uint32_t unit = area_[walk.source].first_page * kUnitsPerPage + walk.at;
  if ((Tail(c, unit) & 1) == 0) return Step::kGoOn;
  const ZspageId to = RoomBeside(c, walk.source);
  if (to == 0 || *objects == 0) return Step::kDone;
  const uint32_t handle = Tail(c, unit) >> 1;
  if (!handles_.BeginMove(handle, unit)) return Step::kGoOn;
  const uint32_t new_unit = TakeUnit(c, to, handle);
  memcpy(area_.At(new_unit), area_.At(unit), c.capacity());
  handles_.Set(handle, new_unit);
  --*objects;
  *moved += c.capacity();
  // The last object takes its zspage off the lists.
  return ReturnObject(c, walk.source, unit) ? Step::kEmptied : Step::kGoOn;
}

bool ZsmallocPool::WorthCompacting(const ZsmallocSizeClass& c) {
  if (c.shape.objects < 2) return false;
  uint64_t zspages = 0;
  for (const uint32_t count : c.counts) zspages += count;
  return zspages * c.shape.objects - c.used >= c.shape.objects;
}

ZspageId ZsmallocPool::Emptiest(const ZsmallocSizeClass& c) {
  for (unsigned group = 1; group < kGroupFull; ++group) {
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
  for (unsigned group = kGroupFull; group-- > 0;) {
    ZspageId id = c.heads[group];
    for (unsigned n = 0; n < kLooks && id != 0; ++n, id = area_[id].next) {
      if (id != source && HasRoom(c, area_[id])) return id;
    }
  }
  return 0;
}

}  // namespace uzswap
