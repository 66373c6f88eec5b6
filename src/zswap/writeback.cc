// SPDX-License-Identifier: Apache-2.0
// From the pool to the device, coldest first (mm/zswap.c, zswap_writeback_entry
// and shrink_worker), as it lies in the pool: nothing is decompressed. It runs
// on the thread whose store met a full pool. The content is copied while it
// stays in the pool and the table, so a Load never waits; whoever is later
// finds out under the shard lock.
#include "zswap/writeback.h"

#include "zswap/test_hooks.h"
#include "zswap/zswap_impl.h"

namespace uzswap {

PageCount Zswap::Impl::Shrink(PageCount pages, Until until) {
  if (device == nullptr) return 0;
  if (until != Until::kCount && backoff.Skip()) return 0;
  const PageBuffers::Holder holder(buffers);
  PageCount written = 0;
  unsigned failures = 0;
  bool full = false;
  // Twice round: every entry has had its second chance then.
  PageCount visits = until == Until::kVisits ? pages : 2 * lru.size();
  bool met_busy = false;
  while (written < pages && failures < kMaxWritebackFailures && !full) {
    if (until == Until::kAccepted && PoolPages() <= limit.accept()) break;
    // Who is being loaded is warm, and what comes behind it is warmer.
    if (until == Until::kVisits && met_busy) break;
    Leaving group[kMaxBatch];
    const unsigned count = ClaimSome(pages - written, visits, group, met_busy);
    if (count == 0) break;
    WriteGroup({group, count}, holder);
    for (const Leaving& leaving : std::span(group, count)) {
      written += leaving.status.ok();
      full |= leaving.status.error() == ENOSPC;
      if (leaving.status.ok() || leaving.status.error() == ENOENT) continue;
      events.Add(Event::reject_reclaim_fail);
      ++failures;
    }
  }
  if (written > 0) {
    backoff.Reset();
  } else if (failures > 0) {
    backoff.Failed();
  }
  return written;
}

// The next victims that nobody else has.
unsigned Zswap::Impl::ClaimSome(PageCount wanted, PageCount& visits,
                                std::span<Leaving> group, bool& met_busy) {
  unsigned count = 0;
  while (count < group.size() && count < wanted) {
    Leaving& next = group[count];
    if (!SelectVictim(visits, next.victim)) break;
    HookAfterSelect(next.victim.slot);
    const ClaimResult r = Claim(next.victim, next.claimed);
    met_busy |= r == ClaimResult::kBusy;
    if (r != ClaimResult::kClaimed) continue;
    next.status = kOk;
    ++count;
  }
  return count;
}

// What recompression is done with leaves before what it has still to look at.
bool Zswap::Impl::SelectVictim(PageCount& visits, Lru::Victim& victim) {
  return lru.Select(LruList::kOld, visits, victim) ||
         lru.Select(LruList::kYoung, visits, victim);
}

// ENOENT: the entry went away first, nothing was lost. Other errors: the page
// stays in the pool, where the LRU has already queued it again. A device that
// refused one is not asked for the rest. All claims end here.
void Zswap::Impl::WriteGroup(std::span<Leaving> group,
                             const PageBuffers::Holder& holder) {
  bool refused = false;
  for (unsigned i = 0; i < group.size(); ++i) {
    Leaving& leaving = group[i];
    const Claimed& from = leaving.claimed;
    ObjectId object;
    if (refused) leaving.status = Status::Error(ENOENT);
    if (leaving.status.ok()) {
      // The claim keeps the entry, and the entry its pool.
      pools[from.pool].Copy(from.handle, from.length, holder.page(i));
      leaving.status = WriteToDevice(holder.page(i).first(from.length), object);
      refused = !leaving.status.ok();
    }
    if (leaving.status.ok()) {
      HookBeforeFinish(leaving.victim.slot);
      if (Finish(leaving.victim.entry, object)) {
        events.Add(Event::written_back_pages);
      } else {
        leaving.status = Status::Error(ENOENT);
      }
    }
    DropReference(leaving.victim.entry);
  }
}

// The victim was chosen without the shard lock: by now it may be freed, may be
// the entry of another slot, or somebody else's claim. Only the table knows
// (CVE-2023-53178 is what happens without this check). If the index was freed
// and used again for a newer version of the same slot, that is a valid victim.
Zswap::Impl::ClaimResult Zswap::Impl::Claim(const Lru::Victim& victim,
                                            Claimed& claimed) {
  EntryTable::Cell cell(table, victim.slot);
  if (cell.entry() != victim.entry) return ClaimResult::kGone;
  Entry& entry = slab[victim.entry];
  if (!InPool(entry.kind)) return ClaimResult::kGone;
  if (!TryClaim(entry)) return ClaimResult::kBusy;
  claimed = Claimed{entry.handle(), entry.length, entry.pool};
  return ClaimResult::kClaimed;
}

PageCount Zswap::Impl::ShrinkUnderPressure() {
  if (device == nullptr ||
      !parameters.shrinker_enabled.load(std::memory_order_relaxed)) {
    return 0;
  }
  const PageCount scan =
      shrinker.ToScan(shrinker.Count(lru.size(), PoolPages()), kWritebackBatch);
  return scan == 0 ? 0 : Shrink(scan, Until::kVisits);
}

Status Zswap::Impl::WriteToDevice(std::span<const std::byte> bytes,
                                  ObjectId& object) {
  if (device == nullptr) return Status::Error(ENODEV);
  const Result<ObjectId> written = device->Write(bytes);
  if (device_refuses.load(std::memory_order_relaxed) == written.ok()) {
    device_refuses.store(!written.ok(), std::memory_order_relaxed);
  }
  if (!written.ok()) {
    events.Add(Event::device_write_fail);
    return written.status();
  }
  events.Add(Event::zswpwb);
  object = written.value();
  return kOk;
}

// Makes `object` the content of the entry, unless the entry has been taken out
// of the table meanwhile; then the object is given back. REQUIRES: a claim, so
// that the index still means the same entry.
bool Zswap::Impl::Finish(EntryIndex index, ObjectId object) {
  Entry& entry = slab[index];
  Handle handle = kNoHandle;
  const PoolIndex pool = entry.pool;
  {
    EntryTable::Cell cell(table, entry.slot_now());
    if (cell.entry() == index) {
      lru.Remove(index);
      UncountEntry(entry);
      handle = entry.handle();
      entry.kind = EntryKind::kOnDevice;
      entry.payload = static_cast<uint64_t>(object);
      if (entry.NeedsDecoder()) entry.pool = pools.HoldDecoder(pool);
      CountEntry(entry);
    }
  }
  if (handle == kNoHandle) {
    device->Free(object);
    return false;
  }
  swapin.NoteGone(entry.slot_now());
  pools[pool].Free(handle);
  pools.Drop(pool);
  return true;
}

// Said once, and only when it will stay so: what could not be written because
// other threads are at it, or because it lies among what they use, is counted.
void Zswap::Impl::NoteLimitExceeded() {
  events.Add(Event::pool_limit_exceeded);
  if (device != nullptr && !device_refuses.load(std::memory_order_relaxed)) {
    return;
  }
  if (exceeded_told.exchange(true, std::memory_order_relaxed)) return;
  Line line;
  line << "the pool exceeds its limit of " << limit.max() << " pages: ";
  if (device == nullptr) {
    line << "there is no backing store to write to";
  } else {
    line << "the backing store takes no more pages (it has " << device->used()
         << " in " << device->size() << " pages of storage)";
  }
  Log(line);
}

}  // namespace uzswap
