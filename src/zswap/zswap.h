// SPDX-License-Identifier: Apache-2.0
// The engine: slot → entry → pool. Semantics are those of mm/zswap.c (newest
// kernels), with one difference on purpose: Store never refuses. What cannot be
// kept compressed is kept raw; what the pool has no room for goes to the
// device; with no room there either, the limit is exceeded, visibly (a counter,
// one warning), and nothing is lost.
//
// Threads: every call is safe from any thread. Two calls on the SAME slot must
// not run at the same time (the kernel's folio lock; the pager owns the page
// while it calls); writeback, which zswap starts by itself, is made safe
// against them inside.
// Signals: callers block signals (uzswap is never re-entered on a thread).
#ifndef UZSWAP_ZSWAP_ZSWAP_H_
#define UZSWAP_ZSWAP_ZSWAP_H_

#include <uzswap/compressor.h>

#include <span>

#include "base/page.h"
#include "base/status.h"
#include "device/device.h"
#include "zpool/zpool.h"

namespace uzswap {

struct ZswapConfig {
  const uzswap_compressor* compressor;  // resolved before (never by name here)
  int level;
  const char* zpool;
  Device* device;             // owned by the caller; nullptr: no backing store
  PageCount total_pages;      // what max_pool_percent is a percentage of
  unsigned max_pool_percent;  // 1 … 100
  unsigned accept_threshold_percent;  // 1 … 100, of the maximum
  // max_pool_percent is only where it begins: it follows what refaults cost
  // (tier_balance.h) until somebody sets it. Not without a device.
  bool balance_tiers = false;
};

struct ZswapStats {
#define UZSWAP_COUNTER(name, text) uint64_t name;
#include "zswap/counters.def"
#undef UZSWAP_COUNTER
  PageCount stored_pages;      // entries, wherever their content is
  PageCount pools;             // alive: the current one and those that drain
  PageCount used_pools;        // of those, the ones that hold entries
  PageCount pool_pages;        // frames of the zpool: pool_total_size / 4096
  PageCount same_filled;       // entries now
  PageCount incompressible;    // entries now: stored_incompressible_pages
  PageCount compressed;        // entries now, compressed in the pool
  ByteCount compressed_bytes;  // their length
  // Of those, what is in the dense tier, and the frames it has.
  PageCount dense_pools;  // of `pools`: 0 or 1
  PageCount dense_pages;
  ByteCount dense_bytes;
  PageCount dense_pool_pages;
  PageCount on_device;       // entries now
  ByteCount metadata_bytes;  // table, entries, contexts, zpool descriptors,
                             // the device's index and buffers
  // Entries now, by the time since they were stored or used: < 1 s, < 10 s,
  // < 1 min, < 10 min, < 1 h, older.
  PageCount age_pages[6];
  unsigned pool_percent;  // the pool's share now: max_pool_percent, or balanced
  uint64_t pool_load_ns;
  uint64_t device_load_ns;
  // Loads from the device that the dynamic shrinker has not answered yet.
  PageCount disk_swapins;
  DeviceStats device;
};

// One page of a group.
struct StoreUnit {
  Slot slot;
  const std::byte* page;  // kPageSize bytes
  Status status;          // set by StoreGroup
};

// What Load does with the entry.
enum class Keep {
  kNo,      // it is freed: an exclusive load
  kFree,    // kept if that takes no pool memory: same-filled, on the device
  kIfRoom,  // also kept in the pool, while that is below its accept threshold
};

class Parameters;

class Zswap {
 public:
  // ENOENT: unknown zpool. EINVAL: a percentage out of range. ENOMEM.
  static Result<Zswap*> Create(const ZswapConfig& config);
  void Destroy();

  // Keeps the page under slot; an older version is gone before anything can
  // fail (B3). ENOMEM only when not even an entry could be had: the page is
  // then NOT stored and the caller keeps it.
  Status Store(Slot slot, ConstPage page);
  // As Store for each of them, compressed as one batch. REQUIRES: at most
  // kMaxBatch (8), of different slots.
  void StoreGroup(std::span<StoreUnit> units);
  // Gives the page back. True: the entry stays (a copy that a page which is not
  // written to need not be stored again for; the kernel's swap cache). ENOENT:
  // not here. EIO: the content could not be had; the entry stays, the page is
  // undefined.
  Result<bool> Load(Slot slot, MutablePage page, Keep keep);
  // The same in two steps, so that nobody waits for the page meanwhile: Load
  // sets `beside` if pages beside it came with it from slow storage, and
  // BringBack, which may write others to the device to make room, puts them
  // into the pool.
  struct Neighbours {
    Slot first{};
    PageCount pages = 0;  // 0: none
    Slot read{};          // is among them, and served
  };
  Result<bool> Load(Slot slot, MutablePage page, Keep keep, Neighbours& beside);
  void BringBack(const Neighbours& beside);
  Status Load(Slot slot, MutablePage page) {
    return Load(slot, page, Keep::kNo).status();
  }
  bool Contains(Slot slot);
  // Forgets [first, first + count). Cheap where nothing is stored.
  void Invalidate(Slot first, PageCount count);
  // The content of `from` is now called `to` (mremap). REQUIRES: `to` is empty.
  void Rename(Slot from, Slot to);

