// SPDX-License-Identifier: Apache-2.0
#include "zswap/entry_slab.h"

namespace uzswap {

constinit LockClass EntrySlab::lock_class_{"entry slab"};

Status EntrySlab::Init(uint64_t max_entries) {
  return entries_.Init(max_entries);
}

EntryIndex EntrySlab::Allocate() {
  ScopedLock lock(mutex_);
  EntryIndex index = free_;
  if (index != kNoEntry) {
    free_ = (*this)[index].next;
    --free_count_;
  } else {
    if (end_ == entries_.count()) return kNoEntry;
    index = EntryIndex{static_cast<uint32_t>(end_++)};
    touched_bytes_.store(PageCeil(end_ * sizeof(Entry)),
                         std::memory_order_relaxed);
  }
  Entry& entry = (*this)[index];
  CHECK(entry.kind == EntryKind::kFree);
  entry.next = entry.prev = kNoEntry;
  entry.refs.store(1, std::memory_order_relaxed);
  return index;
}

void EntrySlab::Free(EntryIndex index) {
  ScopedLock lock(mutex_);
  Entry& entry = (*this)[index];
  DCHECK(entry.list == LruList::kNone);
  entry.kind = EntryKind::kFree;
  entry.payload = 0;
  entry.length = 0;
  entry.referenced = false;
  entry.refs.store(0, std::memory_order_relaxed);
  entry.prev = kNoEntry;
  entry.next = free_;
  free_ = index;
  ++free_count_;
}

uint64_t EntrySlab::end() {
  ScopedLock lock(mutex_);
  return end_;
}

void EntrySlab::CheckInvariants() {
  ScopedLock lock(mutex_);
  uint64_t on_list = 0;
  for (EntryIndex index = free_; index != kNoEntry;
       index = (*this)[index].next) {
    CHECK(static_cast<uint64_t>(index) < end_);
    CHECK((*this)[index].kind == EntryKind::kFree);
    CHECK(++on_list <= free_count_);
  }
  CHECK(on_list == free_count_);
  uint64_t free = 0;
  for (uint64_t i = 1; i < end_; ++i) {
    if (entries_[i].kind == EntryKind::kFree) ++free;
  }
  CHECK(free == free_count_);
}

}  // namespace uzswap
