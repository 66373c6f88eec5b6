// SPDX-License-Identifier: Apache-2.0
// Load and Invalidate (Store: store.cc) are lists of named steps, in the order
// of the page's way; design.md walks the same way. What is not obvious in a
// step is explained at the thing it works on: entry.h for who may touch an
// entry when.
#include "zswap/zswap.h"

#include "zswap/same_filled.h"
#include "zswap/zswap_impl.h"

namespace uzswap {

Result<bool> Zswap::Impl::Load(Slot slot, MutablePage page, Keep keep,
                               Neighbours& neighbours) {
  if (const EntryIndex kept = ClaimToKeep(slot, keep); kept != kNoEntry) {
    UZSWAP_RETURN_IF_ERROR(LoadKeeping(kept, page, neighbours));
    return true;
  }
  const EntryIndex index = Take(slot);
  if (index == kNoEntry) return Status::Error(ENOENT);
  const Entry& entry = slab[index];
  const uint64_t begin = os::Cycles();
  if (!ReadContent(entry, page, neighbours).ok()) {
    PutBack(slot, index);
    return Status::Error(EIO);
  }
  CountLoad(entry, begin);
  DropReference(index);
  return false;
}

void Zswap::Impl::CountLoad(const Entry& entry, uint64_t begin) {
  const uint64_t cycles = os::Cycles() - begin;
  if (entry.kind == EntryKind::kOnDevice) {
    events.Add(Event::device_in);
    events.Add(Event::device_load_cycles, cycles);
    shrinker.NoteDiskSwapIn();
  } else {
    events.Add(Event::zswpin);
    events.Add(Event::pool_load_cycles, cycles);
    swapin.NoteLoaded(entry.slot_now());
  }
}

// kNoEntry: it is not to be kept, or a writeback has it.
EntryIndex Zswap::Impl::ClaimToKeep(Slot slot, Keep keep) {
  if (keep == Keep::kNo) return kNoEntry;
  EntryTable::Cell cell(table, slot);
  const EntryIndex index = cell.entry();
  if (index == kNoEntry) return kNoEntry;
  Entry& entry = slab[index];
  if (InPool(entry.kind) &&
      (keep == Keep::kFree || PoolPages() > limit.accept())) {
    return kNoEntry;
  }
  return TryClaim(entry) ? index : kNoEntry;
}

Status Zswap::Impl::LoadKeeping(EntryIndex index, MutablePage page,
                                Neighbours& neighbours) {
  const Entry& entry = slab[index];
  const uint64_t begin = os::Cycles();
  const Status s = ReadContent(entry, page, neighbours);
  if (s.ok()) {
    CountLoad(entry, begin);
    lru.Touch(index);
    StampAge(slab[index]);
  }
  DropReference(index);
  return s.ok() ? kOk : Status::Error(EIO);
}

EntryIndex Zswap::Impl::Take(Slot slot) {
  EntryIndex index;
  {
    EntryTable::Cell cell(table, slot);
    index = cell.Take();
  }
  if (index != kNoEntry) lru.Remove(index);
  return index;
}

Status Zswap::Impl::ReadContent(const Entry& entry, MutablePage page,
                                Neighbours& neighbours) {
  switch (entry.kind) {
    case EntryKind::kSameFilled:
      FillSame(page, entry.payload);
      return kOk;
    case EntryKind::kCompressed:
    case EntryKind::kRaw:
      return ReadPool(entry, page);
    case EntryKind::kOnDevice:
      return ReadDevice(entry, page, neighbours);
    case EntryKind::kFree:
      break;
  }
  CHECK(false);
  return Status::Error(EIO);
}

Status Zswap::Impl::ReadPool(const Entry& entry, MutablePage page) {
  const Status s = pools[entry.pool].Load(entry.handle(), entry.length, page);
  if (s.ok()) return s;
  events.Add(Event::decompress_fail);
  if (!bad_data_told.exchange(true)) {
    Line line;
    line << "a page could not be decompressed: slot ";
    line.Hex(Index(entry.slot_now()));
    line << ", " << uint64_t{entry.length} << " bytes";
    Log(line);
  }
  return s;
}

// What is there may have been compressed by a pool that is gone.
Status Zswap::Impl::ReadDevice(const Entry& entry, MutablePage page,
                               Neighbours& neighbours) {
  const Status read = ReadObject(entry, page.first(entry.length), neighbours);
  Status s = read;
  if (!read.ok()) {
    events.Add(Event::device_read_fail);
  } else if (entry.NeedsDecoder()) {
    s = pools.decoders().Decode(entry.pool, page, entry.length);
    if (!s.ok()) events.Add(Event::decompress_fail);
  }
  if (!s.ok() && !bad_read_told.exchange(true)) {
    Line line;
    line << "a page cannot be had from the backing store: slot ";
    line.Hex(Index(entry.slot_now()));
    line << ", " << uint64_t{entry.length} << " bytes: ";
    if (read.error() == EBADMSG) {
      line << "they are not what was written";
    } else if (!read.ok()) {
      line << "error " << read.error();
    } else {
      line << "they could not be decompressed";
    }
    Log(line);
  }
  return s;
}

void Zswap::Impl::PutBack(Slot slot, EntryIndex index) {
  EntryTable::Cell cell(table, slot);
  cell.Put(index);
  if (InPool(slab[index].kind)) lru.Add(index);
}

void Zswap::Impl::Invalidate(Slot first, Slot end) {
  EntryIndex taken[32];
  Slot at = first;
  while (at < end) {
    const size_t count = table.TakeSome(at, end, taken);
    for (size_t i = 0; i < count; ++i) {
      lru.Remove(taken[i]);
      swapin.NoteGone(slab[taken[i]].slot_now());
      DropReference(taken[i]);
    }
  }
  table.DropPages(first, end);
}

void Zswap::Impl::Rename(Slot from, Slot to) {
  EntryIndex index;
  {
    EntryTable::Cell cell(table, from);
    index = cell.Take();
  }
  if (index == kNoEntry) return;
  // A writeback that finishes just now finds the entry in no cell and leaves
  // it in the pool.
  EntryTable::Cell cell(table, to);
  slab[index].slot.store(Index(to), std::memory_order_relaxed);
  cell.Put(index);
}

void Zswap::Impl::DropReference(EntryIndex index) {
  Entry& entry = slab[index];
  const uint8_t before = entry.refs.fetch_sub(1, std::memory_order_acq_rel);
  CHECK(before == 1 || before == 2);
  if (before == 2) return;
  UncountEntry(entry);
  FreeContent(entry);
  slab.Free(index);
}

void Zswap::Impl::FreeContent(const Entry& entry) {
  if (InPool(entry.kind)) {
    pools[entry.pool].Free(entry.handle());
    pools.Drop(entry.pool);
  } else if (entry.kind == EntryKind::kOnDevice) {
    device->Free(entry.object());
    if (entry.NeedsDecoder()) pools.decoders().Drop(entry.pool);
    backoff.Reset();  // there is room again
  }
}

namespace {

Gauge GaugeOf(EntryKind kind) {
  switch (kind) {
    case EntryKind::kSameFilled:
      return Gauge::kSameFilled;
    case EntryKind::kCompressed:
      return Gauge::kCompressed;
    case EntryKind::kRaw:
      return Gauge::kRaw;
    case EntryKind::kOnDevice:
      return Gauge::kOnDevice;
    case EntryKind::kFree:
      break;
  }
  CHECK(false);
  return Gauge::kCount;
}

}  // namespace

void Zswap::Impl::CountEntry(const Entry& entry) {
  gauges.Add(GaugeOf(entry.kind));
  if (entry.kind == EntryKind::kCompressed) {
    gauges.Add(Gauge::kCompressedBytes, entry.length);
    pools.AddBytes(entry.pool, entry.length);
  }
}

void Zswap::Impl::UncountEntry(const Entry& entry) {
  gauges.Subtract(GaugeOf(entry.kind));
  if (entry.kind == EntryKind::kCompressed) {
    gauges.Subtract(Gauge::kCompressedBytes, entry.length);
    pools.SubtractBytes(entry.pool, entry.length);
  }
}

}  // namespace uzswap
