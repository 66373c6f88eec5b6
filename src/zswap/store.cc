// SPDX-License-Identifier: Apache-2.0
// Store, for a group of up to a batch of pages: what they have in common (the
// look at the limit, a locked context, a reference to the pool) is done once.
// Each page has a fate of its own; what is not obvious in a step is explained
// at the thing it works on.
#include "zswap/same_filled.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_impl.h"

namespace uzswap {

void Zswap::Impl::StoreGroup(std::span<StoreUnit> units) {
  CHECK(units.size() <= kMaxBatch);
  EntryIndex entries[kMaxBatch];
  Pending pending[kMaxBatch];
  unsigned count = 0;
  for (size_t i = 0; i < units.size(); ++i) {
    StoreUnit& unit = units[i];
    RemoveOld(unit.slot);  // before anything can fail
    entries[i] = NewEntry(unit.slot);
    unit.status = entries[i] == kNoEntry ? Status::Error(ENOMEM) : kOk;
    if (entries[i] == kNoEntry) continue;
    Entry& entry = slab[entries[i]];
    if (IsSameFilled(ConstPage(unit.page, kPageSize), entry.payload)) {
      entry.kind = EntryKind::kSameFilled;
      events.Add(Event::same_filled_pages);
    } else {
      unit.status = Status::Error(EINPROGRESS);
      pending[count++] = {unit.page, entries[i], &unit.status};
    }
  }
  if (count > 0) PutGroup({pending, count});
  for (size_t i = 0; i < units.size(); ++i) {
    if (entries[i] == kNoEntry) continue;
    if (units[i].status.ok()) {
      events.Add(Event::zswpout);
      Publish(units[i].slot, entries[i]);
    } else {
      slab.Free(entries[i]);
      units[i].status = Status::Error(ENOMEM);
    }
  }
}

void Zswap::Impl::RemoveOld(Slot slot) {
  const EntryIndex old = Take(slot);
  if (old == kNoEntry) return;
  events.Add(Event::duplicate_entry);
  DropReference(old);
}

EntryIndex Zswap::Impl::NewEntry(Slot slot) {
  const EntryIndex index = HookNoEntry() ? kNoEntry : slab.Allocate();
  if (index == kNoEntry) {
    events.Add(Event::reject_kmemcache_fail);
  } else {
    slab[index].slot.store(Index(slot), std::memory_order_relaxed);
  }
  return index;
}

void Zswap::Impl::MakeRoom() {
  const PoolLimit::Verdict verdict = limit.Check(PoolPages());
  if (verdict == PoolLimit::Verdict::kAccept) return;
  if (verdict == PoolLimit::Verdict::kHit) events.Add(Event::pool_limit_hit);
  // As long as that helps, nothing has to leave the pool.
  if (RecompressForRoom()) return;
  if (Shrink(kWritebackBatch, Until::kAccepted) > 0) return;
  if (PoolPages() >= limit.max()) NoteLimitExceeded();
}

// When zswap is disabled pages go past the pool, which is neither shrunk for
// them nor are they compressed; those that cannot are kept in it all the same,
// since nobody else would have them.
void Zswap::Impl::PutGroup(std::span<Pending> group) {
  if (!parameters.enabled.load(std::memory_order_relaxed)) {
    for (Pending& unit : group) {
      *unit.status =
          PutOnDevice(slab[unit.entry], ConstPage(unit.page, kPageSize));
    }
  }
  PutInPool(group);
  for (Pending& unit : group) {
    if (unit.status->ok()) continue;
    *unit.status =
        PutOnDevice(slab[unit.entry], ConstPage(unit.page, kPageSize));
  }
}

// Those whose status is not good yet.
void Zswap::Impl::PutInPool(std::span<Pending> group) {
  const std::byte* pages[kMaxBatch];
  Pending* units[kMaxBatch];
  unsigned count = 0;
  for (Pending& unit : group) {
    if (unit.status->ok()) continue;
    pages[count] = unit.page;
    units[count++] = &unit;
  }
  if (count == 0) return;
  MakeRoom();
  Pool::Stored stored[kMaxBatch];
  const PoolIndex pool = pools.Acquire(count);
  pools[pool].StoreGroup({pages, count}, stored);
  for (unsigned i = 0; i < count; ++i) {
    CountStored(stored[i]);
    if (stored[i].allocate_error != 0) {
      pools.Drop(pool);
    } else {
      SetContent(slab[units[i]->entry], stored[i], pool);
    }
    *units[i]->status = Status::Error(stored[i].allocate_error);
  }
}

void Zswap::Impl::SetContent(Entry& entry, const Pool::Stored& stored,
                             PoolIndex pool) {
  entry.payload = static_cast<uint64_t>(stored.handle);
  entry.pool = pool;
  entry.length = static_cast<uint16_t>(stored.length);
  entry.kind =
      stored.length == kPageSize ? EntryKind::kRaw : EntryKind::kCompressed;
}

// Exactly one reason is counted for each page that was not kept compressed.
void Zswap::Impl::CountStored(const Pool::Stored& stored) {
  if (stored.allocate_error != 0 && stored.allocate_error != ENOSPC) {
    events.Add(Event::reject_alloc_fail);
  } else if (stored.compress_error == ENOSPC || stored.allocate_error != 0) {
    events.Add(Event::reject_compress_poor);
  } else if (stored.compress_error != 0) {
    events.Add(Event::reject_compress_fail);
  } else {
    events.Add(Event::compressed_bytes_in, kPageSize);
    events.Add(Event::compressed_bytes_out, stored.length);
  }
}

Status Zswap::Impl::PutOnDevice(Entry& entry, ConstPage page) {
  ObjectId object;
  UZSWAP_RETURN_IF_ERROR(WriteToDevice(page, object));
  entry.payload = static_cast<uint64_t>(object);
  entry.length = kPageSize;
  entry.kind = EntryKind::kOnDevice;
  return kOk;
}

void Zswap::Impl::Publish(Slot slot, EntryIndex index) {
  CountEntry(slab[index]);
  StampAge(slab[index]);
  EntryTable::Cell cell(table, slot);
  cell.Put(index);
  // Last: what is on the LRU can be found by a writeback at once.
  if (InPool(slab[index].kind)) lru.Add(index);
}

}  // namespace uzswap
