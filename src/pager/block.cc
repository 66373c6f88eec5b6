// SPDX-License-Identifier: Apache-2.0
#include "pager/block.h"

namespace uzswap {

namespace {

constexpr unsigned kMaxSpared = 64;

}  // namespace

constinit LockClass BlockList::lock_class_{"block list"};

Status BlockList::Init() { return blocks_.Init(kSlotLimit / kBlockPages); }

void BlockList::Came(BlockIndex index, unsigned pages, bool wanted) {
  Block& block = blocks_[index];
  uint32_t seen = block.state.load(std::memory_order_relaxed);
  uint32_t next;
  do {
    next = (seen + pages) | kQueued;
    DCHECK((next & kCount) <= kBlockPages);
    // A block is queued at its first fault and usually faulted on again at
    // once; only later faults tell that it is in use.
    const uint32_t age = pushes_.load(std::memory_order_relaxed) -
                         block.queued_when.load(std::memory_order_relaxed);
    if (wanted && (seen & kQueued) != 0 && age > queued() / 4) next |= kWanted;
  } while (!block.state.compare_exchange_weak(seen, next,
                                              std::memory_order_acq_rel));
  if ((seen & kQueued) == 0) Push(index);
}

void BlockList::Went(BlockIndex index, unsigned pages) {
  const uint32_t before =
      blocks_[index].state.fetch_sub(pages, std::memory_order_acq_rel);
  DCHECK((before & kCount) >= pages);
}

BlockIndex BlockList::TakeOldest(bool spare_wanted) {
  // However many are owned or wanted, this ends, and a fault does not walk a
  // long queue.
  unsigned spared = 0;
  for (uint64_t left = 2 * queued() + 1; left > 0; --left) {
    const BlockIndex index = Pop();
    if (index == kNoBlock) return kNoBlock;
    std::atomic<uint32_t>& state = blocks_[index].state;
    uint32_t seen = state.load(std::memory_order_relaxed);
    for (;;) {
      const bool owned = (seen & kOwned) != 0;
      const bool again =
          spare_wanted && (seen & kWanted) != 0 && spared < kMaxSpared;
      uint32_t next = seen & ~kWanted;
      if ((seen & kCount) == 0 && !owned) {
        next &= ~kQueued;
      } else if (!owned && !again) {
        next |= kOwned | kTaken;
      }
      if (!state.compare_exchange_weak(seen, next, std::memory_order_acq_rel)) {
        continue;
      }
      if ((next & kTaken) != 0 && !owned) return index;
      if ((next & kQueued) != 0) Push(index);
      ++spared;
      break;
    }
  }
  return kNoBlock;
}

bool BlockList::Take(BlockIndex index) {
  std::atomic<uint32_t>& state = blocks_[index].state;
  return (state.fetch_or(kOwned, std::memory_order_acq_rel) & kOwned) == 0;
}

void BlockList::Return(BlockIndex index) {
  std::atomic<uint32_t>& state = blocks_[index].state;
  uint32_t seen = state.load(std::memory_order_relaxed);
  uint32_t next;
  do {
    DCHECK((seen & kOwned) != 0);
    next = seen & ~(kOwned | kTaken);
    if ((seen & kTaken) != 0 && (seen & kCount) == 0) next &= ~kQueued;
  } while (!state.compare_exchange_weak(seen, next, std::memory_order_acq_rel));
  if ((seen & kTaken) != 0 && (next & kQueued) != 0) Push(index);
}

void BlockList::Push(BlockIndex index) {
  const uint32_t when = pushes_.fetch_add(1, std::memory_order_relaxed);
  ScopedLock lock(mutex_);
  blocks_[index].queued_when.store(when, std::memory_order_relaxed);
  blocks_[index].next = 0;
  if (tail_ == 0) {
    head_ = index + 1;
  } else {
    blocks_[tail_ - 1].next = index + 1;
  }
  tail_ = index + 1;
  queued_.fetch_add(1, std::memory_order_relaxed);
}

BlockIndex BlockList::Pop() {
  ScopedLock lock(mutex_);
  if (head_ == 0) return kNoBlock;
  const BlockIndex index = head_ - 1;
  head_ = blocks_[index].next;
  if (head_ == 0) tail_ = 0;
  queued_.fetch_sub(1, std::memory_order_relaxed);
  return index;
}

void BlockList::CheckInvariants() {
  ScopedLock lock(mutex_);
  uint64_t blocks = 0;
  BlockIndex last = 0;
  for (BlockIndex i = head_; i != 0; i = blocks_[i - 1].next) {
    const uint32_t state = blocks_[i - 1].state.load(std::memory_order_relaxed);
    CHECK((state & kQueued) != 0 && (state & kTaken) == 0);
    CHECK((state & kCount) <= kBlockPages);
    CHECK(++blocks <= queued());
    last = i;
  }
  CHECK(last == tail_ && blocks == queued());
}

}  // namespace uzswap
