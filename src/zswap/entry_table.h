// SPDX-License-Identifier: Apache-2.0
// slot → entry, over every slot there can be: a flat sparse array, 4 bytes a
// page, costing memory only where something was stored. Counts of what is
// stored, for each 2 MiB and 1 GiB of addresses, let Invalidate skip what is
// empty. Locks are sharded by chunk (2 MiB), so that one chunk is under one
// lock and a thread that stores a block of pages takes one lock throughout.
#ifndef UZSWAP_ZSWAP_ENTRY_TABLE_H_
#define UZSWAP_ZSWAP_ENTRY_TABLE_H_

#include <atomic>
#include <span>

#include "base/arena.h"
#include "base/mutex.h"
#include "zswap/entry.h"

namespace uzswap {

// Invariants: chunk_counts_[c] = cells of chunk c that are not empty, under its
// shard lock; groups_[g].entries = the sum over its chunks; a page of cells_ is
// marked in touched_ when it may hold anything but zeros, and
// groups_[g].table_pages = marks of the group.
class EntryTable {
 public:
  // One cell with its shard locked.
  class Cell {
   public:
    Cell(EntryTable& table, Slot slot) UZSWAP_NO_THREAD_SAFETY_ANALYSIS
        : table_(table),
          slot_(slot) {
      table_.ShardOf(slot_).Lock();
    }
    ~Cell() UZSWAP_NO_THREAD_SAFETY_ANALYSIS { table_.ShardOf(slot_).Unlock(); }
    Cell(const Cell&) = delete;
    Cell& operator=(const Cell&) = delete;

    EntryIndex entry() const { return table_.cells_[Index(slot_)]; }
    // REQUIRES: the cell is empty.
    void Put(EntryIndex index) { table_.PutLocked(slot_, index); }
    // kNoEntry: the cell was empty.
    EntryIndex Take() { return table_.TakeLocked(slot_); }

   private:
    EntryTable& table_;
    const Slot slot_;
  };

  Status Init();
  void Release();

  // Empties cells from `at` on, below `end`, until `taken` is full; moves `at`
  // to where to go on. Returns how many were taken; `at` == `end` when done.
  size_t TakeSome(Slot& at, Slot end, std::span<EntryIndex> taken);
  // Gives back table pages that lie wholly in [first, end). REQUIRES: the range
  // is empty and nobody stores there meanwhile.
  void DropPages(Slot first, Slot end);

  ByteCount touched_bytes() const {
    return (table_pages_.load(std::memory_order_relaxed) +
            side_pages_.load(std::memory_order_relaxed)) *
           kPageSize;
  }
  // Dies unless the counts agree with the cells; returns the cells in use.
  PageCount CheckInvariants();
  void ResetLocksInChild();

 private:
  static constexpr unsigned kChunkBits = 9;       // 512 slots: 2 MiB
  static constexpr unsigned kTablePageBits = 10;  // 1024 cells: a table page
  static constexpr unsigned kGroupBits = 18;      // 2^18 slots: 1 GiB
  static constexpr uint64_t kGroups = kSlotLimit >> kGroupBits;
  static constexpr unsigned kShards = 64;

  struct Group {
    std::atomic<uint32_t> entries;
    std::atomic<uint32_t> table_pages;
  };
  struct alignas(kCacheLine) Shard {
    Mutex mutex{lock_class_};
  };
  // One bit for each page of one of the tables beside cells_.
  template <typename T, uint64_t kCount>
  struct TouchedPages {
    static constexpr uint64_t kPages = (kCount * sizeof(T) - 1) / kPageSize + 1;
    std::atomic<uint64_t> bits[(kPages + 63) / 64];
    // True the first time for the page that element i lies in.
    bool Mark(uint64_t i) {
      const uint64_t page = i * sizeof(T) / kPageSize;
      const uint64_t bit = uint64_t{1} << (page % 64);
      return (bits[page / 64].fetch_or(bit) & bit) == 0;
    }
  };

  Mutex& ShardOf(Slot slot) {
    return shards_[(Index(slot) >> kChunkBits) % kShards].mutex;
  }
  void PutLocked(Slot slot, EntryIndex index);
  EntryIndex TakeLocked(Slot slot);
  size_t TakeFromChunk(Slot& at, Slot end, std::span<EntryIndex> taken);
  void MarkTouched(Slot slot);
  void DropTablePages(uint64_t table_page, uint64_t count);

  static LockClass lock_class_;
  SparseTable<EntryIndex> cells_;
  SparseTable<uint16_t> chunk_counts_;
  SparseTable<Group> groups_;
  SparseTable<std::atomic<uint64_t>> touched_;  // a bit for each page of cells_
  Shard shards_[kShards];

  std::atomic<PageCount> table_pages_{0};  // of cells_
  std::atomic<PageCount> side_pages_{0};   // of the other three tables
  TouchedPages<uint16_t, (kSlotLimit >> kChunkBits)> chunk_pages_{};
  TouchedPages<Group, kGroups> group_pages_{};
  TouchedPages<uint64_t, (kSlotLimit >> kTablePageBits) / 64> touched_pages_{};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ENTRY_TABLE_H_
