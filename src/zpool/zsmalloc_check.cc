// SPDX-License-Identifier: Apache-2.0
// Statistics and the full scan of a zsmalloc pool.
#include "base/check.h"
#include "zpool/zsmalloc_pool.h"

namespace uzswap {

ZsmallocClassStats ZsmallocPool::ClassStats(unsigned i) {
  ZsmallocSizeClass& c = classes()[i];
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
    ZsmallocSizeClass& c = classes()[i];
    ScopedLock lock(c.lock);
    CheckClass(c);
    live += c.used;
    frames += c.frames;
    for (const uint32_t count : c.counts) runs += count;
  }
  handles_.CheckInvariants(live);
  area_.CheckInvariants(runs, frames);
}

void ZsmallocPool::CheckClass(ZsmallocSizeClass& c) {
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
      CHECK(z.class_number.load(std::memory_order_relaxed) == Number(c));
      CHECK(!z.growing);
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
uint64_t ZsmallocPool::CheckZspage(ZsmallocSizeClass& c, const Zspage& z) {
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

}  // namespace uzswap
