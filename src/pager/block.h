// SPDX-License-Identifier: Apache-2.0
// Which pages leave next. Pages leave in blocks of 64 (256 KiB, aligned): one
// write-protect and one drop for all of them. Blocks that have resident pages
// wait in one queue; inside them each page has a generation (the kernel's
// multi-generational LRU, with what a process can see of its own pages):
//
//   0 (oldest)  it came with others, ahead of its use: streams, fresh memory
//   1           it faulted alone
//   2           it was written to while clean
//   3           it was wanted on its way out, or soon after it had left
//
// The hand at the head of the queue takes the oldest generation of a block and
// leaves the others. While less than an eighth of all resident pages is in the
// oldest generation the hand ages what it passes. So a scan, however long, only
// replaces pages of scans; and when the pages in use change, the old ones age
// as fast as the new ones are promoted.
//
// "Soon" is the kernel's refault distance (mm/workingset.c): how many pages
// were evicted between this one's leaving and its coming back.
//
// Threads: any; the queue has its own lock, the per-block state is atomic.
// Whoever gets a block from Take* owns its eviction until Return, so no page is
// ever on its way out twice. A page's generation is set by the page's owner
// only (its word is busy), or aged by the block's.
#ifndef UZSWAP_PAGER_BLOCK_H_
#define UZSWAP_PAGER_BLOCK_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "base/arena.h"
#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

inline constexpr uint64_t kBlockPages = 64;
using BlockIndex = uint32_t;
inline constexpr BlockIndex kNoBlock = ~BlockIndex{0};

// A set of pages of one block: bit i is page i.
using PageMask = uint64_t;

inline BlockIndex BlockOf(Slot slot) {
  return static_cast<BlockIndex>(Index(slot) / kBlockPages);
}
inline Slot FirstSlot(BlockIndex block) {
  return Slot{uint64_t{block} * kBlockPages};
}
inline PageMask MaskOf(Slot slot) {
  return PageMask{1} << Index(slot) % kBlockPages;
}

// Invariants: a block with resident pages is queued or owned; a block is in the
// list exactly if it is queued and not taken by TakeOldest; only resident pages
// are of another generation than the oldest; resident() and young() are sums
// over the blocks.
class BlockList {
 public:
  // What is known of a page's use when it comes.
  enum class Arrival {
    kAhead,  // not the page that was wanted, or one of a stream of them
    kAlone,  // wanted, and nothing around it
  };
  enum class Choice {
    kOldest,  // pages of the oldest generation
    kWhole,   // whatever the block has
  };
  struct Victims {
    BlockIndex block = kNoBlock;
    PageMask pages = 0;  // not all of them need be resident
  };

  // Coarse time, from the cycle counter: some milliseconds, and for months.
  using Ticks = uint32_t;
  static constexpr Ticks TicksOf(uint64_t cycles) {
    return static_cast<Ticks>(cycles >> 24);
  }
  // 0 for what is used while one looks.
  static constexpr Ticks AgeAt(Ticks now, Ticks used_at) {
    const Ticks age = now - used_at;
    return age > ~Ticks{0} / 2 ? 0 : age;
  }
  struct Look {
    unsigned pages;     // resident
    Ticks used_at;      // last evidence of use
    unsigned back_off;  // see StartTrial
  };

  Status Init();
  void Release();

  // The time, for what is noted from now on.
  void SetNow(uint64_t cycles) {
    const Ticks now = TicksOf(cycles);
    if (now_.load(std::memory_order_relaxed) != now) {
      now_.store(now, std::memory_order_relaxed);
    }
  }

  // Pages of a block are about to become resident.
  void Came(BlockIndex block, PageMask pages, Arrival how);
  // They are evicted; from here on their refault distance counts.
  void Went(BlockIndex block, PageMask pages);
  // They are gone with their content, or have another name now.
  void Forgot(BlockIndex block, PageMask pages);
  // Resident pages turned out to be in use: written to while clean, or
  // (`leaving`) wanted back while on their way out.
  void Used(BlockIndex block, PageMask pages, bool leaving);

  // Pages that could not leave go to the youngest generation; that is no use.
  // REQUIRES: the caller owns the block, and they are resident.
  void KeepYoung(BlockIndex index, PageMask pages) {
    if (pages != 0) MakeYoung(blocks_[index], pages, 3);
  }
  // Evidence of use that shows which block it is, but has no page's owner
  // (pins).
  void Touch(BlockIndex index) { Stamp(blocks_[index]); }

  // The block, which the caller has taken, is evicted although nobody needs the
  // memory. Pages that come back before `probation` is over are counted as
  // promoted, and its back_off, a power of two, goes up by one; it goes down
  // when the first one comes later.
  void StartTrial(BlockIndex block);
  void SetProbation(Ticks probation) {
    probation_.store(probation, std::memory_order_relaxed);
  }
  PageCount promoted() const {
    return promoted_.load(std::memory_order_relaxed);
  }
  static constexpr unsigned kMaxBackOff = 6;

