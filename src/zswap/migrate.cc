// SPDX-License-Identifier: Apache-2.0
// Moves entries from draining pools to the current one, in the background, so
// that a pool goes soon and not with the last of its entries. An entry is
// claimed while it moves, as in a writeback: a Load meanwhile uses the old
// content, and whoever is later finds out under the shard lock. What would not
// get smaller than a page in the current pool stays where it is.
#include "zswap/test_hooks.h"
#include "zswap/zswap_impl.h"

namespace uzswap {
namespace {

// Entries between two points at which a fork can happen, and after which the
// old pool's holes are closed, so that the two together stay small. What they
// grow into is at most what was asked for.
constexpr unsigned kAtOnce = Zswap::kMigrationFrames;

// A pool that will shrink grows by this at first: the new one's frames are not
// full yet, and the old one's have holes.
constexpr PageCount kSlack = Zswap::kMigrationFrames;

constinit LockClass migrator_class{"migration"};

}  // namespace

Status Zswap::Impl::SwitchPool(const PoolKind& kind) {
  UZSWAP_RETURN_IF_ERROR(pools.Switch(kind));
  events.Add(Event::pool_switches);
  if (pools.AnyDraining()) StartMigration();
  return kOk;
}

// From the first entry on, also if one is going on: what that has passed may
// have to be moved once more.
void Zswap::Impl::StartMigration() {
  migration_restarts.fetch_add(1, std::memory_order_relaxed);
  migration_waits.store(false, std::memory_order_relaxed);
  (void)worker.Queue(migrator);
}

void Zswap::Impl::ContinueMigration() {
  if (!migration_waits.load(std::memory_order_relaxed)) return;
  if (!HasRoom() || pools.total_pages() > limit.accept()) return;
  migration_waits.store(false, std::memory_order_relaxed);
  (void)worker.Queue(migrator);
}

bool Zswap::Impl::HasRoom() const {
  return has_room == nullptr || has_room(room_argument);
}

void Zswap::Impl::PrepareMigrator() {
  migrator.run = Migrate;
  migrator.lock_class = &migrator_class;
  migrator.impl = this;
}

void Zswap::Impl::Migrate(Work* work) {
  static_cast<Item*>(work)->impl->MigrateAll();
}

// A pool that only shrinks may always go on: that is how room is made. One that
// grows (a compressor that packs less) stops at the limits and waits until the
// pager has made room.
void Zswap::Impl::MigrateAll() {
  const PageCount before = PoolPages();
  const uint32_t restarts = migration_restarts.load(std::memory_order_relaxed);
  if (restarts != migration_restarts_seen) migrate_at = 1;
  migration_restarts_seen = restarts;
  const uint64_t end = slab.end();
  unsigned tried = 0;
  for (; migrate_at < end && pools.AnyDraining(); ++migrate_at) {
    {
      const PageBuffers::Holder buffer(buffers);
      const EntryIndex index{static_cast<uint32_t>(migrate_at)};
      const Migrated r = MigrateOne(index, buffer.page());
      if (r == Migrated::kNotThere) continue;
      if (r == Migrated::kYes) events.Add(Event::migrated_pages);
    }
    if (++tried % kAtOnce != 0) continue;
    (void)pools.Compact(2 * kAtOnce);
    worker.YieldPoint();
    const PageCount now = PoolPages();
    if (now > before + kSlack && (now >= limit.max() || !HasRoom())) {
      migration_waits.store(true, std::memory_order_relaxed);
      return;
    }
  }
}

// What was in the dense tier stays in it, if there is one.
PoolIndex Zswap::Impl::AcquireFor(PoolIndex left) {
  const unsigned dense =
      pools.WasDense(left) ? pools.AcquireDense(1) : PoolList::kNone;
  return dense != PoolList::kNone ? static_cast<PoolIndex>(dense)
                                  : pools.Acquire();
}

Zswap::Impl::Migrated Zswap::Impl::MigrateOne(EntryIndex index,
                                              MutablePage buffer) {
  Claimed from;
  if (!ClaimToMigrate(index, from)) return Migrated::kNotThere;
  bool moved = false;
  if (pools[from.pool].Load(from.handle, from.length, buffer).ok()) {
    const PoolIndex to = AcquireFor(from.pool);
    const Pool::Stored stored = pools[to].Store(buffer);
    moved = stored.allocate_error == 0 && to != from.pool &&
            (stored.length < kPageSize || from.length == kPageSize) &&
            Replace(index, stored, to);
    if (moved) {
      pools[from.pool].Free(from.handle);
      pools.Drop(from.pool);
    } else {
      if (stored.allocate_error == 0) pools[to].Free(stored.handle);
      pools.Drop(to);
    }
  }
  DropReference(index);
  return moved ? Migrated::kYes : Migrated::kNo;
}

// The slab is looked through without a lock, so only the table knows whether
// this is an entry, and of which slot.
bool Zswap::Impl::ClaimToMigrate(EntryIndex index, Claimed& claimed) {
  const Slot slot = slab[index].slot_now();
  if (Index(slot) >= kSlotLimit) return false;
  EntryTable::Cell cell(table, slot);
  if (cell.entry() != index) return false;
  Entry& entry = slab[index];
  if (!InPool(entry.kind) ||
      pools.StateOf(entry.pool) != PoolList::State::kDraining ||
      !TryClaim(entry)) {
    return false;
  }
  claimed = Claimed{entry.handle(), entry.length, entry.pool};
  return true;
}

// False: the entry was taken out of the table meanwhile. REQUIRES: a claim.
bool Zswap::Impl::Replace(EntryIndex index, const Pool::Stored& stored,
                          PoolIndex pool) {
  HookBeforeReplace();
  Entry& entry = slab[index];
  EntryTable::Cell cell(table, entry.slot_now());
  if (cell.entry() != index) return false;
  UncountEntry(entry);
  SetContent(entry, stored, pool);
  CountEntry(entry);
  return true;
}

}  // namespace uzswap
