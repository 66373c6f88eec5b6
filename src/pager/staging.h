// SPDX-License-Identifier: Apache-2.0
// Frames on their way out: UFFDIO_MOVE takes whole blocks from the program into
// this area in one call; later the oldest is compressed and its frames are
// dropped. A page wanted before that is moved back without decompression, so
// staging is also the second chance of the move method.
//
// Threads: any, map lock held shared; fork and VM calls hold it exclusively.
// A frame is read or dropped only by the owner of the page word that named it.
#ifndef UZSWAP_PAGER_STAGING_H_
#define UZSWAP_PAGER_STAGING_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "pager/core.h"

namespace uzswap {

// Invariants: a frame's bit is set exactly while a page word is staged with its
// number, or busy on the way there or back; a staging block is free, queued or
// taken by one thread; a free one has no bits.
class Staging {
 public:
  static constexpr uint32_t kBlocks = 256;

  explicit constexpr Staging(Core& core) : core_(core) {}

  // Reserves the area and registers it with core.uffd.
  Status Init();
  void Release();

  // A free staging block, or kBlocks when all are in use.
  uint32_t TakeFree();
  // Gives it back; it is queued behind the others if it has frames.
  void Return(uint32_t block);
  uint64_t FrameAddress(uint32_t block, unsigned page) const {
    return area_ + (uint64_t{block} * kBlockPages + page) * kPageSize;
  }
  // Frames [first, first + count) of the block, whose pages are those of
  // `source`, are about to be filled.
  void Fill(uint32_t block, BlockIndex source, PageMask frames);
  void Clear(uint32_t block, PageMask frames);

  // Compresses the oldest staging block; returns how many pages are now in
  // zswap and their frames free. 0: there was none, or zswap had no memory.
  PageCount CompressOldest();

  // seen is a staged word: the page becomes resident with `pins`. False if it
  // is not staged there any more.
  bool BringBack(Slot slot, uint32_t seen, uint32_t pins);
  // Exclusive map lock: the frame named by a word that was just forgotten.
  void Discard(uint32_t frame);
  void BringAllBack();

  void ResetInChild() { mutex_.ResetInChild(); }
  void CheckInvariants();

 private:
  struct Block {
    BlockIndex source;
    std::atomic<PageMask> frames;
  };

  uint32_t PopOldest();
  PageMask Compress(uint32_t block, PageMask frames);

  static LockClass lock_class_;
  Core& core_;
  uint64_t area_ = 0;
  std::array<Block, kBlocks> blocks_ = {};
  Mutex mutex_{lock_class_};
  // queue_[head_ … head_ + queued_) modulo kBlocks, oldest first.
  std::array<uint16_t, kBlocks> queue_ UZSWAP_GUARDED_BY(mutex_) = {};
  uint32_t head_ UZSWAP_GUARDED_BY(mutex_) = 0;
  uint32_t queued_ UZSWAP_GUARDED_BY(mutex_) = 0;
  std::array<uint16_t, kBlocks> free_ UZSWAP_GUARDED_BY(mutex_) = {};
  uint32_t free_count_ UZSWAP_GUARDED_BY(mutex_) = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_STAGING_H_