  // Calls f(block, look) for each block from `first` on that has resident
  // pages, in the order of addresses, until f returns false. Blocks that change
  // meanwhile are seen as they were or as they are.
  template <typename F>
  void ForEachResident(BlockIndex first, F f) const;

  // The next block, of those that nobody owns, that has pages to give. One
  // without any (kNoBlock): all are owned or empty.
  Victims TakeOldest(Choice choice);
  // This block, wherever it is in the queue; false if somebody owns it.
  bool Take(BlockIndex block);
  void Return(BlockIndex block);

  unsigned ResidentPages(BlockIndex block) const {
    return blocks_[block].state.load(std::memory_order_relaxed) & kCount;
  }
  unsigned Generation(BlockIndex block, unsigned page) const;
  uint64_t queued() const { return queued_.load(std::memory_order_relaxed); }
  PageCount resident() const {
    return resident_.load(std::memory_order_relaxed);
  }
  // Of them, those that are not of the oldest generation.
  PageCount young() const { return young_.load(std::memory_order_relaxed); }

  // REQUIRES: nobody else is in the pager.
  void CheckInvariants();
  void ResetInChild() {
    mutex_.ResetInChild();
    promoted_.store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr unsigned kGenerations = 4;
  // state: resident pages in the low byte, then flags.
  static constexpr uint32_t kCount = 0xff;
  static constexpr uint32_t kQueued = 0x100;
  static constexpr uint32_t kOwned = 0x400;
  static constexpr uint32_t kTaken = 0x800;  // by TakeOldest: not in the list

  static constexpr uint32_t kBackOff = 0xff;
  static constexpr uint32_t kOnTrial = 0x100;
  static constexpr uint32_t kInUse = 0x200;  // a page has come back in time

  struct Block {
    std::atomic<uint32_t> state;
    BlockIndex next;                   // guarded by mutex_; index + 1
    std::atomic<uint32_t> evicted_at;  // the eviction clock, evicted_, then
    std::atomic<Ticks> used_at;
    std::atomic<Ticks> tried_at;
    std::atomic<uint32_t> trial;  // back_off in the low byte, then flags
    // Pages that left when it was last evicted. Others that are away left
    // before, too long ago to matter.
    std::atomic<PageMask> evicted;
    // [g - 1]: pages of generation g or a younger one.
    std::array<std::atomic<PageMask>, kGenerations - 1> at_least;
  };

  void Stamp(Block& block) {
    const Ticks now = now_.load(std::memory_order_relaxed);
    if (block.used_at.load(std::memory_order_relaxed) != now) {
      block.used_at.store(now, std::memory_order_relaxed);
    }
  }
  void NoteReturn(Block& block, PageMask pages);
  void EndTrial(Block& block);
  bool LeftSoonBefore(const Block& block, PageMask pages) const;
  PageMask Oldest(Block& block, bool hurry);
  void Age(Block& block);
  void MakeYoung(Block& block, PageMask pages, unsigned generation);
  void MakeOldest(Block& block, PageMask pages);
  bool OldestIsShort() const;
  void Push(BlockIndex block);
  BlockIndex Pop();

  // Blocks of a region: 64 MiB of addresses.
  static constexpr BlockIndex kRegion = 256;
  static constexpr BlockIndex kBlocks = kSlotLimit / kBlockPages;

  static LockClass lock_class_;
  Mutex mutex_{lock_class_};
  SparseTable<Block> blocks_;
  // A bit for each region, set once it has had a resident page.
  SparseTable<std::atomic<uint64_t>> regions_;
  std::atomic<Ticks> now_{0};
  std::atomic<Ticks> probation_{0};
  std::atomic<PageCount> promoted_{0};
  BlockIndex head_ UZSWAP_GUARDED_BY(mutex_) = 0;  // index + 1; 0: none
  BlockIndex tail_ UZSWAP_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> queued_{0};
  std::atomic<PageCount> resident_{0};
  std::atomic<PageCount> young_{0};
  std::atomic<uint32_t> evicted_{0};  // pages so far, modulo its size
};

template <typename F>
void BlockList::ForEachResident(BlockIndex first, F f) const {
  for (uint64_t at = first; at < kBlocks;) {
    const uint64_t region = at / kRegion;
    const uint64_t next = (region + 1) * kRegion;
    const uint64_t bits = regions_[region / 64].load(std::memory_order_relaxed);
    if (bits == 0) {
      at = (region / 64 + 1) * 64 * kRegion;
      continue;
    }
    for (; (bits >> region % 64 & 1) != 0 && at < next; ++at) {
      const Block& block = blocks_[at];
      const Look look = {
          ResidentPages(static_cast<BlockIndex>(at)),
          block.used_at.load(std::memory_order_relaxed),
          block.trial.load(std::memory_order_relaxed) & kBackOff};
      if (look.pages != 0 && !f(static_cast<BlockIndex>(at), look)) return;
    }
    at = next;
  }
}

}  // namespace uzswap

#endif  // UZSWAP_PAGER_BLOCK_H_
