// SPDX-License-Identifier: Apache-2.0
// The inside of Zswap. Store, Load, Invalidate: zswap.cc. Writeback:
// writeback.cc. The dense tier: recompress.cc. Read-ahead: swapin.cc.
// CheckInvariants: check.cc.
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
#include "zswap/parameters.h"
#include "zswap/pool_list.h"
#include "zswap/shrinker.h"
#include "zswap/swapin_window.h"
#include "zswap/tier_balance.h"
#include "zswap/writeback.h"
#include "zswap/zswap.h"

namespace uzswap {

struct Zswap::Impl {
  explicit Impl(const ZswapConfig& config)
      : device(config.device),
        device_pages_at_start(device == nullptr ? 0 : device->size()),
        limit(config.max_pool_percent, config.accept_threshold_percent),
        balance(config.max_pool_percent),
        balancing(config.balance_tiers && config.device != nullptr) {
    limit.SetTotalPages(config.total_pages);
  }
  Status Init(const ZswapConfig& config);
  void Release();

  // The steps of Store.
  struct Pending {
    const std::byte* page;
    EntryIndex entry;
    Status* status;
  };
  void StoreGroup(std::span<StoreUnit> units);
  void RemoveOld(Slot slot);
  EntryIndex NewEntry(Slot slot);
  void MakeRoom();
  void PutGroup(std::span<Pending> group);
  void PutInPool(std::span<Pending> group);
  static void SetContent(Entry& entry, const Pool::Stored& stored,
                         PoolIndex pool);
  void CountStored(const Pool::Stored& stored);
  Status PutOnDevice(Entry& entry, ConstPage page);
  void Publish(Slot slot, EntryIndex index);

  // The steps of Load.
  Result<bool> Load(Slot slot, MutablePage page, Keep keep,
                    Neighbours& neighbours);
  Status LoadKeeping(EntryIndex index, MutablePage page,
                     Neighbours& neighbours);
  void CountLoad(const Entry& entry, uint64_t begin);
  EntryIndex ClaimToKeep(Slot slot, Keep keep);
  EntryIndex Take(Slot slot);
  Status ReadContent(const Entry& entry, MutablePage page,
                     Neighbours& neighbours);
  Status ReadPool(const Entry& entry, MutablePage page);
  Status ReadDevice(const Entry& entry, MutablePage page,
                    Neighbours& neighbours);
  void PutBack(Slot slot, EntryIndex index);

  // The pages beside one that had to be read (swapin.cc).
  Status ReadObject(const Entry& entry, std::span<std::byte> object,
                    Neighbours& neighbours);
  void BringBack(const Neighbours& neighbours);
  bool RoomToBringBack();
  struct Returning {
    EntryIndex entry;
    ObjectId object;
    uint16_t length;
    DecoderIndex decoder;  // unless raw
  };
  bool ClaimToReturn(Slot slot, Returning& returning);
  bool Return(const Returning& from, std::span<const std::byte> bytes);
  bool FinishReturn(const Returning& from, Handle handle, PoolIndex pool);

  void Invalidate(Slot first, Slot end);
  void Rename(Slot from, Slot to);

  // The steps of writeback.
  // kVisits: `pages` entries are looked at, as the dynamic shrinker does.
  enum class Until { kCount, kAccepted, kVisits };
  PageCount Shrink(PageCount pages, Until until);
  PageCount ShrinkUnderPressure();
  struct Claimed {
    Handle handle;
    uint16_t length;
    PoolIndex pool;
  };
  struct Leaving {
    Lru::Victim victim;
    Claimed claimed;
    Status status;
  };
  unsigned ClaimSome(PageCount wanted, PageCount& visits,
                     std::span<Leaving> group, bool& met_busy);
  bool SelectVictim(PageCount& visits, Lru::Victim& victim);
  void WriteGroup(std::span<Leaving> group, const PageBuffers::Holder& buffers);
  enum class ClaimResult { kClaimed, kGone, kBusy };
  ClaimResult Claim(const Lru::Victim& victim, Claimed& claimed);
  Status WriteToDevice(std::span<const std::byte> bytes, ObjectId& object);
  bool Finish(EntryIndex index, ObjectId object);
  void NoteLimitExceeded();

  // The ages of entries.
  void StampAge(Entry& entry) {
    entry.age.store(ages.Stamp(seconds.Now()), std::memory_order_relaxed);
  }
  PageCount Age(PageCount most);
  void CountAges(PageCount* buckets);

