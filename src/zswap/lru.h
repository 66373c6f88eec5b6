// SPDX-License-Identifier: Apache-2.0
// The order of leaving the pool: least recently stored first, with a second
// chance. An entry comes in at the warm end and referenced; the hand, which
// starts at the cold end, takes the mark away and sends it round once more; at
// its second visit it is a victim. (mm/zswap.c, shrink_memcg_cb.)
//
// There are two lists, because with a dense tier a victim leaves twice: the
// hand of the young list finds what is to be recompressed, that of the old list
// what is to be written back. Without a dense tier the old list is empty.
#ifndef UZSWAP_ZSWAP_LRU_H_
#define UZSWAP_ZSWAP_LRU_H_

#include "base/mutex.h"
#include "zswap/entry_slab.h"

namespace uzswap {

// Invariants: each list is doubly linked from cold to warm through next; an
// entry is on the one that entry.list says; size entries are.
class Lru {
 public:
  explicit constexpr Lru(EntrySlab& slab) : slab_(slab) {}

  struct Victim {
    EntryIndex entry;
    Slot slot;
  };

  // Young, warm end, referenced. REQUIRES: the entry is complete and on no
  // list.
  void Add(EntryIndex index);
  // Nothing happens when it is on no list.
  void Remove(EntryIndex index);

  // As if it had just been added; nothing happens when it is on no list.
  void Touch(EntryIndex index);
  // To the warm end of the old list, without another chance; nothing happens
  // when it is not young.
  void MakeOld(EntryIndex index);
  // Up to `most` entries become young again, as the coldest, in their order;
  // false: there was none.
  bool MakeYoung(PageCount most);

  // Moves the hand to the next victim, past at most `visits` entries, which
  // are subtracted. False: none found. The victim was sent to the warm end
  // before the lock was dropped, so several threads get different ones and one
  // that cannot be written stays in order. From here on it may be freed and
  // used anew: it names an entry only if the table says so, under its lock.
  bool Select(LruList which, PageCount& visits, Victim& victim);

  PageCount size();
  PageCount size(LruList which);
  void CheckInvariants();
  void ResetLocksInChild() { mutex_.ResetInChild(); }

 private:
  // Entries looked at before others get the lock.
  static constexpr PageCount kVisitsAtOnce = 64;

  struct Ends {
    EntryIndex cold = kNoEntry;
    EntryIndex warm = kNoEntry;
    PageCount size = 0;
  };

  enum class Found { kVictim, kNone, kMaybeLater };
  Found SelectSome(LruList which, PageCount& visits, Victim& victim);
  void LinkWarm(LruList which, EntryIndex index) UZSWAP_REQUIRES(mutex_);
  void LinkCold(LruList which, EntryIndex index) UZSWAP_REQUIRES(mutex_);
  void Unlink(EntryIndex index) UZSWAP_REQUIRES(mutex_);
  void CheckList(LruList which) UZSWAP_REQUIRES(mutex_);
  Ends& EndsOf(LruList which) UZSWAP_REQUIRES(mutex_) {
    return which == LruList::kOld ? old_ : young_;
  }

  static LockClass lock_class_;
  EntrySlab& slab_;
  Mutex mutex_{lock_class_};
  Ends young_ UZSWAP_GUARDED_BY(mutex_);
  Ends old_ UZSWAP_GUARDED_BY(mutex_);
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_LRU_H_
