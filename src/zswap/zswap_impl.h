// SPDX-License-Identifier: Apache-2.0
// The inside of Zswap. Store, Load, Invalidate: zswap.cc. Writeback:
// writeback.cc. CheckInvariants: check.cc.
//
// Lock order: shard → lru. The slab's lock, and those of pool and device, are
// taken with neither held.
#ifndef UZSWAP_ZSWAP_ZSWAP_IMPL_H_
#define UZSWAP_ZSWAP_ZSWAP_IMPL_H_

#include "zswap/engine_counters.h"
#include "zswap/entry_slab.h"
#include "zswap/entry_table.h"
#include "zswap/limit.h"
#include "zswap/lru.h"
#include "zswap/page_buffers.h"
#include "zswap/pool.h"
#include "zswap/writeback.h"
#include "zswap/zswap.h"

namespace uzswap {

struct Zswap::Impl {
  explicit Impl(const ZswapConfig& config)
      : device(config.device),
        limit(config.max_pool_percent, config.accept_threshold_percent) {
    limit.SetTotalPages(config.total_pages);
  }
  Status Init(const ZswapConfig& config);
  void Release();

  // The steps of Store.
  Status Store(Slot slot, ConstPage page);
  void RemoveOld(Slot slot);
  EntryIndex NewEntry(Slot slot);
  void MakeRoom();
  Status PutInPool(Entry& entry, ConstPage page);
  Status PutOnDevice(Entry& entry, ConstPage page);
  void Publish(Slot slot, EntryIndex index);

  // The steps of Load.
  Result<bool> Load(Slot slot, MutablePage page, Keep keep);
  Status LoadKeeping(EntryIndex index, MutablePage page);
  EntryIndex ClaimToKeep(Slot slot, Keep keep);
  EntryIndex Take(Slot slot);
  Status ReadContent(const Entry& entry, MutablePage page);
  Status ReadPool(const Entry& entry, MutablePage page);
  void PutBack(Slot slot, EntryIndex index);

  void Invalidate(Slot first, Slot end);
  void Rename(Slot from, Slot to);

  // The steps of writeback.
  enum class Until { kCount, kAccepted };
  PageCount Shrink(PageCount pages, Until until);
  Status WriteBackOne(const Lru::Victim& victim, MutablePage buffer);
  struct Claimed {
    Handle handle;
    uint16_t length;
    uint8_t pool;
  };
  bool Claim(const Lru::Victim& victim, Claimed& claimed);
  Status WriteToDevice(ConstPage page, Block& block);
  bool Finish(EntryIndex index, Block block);
  void NoteLimitExceeded();

  // The second reference; false: a writeback has it. Under the shard lock.
  static bool TryClaim(Entry& entry) {
    uint8_t unclaimed = 1;
    return entry.refs.compare_exchange_strong(unclaimed, 2,
                                              std::memory_order_acquire);
  }
  // Drops one reference; the last one frees content and entry.
  void DropReference(EntryIndex index);
  void FreeContent(const Entry& entry);
  void CountEntry(const Entry& entry);
  void UncountEntry(const Entry& entry);
  ByteCount MetadataBytes() const;
  ZswapStats Stats();
  void CheckInvariants();
  void CheckEntry(EntryIndex index, const Entry& entry);

  // Constant after Init. Content is put into pools[current_pool] and stays in
  // the pool that its entry names.
  static constexpr unsigned kPools = 1;
  Device* const device;  // nullptr: no backing store
  Pool pools[kPools];
  unsigned current_pool = 0;

  // Own synchronisation.
  EntrySlab slab;
  EntryTable table;
  Lru lru{slab};
  PoolLimit limit;
  WritebackBackoff backoff;
  PageBuffers buffers;
  PerCpuCounters<Event> events;
  PerCpuCounters<Gauge> gauges;
  std::atomic<bool> exceeded_told{false};
  std::atomic<bool> bad_data_told{false};

  PageCount PoolPages() const {
    PageCount pages = 0;
    for (const Pool& pool : pools) pages += pool.total_pages();
    return pages;
  }
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ZSWAP_IMPL_H_
