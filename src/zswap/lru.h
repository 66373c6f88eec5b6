// SPDX-License-Identifier: Apache-2.0
// The order of leaving the pool: least recently stored first, with a second
// chance. An entry comes in at the warm end and referenced; the hand, which
// starts at the cold end, takes the mark away and sends it round once more; at
// its second visit it is a victim. (mm/zswap.c, shrink_memcg_cb.)
#ifndef UZSWAP_ZSWAP_LRU_H_
#define UZSWAP_ZSWAP_LRU_H_

#include "base/mutex.h"
#include "zswap/entry_slab.h"

namespace uzswap {

// Invariants: a doubly linked list from cold_ to warm_ through next; an entry
// is on it exactly when entry.linked; size_ entries are.
class Lru {
 public:
  explicit constexpr Lru(EntrySlab& slab) : slab_(slab) {}

  struct Victim {
    EntryIndex entry;
    Slot slot;
  };

  // Warm end, referenced. REQUIRES: the entry is complete and not linked.
  void Add(EntryIndex index);
  // Nothing happens when it is not linked.
  void Remove(EntryIndex index);

  // As if it had just been added; nothing happens when it is not linked.
  void Touch(EntryIndex index);

  // Moves the hand to the next victim, past at most `visits` entries, which
  // are subtracted. False: none found. The victim was sent to the warm end
  // before the lock was dropped, so several threads get different ones and one
  // that cannot be written stays in order. From here on it may be freed and
  // used anew: it names an entry only if the table says so, under its lock.
  bool Select(PageCount& visits, Victim& victim);

  PageCount size();
  void CheckInvariants();
  void ResetLocksInChild() { mutex_.ResetInChild(); }

 private:
  // Entries looked at before others get the lock.
  static constexpr PageCount kVisitsAtOnce = 64;

  enum class Found { kVictim, kNone, kMaybeLater };
  Found SelectSome(PageCount& visits, Victim& victim);
  void LinkWarm(EntryIndex index) UZSWAP_REQUIRES(mutex_);
  void Unlink(EntryIndex index) UZSWAP_REQUIRES(mutex_);

  static LockClass lock_class_;
  EntrySlab& slab_;
  Mutex mutex_{lock_class_};
  EntryIndex cold_ UZSWAP_GUARDED_BY(mutex_) = kNoEntry;
  EntryIndex warm_ UZSWAP_GUARDED_BY(mutex_) = kNoEntry;
  PageCount size_ UZSWAP_GUARDED_BY(mutex_) = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_LRU_H_
