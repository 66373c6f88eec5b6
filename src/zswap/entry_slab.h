// SPDX-License-Identifier: Apache-2.0
// Where entries live: one sparse array that grows at its end, freed entries on
// a list in front of it. Indices are 32 bits and memory is never given back, so
// a stale index may always be looked at.
#ifndef UZSWAP_ZSWAP_ENTRY_SLAB_H_
#define UZSWAP_ZSWAP_ENTRY_SLAB_H_

#include <atomic>

#include "base/arena.h"
#include "base/mutex.h"
#include "zswap/entry.h"

namespace uzswap {

// Invariant: every index in [1, end_) is either on the free list with kind
// kFree, or belongs to somebody.
class EntrySlab {
 public:
  // Eight tebibytes of pages; 64 GiB of address space, used as needed.
  static constexpr uint64_t kMaxEntries = uint64_t{1} << 31;

  Status Init(uint64_t max_entries);
  void Release() { entries_.Release(); }

  Entry& operator[](EntryIndex index) {
    return entries_[static_cast<uint64_t>(index)];
  }

  // With every field zero but refs, which is 1. kNoEntry: none left.
  EntryIndex Allocate();
  // REQUIRES: nobody else knows the entry.
  void Free(EntryIndex index);

  ByteCount touched_bytes() const {
    return touched_bytes_.load(std::memory_order_relaxed);
  }
  // Indices in use or on the free list: [1, end()).
  uint64_t end();
  void CheckInvariants();
  void ResetLocksInChild() { mutex_.ResetInChild(); }

 private:
  static LockClass lock_class_;
  SparseTable<Entry> entries_;
  Mutex mutex_{lock_class_};
  EntryIndex free_ UZSWAP_GUARDED_BY(mutex_) = kNoEntry;
  uint64_t free_count_ UZSWAP_GUARDED_BY(mutex_) = 0;
  uint64_t end_ UZSWAP_GUARDED_BY(mutex_) = 1;  // index 0 is kNoEntry
  std::atomic<ByteCount> touched_bytes_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ENTRY_SLAB_H_