  // Writes back up to `pages` of the coldest pool pages now. Returns how many
  // went. The same shrinker runs by itself when the pool is full.
  PageCount Shrink(PageCount pages);

  // The dynamic shrinker (mm/zswap.c, zswap_shrinker_count and _scan): while
  // shrinker_enabled, looks at the share of the pool that the kernel scans at
  // its first reclaim priority (shrinker.h). For a caller that is short of
  // memory. Returns how many pages went.
  PageCount ShrinkUnderPressure();

  // Moves up to `most` of the coldest pages that are not there yet to the dense
  // tier, if they get smaller; returns how many were tried, 0 without a dense
  // tier. Takes about 30 µs a page; any thread, no lock of the engine held. A
  // full pool and Tend do it by themselves.
  PageCount Recompress(PageCount most);

  // Moves objects of the pools together where an eighth of their frames is
  // holes and gives frames back; returns how many. A bounded step: call it
  // again.
  PageCount Compact();

  // Looks at up to `most` entries so that the ages of all are told apart (see
  // age.h); returns how many, 0 while that is not needed. Any thread; takes
  // nanoseconds an entry. Tend does it, too.
  PageCount Age(PageCount most);

  // To be called now and then, where no lock of the engine is held: has what
  // came up since done in the background (contexts for CPUs that came later).
  void Tend();

  // Calls visit(argument, class) for the classes of the pool that takes stores,
  // in the order of sizes; not at all if its zpool has none.
  using VisitClass = void (*)(void* argument, const ZpoolClassStats& stats);
  void VisitClasses(VisitClass visit, void* argument);

  // Frames of the pools, and metadata, the device's included; cheap: for the
  // budget, called on every fault.
  PageCount pool_pages() const;
  PageCount metadata_pages() const;
  PageCount memory_pages() const { return pool_pages() + metadata_pages(); }
  // What the backing store has of pages written, holes included; 0 without one.
  PageCount device_pages() const;
  // The most that it may have, at most what it was opened with.
  void SetDeviceLimit(PageCount pages);
  // Changes what max_pool_percent refers to.
  void SetTotalPages(PageCount total_pages);
  ZswapStats Stats();

  // Stores go to a pool of this kind from now on; the one that took them so far
  // drains, also by moving its entries over in the background, and is destroyed
  // when it is empty. Going back to it before revives it. ENOENT: no such
  // zpool. EINVAL: the compressor refuses the level. ENOSPC: too many pools
  // still have entries. ENOMEM. On error nothing has changed. Sleeps; no lock
  // of the engine may be held. (zswap_compressor_param_set)
  Status SwitchPool(const uzswap_compressor& compressor, int level,
                    const char* zpool);
  // From now on pages that stay cold are compressed again by this compressor
  // (nullptr: no more), in a pool with the same zpool. What was compressed by
  // another one follows as in SwitchPool, whose errors and conditions hold.
  // (zram's recomp_algorithm)
  Status SetRecompressor(const uzswap_compressor* compressor, int level);
  // See parameters.h; ParametersChanged when a percentage has another value.
  Parameters& parameters();
  void ParametersChanged();
  // Until nothing happens in the background any more, and no thread is there.
  void FlushWork();
  // What found no thread to be done on in the background is done here, if there
  // is still none to be had. Sleeps; no lock of zswap may be held.
  void RunStrandedWork();
  // From now on no thread is started; see RunStrandedWork.
  void ForbidThreads();

  // Asked in the background before it takes frames to move entries into: false
  // while there is no room for kMigrationFrames more. `room` must not fault.
  // Set before the first SwitchPool.
  static constexpr PageCount kMigrationFrames = 64;
  using HasRoom = bool (*)(const void* argument);
  void SetMigrationRoom(HasRoom room, const void* argument);
  // There is room again: goes on with what waits for it. Cheap if nothing does.
  void ContinueMigration();

  // Asked before the page of a slot is brought back to the pool because one
  // beside it was loaded: false if that would be for nothing, as when it is
  // resident and this a copy. `away` must not fault. Set before the first Load.
  using IsAway = bool (*)(const void* argument, Slot slot);
  void SetAwayCheck(IsAway away, const void* argument);

  // Fork: between PrepareFork and one of the other two no call may be made; the
  // caller guarantees that none is in flight either.
  void PrepareFork();
  void ParentAfterFork();
  Status ChildAfterFork();

  void CheckInvariants();

 private:
  Zswap() = default;
  struct Impl;
  Impl* impl_;
  friend struct Impl;
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ZSWAP_H_
