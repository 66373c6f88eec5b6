// SPDX-License-Identifier: Apache-2.0
#include "pager/block.h"

#include "base/bits.h"

namespace uzswap {

namespace {

// Blocks without a page of the oldest generation that are passed before one of
// them gives what it has: a fault does not walk a long queue.
constexpr unsigned kMaxPassed = 256;
// The oldest generation is short below this part of the resident pages. It is
// what pages that are new to us can show their worth in.
constexpr PageCount kOldestShare = 8;
// A page that comes back before this part of the resident pages was evicted
// would still be here had it been a little younger.
constexpr PageCount kSoonShare = 4;

}  // namespace

constinit LockClass BlockList::lock_class_{"block list"};

Status BlockList::Init() {
  UZSWAP_RETURN_IF_ERROR(blocks_.Init(kBlocks));
  return regions_.Init(kBlocks / kRegion / 64);
}

void BlockList::Release() {
  blocks_.Release();
  regions_.Release();
}

void BlockList::Came(BlockIndex index, PageMask pages, Arrival how) {
  Block& block = blocks_[index];
  Stamp(block);
  std::atomic<uint64_t>& regions = regions_[index / kRegion / 64];
  const uint64_t region = uint64_t{1} << index / kRegion % 64;
  if ((regions.load(std::memory_order_relaxed) & region) == 0) {
    regions.fetch_or(region, std::memory_order_relaxed);
  }
  const unsigned count = CountBits(pages);
  resident_.fetch_add(count, std::memory_order_relaxed);
  if (how == Arrival::kAlone) {
    MakeYoung(block, pages, LeftSoonBefore(block, pages) ? 3 : 1);
  }
  if ((block.evicted.load(std::memory_order_relaxed) & pages) != 0) {
    NoteReturn(block, pages);
    block.evicted.fetch_and(~pages, std::memory_order_relaxed);
  }
  const uint32_t before =
      block.state.fetch_add(count, std::memory_order_acq_rel);
  DCHECK((before & kCount) + count <= kBlockPages);
  if ((before & kQueued) != 0) return;
  // Of those who find it so, one queues it.
  const uint32_t seen =
      block.state.fetch_or(kQueued, std::memory_order_acq_rel);
  if ((seen & kQueued) == 0) Push(index);
}

void BlockList::Went(BlockIndex index, PageMask pages) {
  if (pages == 0) return;
  Block& block = blocks_[index];
  const unsigned count = CountBits(pages);
  MakeOldest(block, pages);
  block.evicted.fetch_or(pages, std::memory_order_relaxed);
  block.evicted_at.store(
      evicted_.fetch_add(count, std::memory_order_relaxed) + count,
      std::memory_order_relaxed);
  resident_.fetch_sub(count, std::memory_order_relaxed);
  const uint32_t before =
      block.state.fetch_sub(count, std::memory_order_acq_rel);
  DCHECK((before & kCount) >= count);
}

void BlockList::Forgot(BlockIndex index, PageMask pages) {
  if (pages == 0) return;
  Block& block = blocks_[index];
  const unsigned count = CountBits(pages);
  MakeOldest(block, pages);
  resident_.fetch_sub(count, std::memory_order_relaxed);
  const uint32_t before =
      block.state.fetch_sub(count, std::memory_order_acq_rel);
  DCHECK((before & kCount) >= count);
}

void BlockList::Used(BlockIndex index, PageMask pages, bool leaving) {
  Stamp(blocks_[index]);
  MakeYoung(blocks_[index], pages, leaving ? 3 : 2);
}

unsigned BlockList::Generation(BlockIndex index, unsigned page) const {
  unsigned generation = 0;
  for (const auto& mask : blocks_[index].at_least) {
    if ((mask.load(std::memory_order_relaxed) >> page & 1) == 0) break;
    ++generation;
  }
  return generation;
}

void BlockList::StartTrial(BlockIndex index) {
  Block& block = blocks_[index];
  block.tried_at.store(now_.load(std::memory_order_relaxed),
                       std::memory_order_relaxed);
  block.trial.fetch_or(kOnTrial, std::memory_order_relaxed);
}

// Pages that left at the last eviction are back. Two that come at the same time
// may count as one.
void BlockList::NoteReturn(Block& block, PageMask pages) {
  const uint32_t trial = block.trial.load(std::memory_order_relaxed);
  if ((trial & kOnTrial) == 0) return;
  const uint32_t back_off = trial & kBackOff;
  const Ticks away = AgeAt(now_.load(std::memory_order_relaxed),
                           block.tried_at.load(std::memory_order_relaxed));
  if (away >= probation_.load(std::memory_order_relaxed)) {
    block.trial.store(
        (trial & kInUse) != 0 || back_off == 0 ? back_off : back_off - 1,
        std::memory_order_relaxed);
    return;
  }
  const PageMask evicted = block.evicted.load(std::memory_order_relaxed);
  promoted_.fetch_add(CountBits(evicted & pages), std::memory_order_relaxed);
  if ((trial & kInUse) != 0) return;
  const uint32_t next = back_off < kMaxBackOff ? back_off + 1 : back_off;
  block.trial.store(next | kOnTrial | kInUse, std::memory_order_relaxed);
}

void BlockList::EndTrial(Block& block) {
  if (block.trial.load(std::memory_order_relaxed) <= kBackOff) return;
  block.trial.fetch_and(kBackOff, std::memory_order_relaxed);
}

bool BlockList::LeftSoonBefore(const Block& block, PageMask pages) const {
  const PageMask left = block.evicted.load(std::memory_order_relaxed);
  if ((left & pages) != pages) return false;
  const uint32_t distance = evicted_.load(std::memory_order_relaxed) -
                            block.evicted_at.load(std::memory_order_relaxed);
  return distance <= resident() / kSoonShare;
}

// From the youngest mask to the oldest, so that a block that is aged meanwhile
// does not make a page old that has just become young.
void BlockList::MakeYoung(Block& block, PageMask pages, unsigned generation) {
  for (unsigned g = generation; g > 1; --g) {
    block.at_least[g - 1].fetch_or(pages, std::memory_order_relaxed);
  }
  const PageMask before =
      block.at_least[0].fetch_or(pages, std::memory_order_relaxed);
  young_.fetch_add(CountBits(pages & ~before), std::memory_order_relaxed);
}

void BlockList::MakeOldest(Block& block, PageMask pages) {
  // Young pages are rare in blocks that leave.
  if ((block.at_least[0].load(std::memory_order_relaxed) & pages) == 0) return;
  const PageMask before =
      block.at_least[0].fetch_and(~pages, std::memory_order_relaxed);
  young_.fetch_sub(CountBits(before & pages), std::memory_order_relaxed);
  for (unsigned g = 2; g < kGenerations; ++g) {
    block.at_least[g - 1].fetch_and(~pages, std::memory_order_relaxed);
  }
}

// REQUIRES: this thread owns the block.
void BlockList::Age(Block& block) {
  const PageMask second = block.at_least[1].load(std::memory_order_relaxed);
  const PageMask before =
      block.at_least[0].fetch_and(second, std::memory_order_relaxed);
  young_.fetch_sub(CountBits(before & ~second), std::memory_order_relaxed);
  const PageMask third =
      block.at_least[2].exchange(0, std::memory_order_relaxed);
  block.at_least[1].fetch_and(third, std::memory_order_relaxed);
}

bool BlockList::OldestIsShort() const {
  const PageCount all = resident();
  return (all - young()) * kOldestShare < all;
}

// What the block has to give; in a hurry, something.
// REQUIRES: this thread owns the block.
PageMask BlockList::Oldest(Block& block, bool hurry) {
  if (OldestIsShort()) Age(block);
  for (unsigned ages = 0; ages < kGenerations; ++ages) {
    const PageMask young = block.at_least[0].load(std::memory_order_relaxed);
    const uint32_t pages = block.state.load(std::memory_order_relaxed) & kCount;
    if (pages > CountBits(young)) return ~young;
    if (!hurry) return 0;
    Age(block);
  }
  return ~PageMask{0};
}

BlockList::Victims BlockList::TakeOldest(Choice choice) {
  unsigned passed = 0;
  const uint64_t round = queued();
  // However many are owned, this ends.
  for (uint64_t left = 2 * round + 1; left > 0; --left) {
    const BlockIndex index = Pop();
    if (index == kNoBlock) break;
    Block& block = blocks_[index];
    uint32_t seen = block.state.load(std::memory_order_relaxed);
    uint32_t next;
    do {
      next = seen;
      if ((seen & kOwned) != 0) continue;
      next = (seen & kCount) == 0 ? seen & ~kQueued : seen | kOwned | kTaken;
    } while (!block.state.compare_exchange_weak(seen, next,
                                                std::memory_order_acq_rel));
    if ((seen & kOwned) != 0) {
      Push(index);
      continue;
    }
    if ((next & kTaken) == 0) continue;
    const bool hurry = passed >= kMaxPassed || left <= round;
    const PageMask pages =
        choice == Choice::kWhole ? ~PageMask{0} : Oldest(block, hurry);
    if (pages != 0) {
      block.evicted.store(0, std::memory_order_relaxed);
      EndTrial(block);
      return {.block = index, .pages = pages};
    }
    ++passed;
    Return(index);
  }
  return {};
}

bool BlockList::Take(BlockIndex index) {
  Block& block = blocks_[index];
  if ((block.state.fetch_or(kOwned, std::memory_order_acq_rel) & kOwned) != 0) {
    return false;
  }
  block.evicted.store(0, std::memory_order_relaxed);
  EndTrial(block);
  return true;
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
  ScopedLock lock(mutex_);
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
  PageCount pages = 0;
  PageCount young = 0;
  BlockIndex last = 0;
  for (BlockIndex i = head_; i != 0; i = blocks_[i - 1].next) {
    const Block& block = blocks_[i - 1];
    const uint32_t state = block.state.load(std::memory_order_relaxed);
    CHECK((state & kQueued) != 0 && (state & kTaken) == 0);
    CHECK((state & kCount) <= kBlockPages);
    const unsigned here =
        CountBits(block.at_least[0].load(std::memory_order_relaxed));
    CHECK(here <= (state & kCount));
    pages += state & kCount;
    young += here;
    CHECK(++blocks <= queued());
    last = i;
  }
  CHECK(last == tail_ && blocks == queued());
  CHECK(pages == resident() && young == this->young());
}

}  // namespace uzswap
