// SPDX-License-Identifier: Apache-2.0
#include "zswap/lru.h"

namespace uzswap {

constinit LockClass Lru::lock_class_{"lru"};

void Lru::Add(EntryIndex index) {
  ScopedLock lock(mutex_);
  CHECK(slab_[index].list == LruList::kNone);
  slab_[index].referenced = true;
  LinkWarm(LruList::kYoung, index);
}

void Lru::Remove(EntryIndex index) {
  ScopedLock lock(mutex_);
  if (slab_[index].list != LruList::kNone) Unlink(index);
}

void Lru::Touch(EntryIndex index) {
  ScopedLock lock(mutex_);
  if (slab_[index].list == LruList::kNone) return;
  slab_[index].referenced = true;
  Unlink(index);
  LinkWarm(LruList::kYoung, index);
}

void Lru::MakeOld(EntryIndex index) {
  ScopedLock lock(mutex_);
  if (slab_[index].list != LruList::kYoung) return;
  slab_[index].referenced = false;
  Unlink(index);
  LinkWarm(LruList::kOld, index);
}

bool Lru::MakeYoung(PageCount most) {
  ScopedLock lock(mutex_);
  for (PageCount n = 0; n < most; ++n) {
    const EntryIndex index = old_.warm;
    if (index == kNoEntry) return n > 0;
    Unlink(index);
    LinkCold(LruList::kYoung, index);
  }
  return true;
}

bool Lru::Select(LruList which, PageCount& visits, Victim& victim) {
  for (;;) {
    const Found found = SelectSome(which, visits, victim);
    if (found != Found::kMaybeLater) return found == Found::kVictim;
  }
}

Lru::Found Lru::SelectSome(LruList which, PageCount& visits, Victim& victim) {
  ScopedLock lock(mutex_);
  for (PageCount n = 0; n < kVisitsAtOnce; ++n) {
    const EntryIndex index = EndsOf(which).cold;
    if (visits == 0 || index == kNoEntry) return Found::kNone;
    --visits;
    Entry& entry = slab_[index];
    Unlink(index);
    LinkWarm(which, index);
    if (!entry.referenced) {
      victim = Victim{index, entry.slot_now()};
      return Found::kVictim;
    }
    entry.referenced = false;
  }
  return Found::kMaybeLater;
}

void Lru::LinkWarm(LruList which, EntryIndex index) {
  Ends& ends = EndsOf(which);
  Entry& entry = slab_[index];
  entry.list = which;
  entry.next = kNoEntry;
  entry.prev = ends.warm;
  (ends.warm == kNoEntry ? ends.cold : slab_[ends.warm].next) = index;
  ends.warm = index;
  ++ends.size;
}

void Lru::LinkCold(LruList which, EntryIndex index) {
  Ends& ends = EndsOf(which);
  Entry& entry = slab_[index];
  entry.list = which;
  entry.prev = kNoEntry;
  entry.next = ends.cold;
  (ends.cold == kNoEntry ? ends.warm : slab_[ends.cold].prev) = index;
  ends.cold = index;
  ++ends.size;
}

void Lru::Unlink(EntryIndex index) {
  Entry& entry = slab_[index];
  Ends& ends = EndsOf(entry.list);
  (entry.prev == kNoEntry ? ends.cold : slab_[entry.prev].next) = entry.next;
  (entry.next == kNoEntry ? ends.warm : slab_[entry.next].prev) = entry.prev;
  entry.next = entry.prev = kNoEntry;
  entry.list = LruList::kNone;
  --ends.size;
}

PageCount Lru::size() {
  ScopedLock lock(mutex_);
  return young_.size + old_.size;
}

PageCount Lru::size(LruList which) {
  ScopedLock lock(mutex_);
  return EndsOf(which).size;
}

void Lru::CheckInvariants() {
  ScopedLock lock(mutex_);
  CheckList(LruList::kYoung);
  CheckList(LruList::kOld);
}

void Lru::CheckList(LruList which) {
  const Ends& ends = EndsOf(which);
  PageCount count = 0;
  EntryIndex before = kNoEntry;
  for (EntryIndex index = ends.cold; index != kNoEntry;
       index = slab_[index].next) {
    CHECK(slab_[index].list == which);
    CHECK(slab_[index].prev == before);
    CHECK(++count <= ends.size);
    before = index;
  }
  CHECK(before == ends.warm);
  CHECK(count == ends.size);
}

}  // namespace uzswap
