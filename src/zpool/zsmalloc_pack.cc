// SPDX-License-Identifier: Apache-2.0
// The part of compaction that the kernel cannot do. When the holes of a class
// are too few to empty one of its zspages, one that has frames for more than
// its objects is packed: they move into holes of others, and the rest into a
// new zspage with just the frames that they need. With a hundred classes, each
// of which has such a zspage, that is a tenth of the frames of a small pool.
#include <algorithm>

#include "zpool/zsmalloc_pool.h"

namespace uzswap {
namespace {

unsigned FramesOf(const ZsmallocSizeClass& c, uint64_t objects) {
  return static_cast<unsigned>((objects * c.units() + kUnitsPerPage - 1) /
                               kUnitsPerPage);
}

}  // namespace

// A zspage, other than `besides`, that would do with fewer frames.
ZspageId ZsmallocPool::Loose(const ZsmallocSizeClass& c, ZspageId besides) {
  unsigned seen = 0;
  for (unsigned group = 1; group < kGroupFull; ++group) {
    for (ZspageId id = c.heads[group]; id != 0; id = area_[id].next) {
      const Zspage& z = area_[id];
      if (id != besides && !z.growing && FramesOf(c, z.used) < z.frames) {
        return id;
      }
      if (++seen >= kMaxSeenAtOnce) return 0;
    }
  }
  return 0;
}

// The free objects that RoomBeside finds, one after the other.
uint64_t ZsmallocPool::HolesBeside(const ZsmallocSizeClass& c,
                                   ZspageId source) {
  uint64_t holes = 0;
  for (unsigned group = 1; group < kGroupFull; ++group) {
    ZspageId id = c.heads[group];
    for (unsigned n = 0; n < kLooks && id != 0; ++n, id = area_[id].next) {
      const Zspage& z = area_[id];
      if (id != source) holes += z.fresh / c.units() - z.used;
    }
  }
  return holes;
}

// Whether none of the objects of a zspage is being read: it would have to stay.
// In holds of the lock as short as those of compaction.
bool ZsmallocPool::IsIdle(ZsmallocSizeClass& c, ZspageId id) {
  for (uint32_t at = 0;; at += kMaxSeenAtOnce * c.units()) {
    ScopedLock lock(c.lock);
    if (Loose(c, 0) != id) return false;
    const Zspage& z = area_[id];
    const uint32_t first = z.first_page * kUnitsPerPage;
    const uint32_t end =
        std::min(uint32_t{z.fresh}, at + kMaxSeenAtOnce * c.units());
    for (uint32_t i = at; i < end; i += c.units()) {
      const uint32_t tail = Tail(c, first + i);
      if ((tail & 1) != 0 && handles_.InUse(tail >> 1)) return false;
    }
    if (end == z.fresh) return true;
  }
}

// False: nothing more is to be gained in this class now.
bool ZsmallocPool::PackZspage(ZsmallocSizeClass& c, unsigned* objects,
                              Balance* balance) {
  // Without a hole it is growing, and frames were taken for what comes.
  if (c.shape.objects < 2 || c.holes.load(std::memory_order_relaxed) == 0) {
    return false;
  }
  uint64_t rest = 0;  // what finds no hole elsewhere
  ZspageId id = 0;
  {
    ScopedLock lock(c.lock);
    id = Loose(c, 0);
    // What cannot be ended is not begun: it would cost frames.
    if (id == 0 || area_[id].used > *objects) return false;
    const uint64_t beside = HolesBeside(c, id);
    if (area_[id].used > beside) rest = area_[id].used - beside;
  }
  if (!IsIdle(c, id)) return false;
  Walk walk;
  walk.packing = true;
  if (rest > 0) {
    walk.target = OpenTarget(c, FramesOf(c, rest));
    if (walk.target == 0) return false;
    balance->taken += FramesOf(c, rest);
  }
  Step step = Step::kGoOn;
  while (step == Step::kGoOn) step = CompactStep(c, walk, objects);
  if (step == Step::kEmptied) balance->gone += area_.Give(walk.source);
  if (walk.target != 0) balance->gone += CloseTarget(c, walk.target);
  return step == Step::kEmptied;
}

// A new zspage, marked as growing so that it stays, empty or not. 0: there is
// no memory for it.
ZspageId ZsmallocPool::OpenTarget(ZsmallocSizeClass& c, unsigned frames) {
  const Result<ZspageId> taken = area_.Take(c.shape.pages, /*warm=*/false);
  if (!taken.ok()) return 0;
  const ZspageId id = taken.value();
  Zspage& z = area_[id];
  if (!area_.Populate(z, frames).ok()) {
    area_.Give(id);
    return 0;
  }
  z.frames = static_cast<uint8_t>(frames);
  StartZspage(c, z);
  z.growing = true;
  ScopedLock lock(c.lock);
  c.frames += z.frames;
  Link(c, id, 0);
  return id;
}

// Returns how many frames went.
PageCount ZsmallocPool::CloseTarget(ZsmallocSizeClass& c, ZspageId id) {
  {
    ScopedLock lock(c.lock);
    Zspage& z = area_[id];
    z.growing = false;
    if (z.used > 0) return 0;
    Retire(c, id);
  }
  return area_.Give(id);
}

}  // namespace uzswap