  // The balance between resident pages and the pool.
  void BalanceTiers();
  void ParametersChanged();
  TierCosts CostsSoFar();

  // The second reference; false: a writeback has it. Under the shard lock.
  static bool TryClaim(Entry& entry) {
    uint8_t unclaimed = 1;
    return entry.refs.compare_exchange_strong(unclaimed, 2,
                                              std::memory_order_acquire);
  }
  // The dense tier.
  Status SetRecompressor(const uzswap_compressor* compressor, int level);
  PageCount Recompress(PageCount most);
  bool RecompressForRoom();
  PageCount Recompress(PageCount most, PageCount visits);
  unsigned ClaimCold(PageCount most, PageCount& visits,
                     std::span<Leaving> group);
  void RecompressGroup(std::span<Leaving> group,
                       const PageBuffers::Holder& buffers);
  unsigned ReadGroup(std::span<Leaving> group,
                     const PageBuffers::Holder& buffers);
  void MoveToDense(const Leaving& leaving, const Pool::Stored& stored,
                   PoolIndex pool);
  void RecompressInBackground();
  void TendDenseTier();

  // Moves entries from draining pools to the current one.
  Status SwitchPool(const PoolKind& kind);
  void PrepareMigrator();
  static void Migrate(Work* work);
  void MigrateAll();
  void StartMigration();
  void ContinueMigration();
  bool HasRoom() const;
  enum class Migrated { kNotThere, kNo, kYes };
  PoolIndex AcquireFor(PoolIndex left);
  Migrated MigrateOne(EntryIndex index, MutablePage buffer);
  bool ClaimToMigrate(EntryIndex index, Claimed& claimed);
  bool Replace(EntryIndex index, const Pool::Stored& stored, PoolIndex pool);
  // Drops one reference; the last one frees content and entry.
  void DropReference(EntryIndex index);
  void FreeContent(const Entry& entry);
  void CountEntry(const Entry& entry);
  void UncountEntry(const Entry& entry);
  uint64_t ToNs(uint64_t cycles) const;
  ByteCount MetadataBytes();
  ZswapStats Stats();
  void CheckInvariants();
  void CheckEntry(EntryIndex index, const Entry& entry);

  // nullptr: no backing store. Constant.
  Device* const device;
  const PageCount device_pages_at_start;

  // A work item, which must lead back to us.
  struct Item : Work {
    Impl* impl;
  };

  // Own synchronisation.
  Worker worker;
  PoolList pools{worker};
  Item migrator{};
  Item tender{};
  Item recompressor{};
  // No background recompression before that (os::Cycles), so that it takes a
  // bounded share of the time.
  std::atomic<uint64_t> recompress_after{0};
  Zswap::HasRoom has_room = nullptr;
  const void* room_argument = nullptr;
  Zswap::IsAway is_away = nullptr;
  const void* away_argument = nullptr;
  std::atomic<uint32_t> migration_restarts{0};
  // The migrator's: the next entry to be looked at, and what of the above it
  // knows.
  uint64_t migrate_at = 1;
  uint32_t migration_restarts_seen = 0;
  // It stopped in the middle for want of room.
  std::atomic<bool> migration_waits{false};
  Parameters parameters;
  EntrySlab slab;
  EntryTable table;
  Lru lru{slab};
  PoolLimit limit;
  DynamicShrinker shrinker;
  // Whoever sets balance_busy has what follows it.
  TierBalance balance;
  std::atomic<bool> balancing;
  unsigned first_percent = 0;  // max_pool_percent while nobody has set it
  std::atomic<bool> balance_busy{false};
  Seconds balanced_at = 0;
  TierCosts costs_before{};
  const uint64_t begin_cycles = os::Cycles();
  const uint64_t begin_ns = os::MonotonicNs();
  CoarseSeconds seconds;
  AgeClock ages;
  EntryAges entry_ages;
  // The sweep: whoever sets sweep_busy has the rest.
  std::atomic<bool> sweep_busy{false};
  std::atomic<bool> sweeping{false};
  uint64_t sweep_at = 1;
  Seconds sweep_began = 0;
  SwapInWindow swapin;
  WritebackBackoff backoff;
  PageBuffers buffers;
  PerCpuCounters<Event> events;
  PerCpuCounters<Gauge> gauges;
  std::atomic<bool> exceeded_told{false};
  std::atomic<bool> device_refuses{false};  // the last write failed
  std::atomic<bool> bad_data_told{false};
  std::atomic<bool> bad_read_told{false};

  PageCount PoolPages() { return pools.total_pages(); }
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ZSWAP_IMPL_H_
