// SPDX-License-Identifier: Apache-2.0
// Moves entries from draining pools to the current one, in the background, so
// that a pool goes soon and not with the last of its entries. An entry is
// claimed while it moves, as in a writeback: a Load meanwhile uses the old
// content, and whoever is later finds out under the shard lock. What would not
// get smaller than a page in the current pool stays where it is.
#include "zswap/zswap_impl.h"

namespace uzswap {
namespace {

// Entries between two points at which a fork can happen, and after which the
// old pool's holes are closed, so that the two together stay small.
constexpr unsigned kAtOnce = 64;

constinit LockClass migrator_class{"migration"};

}  // namespace

Status Zswap::Impl::SwitchPool(const PoolKind& kind) {
  UZSWAP_RETURN_IF_ERROR(pools.Switch(kind));
  events.Add(Event::pool_switches);
  if (pools.AnyDraining()) (void)worker.Queue(migrator);
  return kOk;
}

void Zswap::Impl::PrepareMigrator() {
  migrator.run = Migrate;
  migrator.lock_class = &migrator_class;
  migrator.impl = this;
}

void Zswap::Impl::Migrate(Work* work) {
  static_cast<Item*>(work)->impl->MigrateAll();
}

void Zswap::Impl::MigrateAll() {
  const uint64_t end = slab.end();
  unsigned moved = 0;
  for (uint64_t i = 1; i < end && pools.AnyDraining(); ++i) {
    {
      const PageBuffers::Holder buffer(buffers);
      const EntryIndex index{static_cast<uint32_t>(i)};
      if (!MigrateOne(index, buffer.page())) continue;
    }
    events.Add(Event::migrated_pages);
    if (++moved % kAtOnce != 0) continue;
    (void)pools.Compact(2 * kAtOnce);
    worker.YieldPoint();
  }
}

bool Zswap::Impl::MigrateOne(EntryIndex index, MutablePage buffer) {
  Claimed from;
  if (!ClaimToMigrate(index, from)) return false;
  bool moved = false;
  if (pools[from.pool].Load(from.handle, from.length, buffer).ok()) {
    const PoolIndex to = pools.Acquire();
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
  return moved;
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
  Entry& entry = slab[index];
  EntryTable::Cell cell(table, entry.slot_now());
  if (cell.entry() != index) return false;
  UncountEntry(entry);
  SetContent(entry, stored, pool);
  CountEntry(entry);
  return true;
}

}  // namespace uzswap
