// SPDX-License-Identifier: Apache-2.0
// The dense tier (zram's recompression, zram_drv.c recompress_slot): what the
// LRU's hand finds unreferenced is compressed again by a compressor that packs
// more, and stays in its pool if that saves enough. Either way it is old
// afterwards: it is not tried again, and the first to be written back.
//
// An entry is claimed meanwhile, as in a writeback: a Load uses the old content
// and whoever is later finds out under the shard lock.
#include "zswap/zswap_impl.h"

namespace uzswap {
namespace {

// In the background: pages at a time, of which fork waits for a group at most;
// and afterwards a pause of so many times what that took, which bounds it to an
// eighth of one CPU.
constexpr PageCount kAtOnce = 64;
constexpr uint64_t kPause = 7;
// It begins when the pool has more than this share of its maximum.
constexpr PageCount kBeginPercent = 50;
// Entries the hand passes for each page it looks for.
constexpr PageCount kVisitsEach = 32;

}  // namespace

// What another recompressor could not make smaller gets another chance.
Status Zswap::Impl::SetRecompressor(const uzswap_compressor* compressor,
                                    int level) {
  constexpr PageCount kMoveAtOnce = 64;
  UZSWAP_RETURN_IF_ERROR(pools.SetDense(compressor, level));
  while (lru.MakeYoung(kMoveAtOnce)) {
  }
  if (pools.AnyDraining()) StartMigration();
  return kOk;
}

PageCount Zswap::Impl::Recompress(PageCount most) {
  return pools.HasDense() ? Recompress(most, most * kVisitsEach) : 0;
}

// As writeback would: every entry has its second chance. What leaves a pool
// leaves holes, and the other one grows: so the holes are closed at once.
bool Zswap::Impl::RecompressForRoom() {
  constexpr unsigned kObjects = 8 * kRecompressBatch;
  if (!pools.HasDense()) return false;
  if (Recompress(kRecompressBatch, 2 * lru.size(LruList::kYoung)) == 0) {
    return false;
  }
  if (PoolPages() >= limit.max()) {
    events.Add(Event::pages_compacted, pools.Compact(kObjects));
  }
  return PoolPages() < limit.max();
}

PageCount Zswap::Impl::Recompress(PageCount most, PageCount visits) {
  const PageBuffers::Holder holder(buffers);
  PageCount tried = 0;
  while (tried < most) {
    Leaving group[kMaxBatch];
    const unsigned count = ClaimCold(most - tried, visits, group);
    if (count == 0) break;
    RecompressGroup({group, count}, holder);
    tried += count;
  }
  return tried;
}

unsigned Zswap::Impl::ClaimCold(PageCount most, PageCount& visits,
                                std::span<Leaving> group) {
  unsigned count = 0;
  while (count < group.size() && count < most) {
    Leaving& next = group[count];
    if (!lru.Select(LruList::kYoung, visits, next.victim)) break;
    if (Claim(next.victim, next.claimed) != ClaimResult::kClaimed) continue;
    if (pools.StateOf(next.claimed.pool) == PoolList::State::kDense) {
      lru.MakeOld(next.victim.entry);  // it was, and was used since
      DropReference(next.victim.entry);
      continue;
    }
    ++count;
  }
  return count;
}

// All claims end here.
void Zswap::Impl::RecompressGroup(std::span<Leaving> group,
                                  const PageBuffers::Holder& holder) {
  const unsigned read = ReadGroup(group, holder);
  const unsigned dense = read == 0 ? PoolList::kNone : pools.AcquireDense(read);
  if (dense != PoolList::kNone) {
    const auto pool = static_cast<PoolIndex>(dense);
    const std::byte* pages[kMaxBatch];
    ByteCount before[kMaxBatch];
    const Leaving* units[kMaxBatch];
    unsigned count = 0;
    for (unsigned i = 0; i < group.size(); ++i) {
      if (!group[i].status.ok()) continue;
      pages[count] = holder.page(i).data();
      before[count] = group[i].claimed.length;
      units[count++] = &group[i];
    }
    Pool::Stored stored[kMaxBatch];
    pools[pool].StoreSmaller({pages, count}, before, stored);
    for (unsigned i = 0; i < count; ++i) {
      MoveToDense(*units[i], stored[i], pool);
    }
  }
  for (const Leaving& leaving : group) DropReference(leaving.victim.entry);
}

// Each page of the group, those of one pool together; returns how many could be
// had. What cannot be decompressed is left for a load to find.
unsigned Zswap::Impl::ReadGroup(std::span<Leaving> group,
                                const PageBuffers::Holder& holder) {
  unsigned good = 0;
  uint32_t done = 0;
  for (unsigned first = 0; first < group.size(); ++first) {
    if ((done >> first & 1) != 0) continue;
    const PoolIndex pool = group[first].claimed.pool;
    Pool::Wanted wanted[kMaxBatch];
    unsigned number[kMaxBatch];
    unsigned count = 0;
    for (unsigned i = first; i < group.size(); ++i) {
      const Claimed& from = group[i].claimed;
      if (from.pool != pool) continue;
      done |= uint32_t{1} << i;
      number[count] = i;
      wanted[count++] = {from.handle, from.length, holder.page(i).data(), kOk};
    }
    pools[pool].LoadGroup({wanted, count});
    for (unsigned i = 0; i < count; ++i) {
      group[number[i]].status = wanted[i].status;
      good += wanted[i].status.ok();
      if (!wanted[i].status.ok()) lru.MakeOld(group[number[i]].victim.entry);
    }
  }
  return good;
}

// The reference that was taken to the pool is the entry's, or is dropped.
void Zswap::Impl::MoveToDense(const Leaving& leaving,
                              const Pool::Stored& stored, PoolIndex pool) {
  const EntryIndex index = leaving.victim.entry;
  const Claimed& from = leaving.claimed;
  if (stored.allocate_error == 0) {
    if (Replace(index, stored, pool)) {
      pools[from.pool].Free(from.handle);
      pools.Drop(from.pool);
      events.Add(Event::recompressed_pages);
      lru.MakeOld(index);
    } else {
      pools[pool].Free(stored.handle);
      pools.Drop(pool);
    }
    return;
  }
  pools.Drop(pool);
  if (stored.allocate_error != ENOSPC) return;  // no memory: perhaps later
  events.Add(Event::recompress_poor);
  lru.MakeOld(index);
}

void Zswap::Impl::RecompressInBackground() {
  const uint64_t begin = os::Cycles();
  for (PageCount tried = 0; tried < kAtOnce && HasRoom();) {
    const PageCount some = Recompress(kMaxBatch);
    if (some == 0) break;
    tried += some;
    worker.YieldPoint();
  }
  const uint64_t end = os::Cycles();
  recompress_after.store(end + kPause * (end - begin),
                         std::memory_order_relaxed);
}

void Zswap::Impl::TendDenseTier() {
  if (!pools.HasDense() || PoolPages() * 100 <= limit.max() * kBeginPercent ||
      os::Cycles() < recompress_after.load(std::memory_order_relaxed)) {
    return;
  }
  (void)worker.Queue(recompressor);
}

}  // namespace uzswap
