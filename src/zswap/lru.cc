// SPDX-License-Identifier: Apache-2.0
#include "zswap/lru.h"

namespace uzswap {

constinit LockClass Lru::lock_class_{"lru"};

void Lru::Add(EntryIndex index) {
  ScopedLock lock(mutex_);
  CHECK(!slab_[index].linked);
  slab_[index].referenced = true;
  LinkWarm(index);
}

void Lru::Remove(EntryIndex index) {
  ScopedLock lock(mutex_);
  if (slab_[index].linked) Unlink(index);
}

void Lru::Touch(EntryIndex index) {
  ScopedLock lock(mutex_);
  if (!slab_[index].linked) return;
  slab_[index].referenced = true;
  Unlink(index);
  LinkWarm(index);
}

bool Lru::Select(PageCount& visits, Victim& victim) {
  for (;;) {
    const Found found = SelectSome(visits, victim);
    if (found != Found::kMaybeLater) return found == Found::kVictim;
  }
}

Lru::Found Lru::SelectSome(PageCount& visits, Victim& victim) {
  ScopedLock lock(mutex_);
  for (PageCount n = 0; n < kVisitsAtOnce; ++n) {
    if (visits == 0 || cold_ == kNoEntry) return Found::kNone;
    --visits;
    const EntryIndex index = cold_;
    Entry& entry = slab_[index];
    Unlink(index);
    LinkWarm(index);
    if (!entry.referenced) {
      victim = Victim{index, entry.slot_now()};
      return Found::kVictim;
    }
    entry.referenced = false;
  }
  return Found::kMaybeLater;
}

void Lru::LinkWarm(EntryIndex index) {
  Entry& entry = slab_[index];
  entry.linked = true;
  entry.next = kNoEntry;
  entry.prev = warm_;
  (warm_ == kNoEntry ? cold_ : slab_[warm_].next) = index;
  warm_ = index;
  ++size_;
}

void Lru::Unlink(EntryIndex index) {
  Entry& entry = slab_[index];
  (entry.prev == kNoEntry ? cold_ : slab_[entry.prev].next) = entry.next;
  (entry.next == kNoEntry ? warm_ : slab_[entry.next].prev) = entry.prev;
  entry.next = entry.prev = kNoEntry;
  entry.linked = false;
  --size_;
}

PageCount Lru::size() {
  ScopedLock lock(mutex_);
  return size_;
}

void Lru::CheckInvariants() {
  ScopedLock lock(mutex_);
  PageCount count = 0;
  EntryIndex before = kNoEntry;
  for (EntryIndex index = cold_; index != kNoEntry; index = slab_[index].next) {
    CHECK(slab_[index].linked);
    CHECK(slab_[index].prev == before);
    CHECK(++count <= size_);
    before = index;
  }
  CHECK(before == warm_);
  CHECK(count == size_);
}

}  // namespace uzswap
