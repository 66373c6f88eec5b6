// SPDX-License-Identifier: Apache-2.0
// Swap-in read-ahead (mm/swap_state.c, swap_vma_readahead): where a read takes
// long, one brings the pages beside the one that is wanted, as far as they were
// written with it, and those go back to the pool as they lie on the device. So
// they cost no resident memory and nothing is decompressed that nobody asks
// for; the next load of one is a load from the pool. How many: swapin_window.h.
//
// The way back is that of a writeback the other way round: a page is claimed
// while it is copied, a Load meanwhile uses the object, and whoever is later
// finds out under the shard lock.
#include "zswap/test_hooks.h"
#include "zswap/zswap_impl.h"

namespace uzswap {
namespace {

// What a device keeps with an object, about.
constexpr ByteCount kSealBytes = 16;

}  // namespace

// The pages beside it are taken to be as long as it is, or as they are on
// average, and somewhat longer: bytes too many cost less than a page too few.
Status Zswap::Impl::ReadObject(const Entry& entry, std::span<std::byte> object,
                               Neighbours& neighbours) {
  const unsigned window = HookSwapInWindow(swapin.Next());
  const uint64_t slot = Index(entry.slot_now());
  ReadAround around;
  uint64_t first = slot;
  if (window != 0) {
    first = slot / window * window;
    const ByteCount length = std::max(object.size(), swapin.average_bytes());
    const auto each = static_cast<uint32_t>(length + length / 8 + kSealBytes);
    around.before = static_cast<uint32_t>(slot - first) * each;
    around.after = static_cast<uint32_t>(first + window - 1 - slot) * each;
  }
  const uint64_t begin = os::Cycles();
  const Status s = device->ReadWith(entry.object(), object, around);
  if (around.from_storage) {
    swapin.NoteRead(ToNs(os::Cycles() - begin), object.size());
  }
  if (s.ok() && around.brought) {
    neighbours = {Slot{first}, window, Slot{slot}};
  }
  return s;
}

// Those that have to be read by themselves stay where they are.
void Zswap::Impl::BringBack(const Neighbours& neighbours) {
  if (!RoomToBringBack()) return;
  const PageBuffers::Holder buffer(buffers);
  for (PageCount i = 0; i < neighbours.pages; ++i) {
    const Slot slot = neighbours.first + i;
    if (slot == neighbours.read) continue;
    if (!HasRoom()) return;
    if (is_away != nullptr && !is_away(away_argument, slot)) continue;
    Returning from;
    if (!ClaimToReturn(slot, from)) continue;
    const std::span<std::byte> bytes = buffer.page().first(from.length);
    if (device->ReadHeld(from.object, bytes).ok() && Return(from, bytes)) {
      events.Add(Event::swapin_ahead_pages);
      swapin.NoteBrought(slot);
    }
    DropReference(from.entry);
  }
}

// As before a store: the coldest pages make room for these. What evicting needs
// is left alone (HasRoom).
bool Zswap::Impl::RoomToBringBack() {
  if (!parameters.enabled.load(std::memory_order_relaxed)) return false;
  if (limit.Check(PoolPages()) == PoolLimit::Verdict::kAccept) return true;
  (void)Shrink(kWritebackBatch, Until::kAccepted);
  return PoolPages() < limit.max();
}

bool Zswap::Impl::ClaimToReturn(Slot slot, Returning& returning) {
  EntryTable::Cell cell(table, slot);
  const EntryIndex index = cell.entry();
  if (index == kNoEntry) return false;
  Entry& entry = slab[index];
  if (entry.kind != EntryKind::kOnDevice || !TryClaim(entry)) return false;
  returning = {index, entry.object(), entry.length, entry.pool};
  return true;
}

// False: the entry stays as it is. REQUIRES: a claim.
bool Zswap::Impl::Return(const Returning& from,
                         std::span<const std::byte> bytes) {
  const unsigned found = from.length == kPageSize
                             ? pools.Acquire()
                             : pools.AcquireWith(from.decoder);
  if (found == PoolList::kNone) return false;  // of another compressor
  const auto pool = static_cast<PoolIndex>(found);
  const Result<Handle> handle = pools[pool].StoreObject(bytes);
  if (handle.ok()) {
    HookBeforeReturn(slab[from.entry].slot_now());
    if (FinishReturn(from, handle.value(), pool)) return true;
    pools[pool].Free(handle.value());
  }
  pools.Drop(pool);
  return false;
}

// Makes what is in the pool the content of the entry, unless the entry has been
// taken out of the table meanwhile. The reference to the pool is the entry's
// then. REQUIRES: a claim.
bool Zswap::Impl::FinishReturn(const Returning& from, Handle handle,
                               PoolIndex pool) {
  Entry& entry = slab[from.entry];
  {
    EntryTable::Cell cell(table, entry.slot_now());
    if (cell.entry() != from.entry) return false;
    UncountEntry(entry);
    entry.payload = static_cast<uint64_t>(handle);
    entry.pool = pool;
    entry.kind =
        from.length == kPageSize ? EntryKind::kRaw : EntryKind::kCompressed;
    CountEntry(entry);
    lru.Add(from.entry);
  }
  device->Free(from.object);
  if (from.length < kPageSize) pools.decoders().Drop(from.decoder);
  backoff.Reset();  // there is room again
  return true;
}

}  // namespace uzswap
