// SPDX-License-Identifier: Apache-2.0
// Pages leave memory in blocks of 64 (256 KiB, aligned): one write-protect and
// one drop for all of them. Blocks that have resident pages wait in one queue,
// oldest first; a block that was faulted on after it had waited a while is
// given a second round.
//
// Threads: any; the queue has its own lock, the per-block state is atomic.
// Whoever gets a block from Take* owns its eviction until Return, so no page is
// ever on its way out twice.
#ifndef UZSWAP_PAGER_BLOCK_H_
#define UZSWAP_PAGER_BLOCK_H_

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

inline BlockIndex BlockOf(Slot slot) {
  return static_cast<BlockIndex>(Index(slot) / kBlockPages);
}
inline Slot FirstSlot(BlockIndex block) {
  return Slot{uint64_t{block} * kBlockPages};
}

// Invariants: a block with resident pages is queued or owned; a block is in the
// list exactly if it is queued and not taken by TakeOldest.
class BlockList {
 public:
  Status Init();
  void Release() { blocks_.Release(); }

  // Pages of a block became resident; `wanted`: by a fault on an evicted page.
  void Came(BlockIndex block, unsigned pages, bool wanted);
  void Went(BlockIndex block, unsigned pages);

  // The oldest block that is not owned, or kNoBlock. With `spare_wanted`,
  // blocks that were wanted meanwhile go to the end of the queue first.
  BlockIndex TakeOldest(bool spare_wanted);
  // This block, wherever it is in the queue; false if somebody owns it.
  bool Take(BlockIndex block);
  void Return(BlockIndex block);

  unsigned ResidentPages(BlockIndex block) const {
    return blocks_[block].state.load(std::memory_order_relaxed) & kCount;
  }
  uint64_t queued() const { return queued_.load(std::memory_order_relaxed); }

  // REQUIRES: nobody else is in the pager.
  void CheckInvariants();
  void ResetInChild() { mutex_.ResetInChild(); }

 private:
  // state: resident pages in the low byte, then flags.
  static constexpr uint32_t kCount = 0xff;
  static constexpr uint32_t kQueued = 0x100;
  static constexpr uint32_t kWanted = 0x200;
  static constexpr uint32_t kOwned = 0x400;
  static constexpr uint32_t kTaken = 0x800;  // by TakeOldest: not in the list

  struct Block {
    std::atomic<uint32_t> state;
    BlockIndex next;                    // guarded by mutex_; index + 1
    std::atomic<uint32_t> queued_when;  // pushes_ at that time
  };

  void Push(BlockIndex block);
  BlockIndex Pop();

  static LockClass lock_class_;
  Mutex mutex_{lock_class_};
  SparseTable<Block> blocks_;
  BlockIndex head_ UZSWAP_GUARDED_BY(mutex_) = 0;  // index + 1; 0: none
  BlockIndex tail_ UZSWAP_GUARDED_BY(mutex_) = 0;
  std::atomic<uint64_t> queued_{0};
  std::atomic<uint32_t> pushes_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_BLOCK_H_
