// SPDX-License-Identifier: Apache-2.0
// Which blocks of one file are taken. The first free one is handed out, so that
// a file is never larger than its most blocks in use, and room that a full file
// system has given once is used again.
#ifndef UZSWAP_DEVICE_BLOCK_MAP_H_
#define UZSWAP_DEVICE_BLOCK_MAP_H_

#include "base/arena.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Invariants: in_use_ = bits set in used_bits_; taken_ = bits set in
// used_bits_ | kept_bits_; no bit is set at or above high_water_;
// taken_ <= high_water_ <= capacity_; all below cursor_ are taken. Not locked:
// the device does that.
class BlockMap {
 public:
  Status Init(PageCount capacity);
  // Safe to repeat.
  void Release();

  // ENOSPC: every block is taken.
  Result<uint64_t> Take();
  // REQUIRES: index is in use. Dies otherwise: a block is freed exactly once.
  void Put(uint64_t index);
  // Blocks in use now are never handed out again, even when put back: another
  // process may still read them.
  void KeepUsed();

  PageCount in_use() const { return in_use_; }
  PageCount high_water() const { return high_water_; }
  ByteCount metadata_bytes() const;
  void CheckInvariants() const;

 private:
  static constexpr uint64_t kWordBits = 64;
  uint64_t Taken(uint64_t word) const {
    return used_bits_[word] | kept_bits_[word];
  }
  // First free block in [from, to); `to` when there is none.
  uint64_t FindFree(uint64_t from, uint64_t to) const;

  SparseTable<uint64_t> used_bits_;
  SparseTable<uint64_t> kept_bits_;
  PageCount capacity_ = 0;
  PageCount in_use_ = 0;
  PageCount taken_ = 0;
  PageCount kept_ = 0;
  uint64_t high_water_ = 0;
  uint64_t cursor_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_BLOCK_MAP_H_
