// SPDX-License-Identifier: Apache-2.0
// zsmalloc: objects of one size class share a zspage, a run of 1 … chain pages
// (after mm/zsmalloc.c). The densest zpool. Statistics per class are those of
// the kernel's debugfs table zsmalloc/<pool>/classes.
//
// Differences from the kernel, all for density or speed in user space:
// - a zspage is contiguous in virtual memory, so no object is ever in two
//   parts and a read is a pointer into the pool;
// - an object's back reference to its handle takes 4 bytes, not 8, and stands
//   at its end, so a location needs no class to become a payload address;
// - a zspage gets its frames as its objects are first used: a class with one
//   object holds one frame, not a chain of them;
// - a class that would need another zspage first takes a freed object of a
//   slightly larger class, so an object may live in a class above its own;
// - an object is kept in place by its own entry in the handle table while it
//   is read, not with its whole zspage;
// - frames of emptied zspages are kept for reuse, so that a pool which fills
//   and drains does not ask the system each time: up to 1/64 of the pool and
//   16, at most 256. Beyond that, half of what is kept goes back, up to 64
//   zspages with one call; all of it when Compact finds nothing left to move;
// - compaction also packs what is left in partly filled zspages.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_H_
#define UZSWAP_ZPOOL_ZSMALLOC_H_

#include "zpool/zpool.h"
#include "zpool/zsmalloc_class.h"

namespace uzswap {

using ZsmallocClassStats = ZpoolClassStats;
static_assert(ZpoolClassStats::kGroups == kFullnessGroups);

class Zsmalloc : public Zpool {
 public:
  // Frames of total_pages() that are kept for reuse.
  virtual PageCount kept_pages() = 0;
  unsigned class_count() const override = 0;
  ZsmallocClassStats ClassStats(unsigned i) override = 0;

 protected:
  ~Zsmalloc() = default;
};

// The kernel's, and the best one measured (docs/zpool.md, "The chain"): longer
// chains waste less at the end of a zspage, which shows in large pools, but
// empty later and leave more holes, which shows under churn and in small pools.
inline constexpr unsigned kZsmallocChain = 8;

// What compaction does at most before it lets go of the lock of a class: look
// at so many objects; move so many bytes, and the rest of an object.
inline constexpr unsigned kMaxSeenAtOnce = 32;
inline constexpr ByteCount kMaxMovedAtOnce = 8192;

// chain: longest zspage in pages, ZsmallocGeometry::kMinChain … kMaxChain.
// Handles are 1 … 2^31 - 1. A pool holds at most 64 GiB. ENOMEM.
Result<Zsmalloc*> NewZsmalloc(unsigned chain);

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZSMALLOC_H_
