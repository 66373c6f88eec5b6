// SPDX-License-Identifier: Apache-2.0
#include "zswap/entry_table.h"

#include <algorithm>
#include <bit>

#include "base/os.h"

namespace uzswap {
namespace {

// The first slot of the next unit of 2^bits slots, but at most `end`.
Slot NextUnit(Slot slot, unsigned bits, Slot end) {
  return std::min(Slot{((Index(slot) >> bits) + 1) << bits}, end);
}

}  // namespace

constinit LockClass EntryTable::lock_class_{"entry shard"};

Status EntryTable::Init() {
  Status s = cells_.Init(kSlotLimit);
  if (s.ok()) s = chunk_counts_.Init(kSlotLimit >> kChunkBits);
  if (s.ok()) s = groups_.Init(kGroups);
  if (s.ok()) s = touched_.Init((kSlotLimit >> kTablePageBits) / 64);
  if (!s.ok()) Release();
  return s;
}

void EntryTable::Release() {
  cells_.Release();
  chunk_counts_.Release();
  groups_.Release();
  touched_.Release();
}

void EntryTable::PutLocked(Slot slot, EntryIndex index) {
  EntryIndex& cell = cells_[Index(slot)];
  CHECK(cell == kNoEntry);
  MarkTouched(slot);
  cell = index;
  ++chunk_counts_[Index(slot) >> kChunkBits];
  groups_[Index(slot) >> kGroupBits].entries.fetch_add(
      1, std::memory_order_relaxed);
}

EntryIndex EntryTable::TakeLocked(Slot slot) {
  EntryIndex& cell = cells_[Index(slot)];
  const EntryIndex index = cell;
  if (index == kNoEntry) return kNoEntry;
  cell = kNoEntry;
  --chunk_counts_[Index(slot) >> kChunkBits];
  groups_[Index(slot) >> kGroupBits].entries.fetch_sub(
      1, std::memory_order_relaxed);
  return index;
}

size_t EntryTable::TakeSome(Slot& at, Slot end, std::span<EntryIndex> taken) {
  size_t count = 0;
  while (at < end && count < taken.size()) {
    // A count that others change at this moment is never about slots of ours.
    const Group& group = groups_[Index(at) >> kGroupBits];
    if (group.entries.load(std::memory_order_relaxed) == 0) {
      at = NextUnit(at, kGroupBits, end);
    } else {
      count += TakeFromChunk(at, NextUnit(at, kChunkBits, end),
                             taken.subspan(count));
    }
  }
  return count;
}

size_t EntryTable::TakeFromChunk(Slot& at, Slot end,
                                 std::span<EntryIndex> taken) {
  ScopedLock lock(ShardOf(at));
  if (chunk_counts_[Index(at) >> kChunkBits] == 0) {
    at = end;
    return 0;
  }
  size_t count = 0;
  for (; at < end && count < taken.size(); at = at + 1) {
    const EntryIndex index = TakeLocked(at);
    if (index != kNoEntry) taken[count++] = index;
  }
  return count;
}

void EntryTable::MarkTouched(Slot slot) {
  const uint64_t table_page = Index(slot) >> kTablePageBits;
  std::atomic<uint64_t>& word = touched_[table_page / 64];
  const uint64_t bit = uint64_t{1} << (table_page % 64);
  if ((word.load(std::memory_order_relaxed) & bit) != 0) return;
  if ((word.fetch_or(bit) & bit) != 0) return;
  const uint64_t group = Index(slot) >> kGroupBits;
  groups_[group].table_pages.fetch_add(1, std::memory_order_relaxed);
  table_pages_.fetch_add(1, std::memory_order_relaxed);
  unsigned side = 0;
  if (chunk_pages_.Mark(Index(slot) >> kChunkBits)) ++side;
  if (group_pages_.Mark(group)) ++side;
  if (touched_pages_.Mark(table_page / 64)) ++side;
  if (side != 0) side_pages_.fetch_add(side, std::memory_order_relaxed);
}

void EntryTable::DropPages(Slot first, Slot end) {
  constexpr unsigned kPagesPerGroupBits = kGroupBits - kTablePageBits;
  const uint64_t mask = (uint64_t{1} << kTablePageBits) - 1;
  uint64_t at = (Index(first) + mask) >> kTablePageBits;
  const uint64_t last = Index(end) >> kTablePageBits;
  while (at < last) {
    const uint64_t group = at >> kPagesPerGroupBits;
    if (groups_[group].table_pages.load(std::memory_order_relaxed) == 0) {
      at = (group + 1) << kPagesPerGroupBits;
      continue;
    }
    const uint64_t word = touched_[at / 64].load(std::memory_order_relaxed);
    const uint64_t touched = word >> (at % 64);
    if (touched == 0) {
      at = (at / 64 + 1) * 64;
    } else if ((touched & 1) == 0) {
      at += static_cast<uint64_t>(std::countr_zero(touched));
    } else {
      const auto run = static_cast<uint64_t>(std::countr_one(touched));
      const uint64_t count = std::min(run, last - at);
      DropTablePages(at, count);
      at += count;
    }
  }
}

// REQUIRES: their marks are set, in one word (and thus in one group).
void EntryTable::DropTablePages(uint64_t table_page, uint64_t count) {
  EntryIndex* page = &cells_[table_page << kTablePageBits];
  if (!os::Drop(page, count * kPageSize).ok()) return;  // zeros that stay
  const uint64_t run = ~uint64_t{0} >> (64 - count);
  touched_[table_page / 64].fetch_and(~(run << (table_page % 64)));
  groups_[table_page >> (kGroupBits - kTablePageBits)].table_pages.fetch_sub(
      static_cast<uint32_t>(count), std::memory_order_relaxed);
  table_pages_.fetch_sub(count, std::memory_order_relaxed);
}

PageCount EntryTable::CheckInvariants() {
  constexpr uint64_t kChunksPerGroup = uint64_t{1} << (kGroupBits - kChunkBits);
  PageCount all = 0;
  PageCount pages = 0;
  for (uint64_t group = 0; group < kGroups; ++group) {
    pages += groups_[group].table_pages.load();
    const uint32_t expected = groups_[group].entries.load();
    uint64_t in_group = 0;
    for (uint64_t i = 0; expected != 0 && i < kChunksPerGroup; ++i) {
      const uint64_t chunk = group * kChunksPerGroup + i;
      const uint64_t slot = chunk << kChunkBits;
      if (chunk_counts_[chunk] == 0) continue;
      uint64_t in_chunk = 0;
      for (uint64_t s = slot; s < slot + (uint64_t{1} << kChunkBits); ++s) {
        if (cells_[s] != kNoEntry) ++in_chunk;
      }
      CHECK(in_chunk == chunk_counts_[chunk]);
      CHECK(((touched_[(slot >> kTablePageBits) / 64].load() >>
              ((slot >> kTablePageBits) % 64)) &
             1) != 0);
      in_group += in_chunk;
    }
    CHECK(in_group == expected);
    all += in_group;
  }
  CHECK(pages == table_pages_.load());
  return all;
}

void EntryTable::ResetLocksInChild() {
  for (Shard& shard : shards_) shard.mutex.ResetInChild();
}

}  // namespace uzswap
