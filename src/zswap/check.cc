// SPDX-License-Identifier: Apache-2.0
// Zswap::CheckInvariants: table, entries, LRU, pool, device and counters tell
// the same story. REQUIRES that no call is in flight.
#include "zswap/zswap_impl.h"

namespace uzswap {

void Zswap::Impl::CheckInvariants() {
  slab.CheckInvariants();
  lru.CheckInvariants();
  pools.CheckInvariants();
  swapin.CheckInvariants();
  if (device != nullptr) device->CheckInvariants();

  PageCount by_kind[5] = {};
  ByteCount compressed_bytes = 0;
  PageCount by_pool[PoolList::kMax] = {};
  ByteCount bytes_by_pool[PoolList::kMax] = {};
  PageCount by_decoder[Decoders::kMax] = {};
  const uint64_t end = slab.end();
  for (uint64_t i = 1; i < end; ++i) {
    const EntryIndex index{static_cast<uint32_t>(i)};
    const Entry& entry = slab[index];
    CheckEntry(index, entry);
    ++by_kind[static_cast<size_t>(entry.kind)];
    if (InPool(entry.kind)) ++by_pool[entry.pool];
    if (entry.NeedsDecoder()) ++by_decoder[entry.pool];
    if (entry.kind == EntryKind::kCompressed) {
      compressed_bytes += entry.length;
      bytes_by_pool[entry.pool] += entry.length;
    }
  }
  const auto count = [&](EntryKind kind) {
    return by_kind[static_cast<size_t>(kind)];
  };
  const PageCount in_pool =
      count(EntryKind::kCompressed) + count(EntryKind::kRaw);
  const PageCount entries =
      in_pool + count(EntryKind::kSameFilled) + count(EntryKind::kOnDevice);
  CHECK(table.CheckInvariants() == entries);
  for (unsigned i = 0; i < PoolList::kMax; ++i) {
    CHECK(pools.References(static_cast<PoolIndex>(i)) == by_pool[i]);
    CHECK(pools.Bytes(static_cast<PoolIndex>(i)) == bytes_by_pool[i]);
  }
  for (unsigned i = 0; i < Decoders::kMax; ++i) {
    // The pools' references come on top.
    CHECK(pools.decoders().references(static_cast<DecoderIndex>(i)) >=
          by_decoder[i]);
  }
  CHECK(lru.size() == in_pool);

  const ZswapStats stats = Stats();
  CHECK(stats.stored_pages == entries);
  CHECK(stats.compressed == count(EntryKind::kCompressed));
  CHECK(stats.incompressible == count(EntryKind::kRaw));
  CHECK(stats.same_filled == count(EntryKind::kSameFilled));
  CHECK(stats.on_device == count(EntryKind::kOnDevice));
  CHECK(stats.compressed_bytes == compressed_bytes);
  CHECK(compressed_bytes + count(EntryKind::kRaw) * kPageSize <=
        PoolPages() * kPageSize);
  CHECK(device == nullptr || device->used() == count(EntryKind::kOnDevice));
  CHECK(limit.accept() <= limit.max());
}

void Zswap::Impl::CheckEntry(EntryIndex index, const Entry& entry) {
  if (entry.kind == EntryKind::kFree) {
    CHECK(entry.list == LruList::kNone);
    CHECK(entry.refs.load() == 0);
    return;
  }
  CHECK(entry.refs.load() == 1);
  CHECK((entry.list != LruList::kNone) == InPool(entry.kind));
  CHECK(!InPool(entry.kind) || entry.pool < PoolList::kMax);
  CHECK(!entry.NeedsDecoder() || entry.pool < Decoders::kMax);
  if (entry.kind == EntryKind::kCompressed) {
    CHECK(entry.length >= 1 && entry.length < kPageSize);
  } else if (entry.kind == EntryKind::kOnDevice) {
    CHECK(entry.length >= 1 && entry.length <= kPageSize);
  } else {
    CHECK(entry.length == (entry.kind == EntryKind::kRaw ? kPageSize : 0));
  }
  CHECK(entry.kind != EntryKind::kOnDevice || device != nullptr);
  EntryTable::Cell cell(table, entry.slot_now());
  CHECK(cell.entry() == index);
}

}  // namespace uzswap
