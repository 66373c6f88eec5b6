// SPDX-License-Identifier: Apache-2.0
// The pages that were served last. They do not leave: where everything else is
// pinned, or not managed, the one that a thread is about to touch would be the
// next victim, and the thread would fault for ever. Sixteen, since one
// instruction can need several, and several threads may be about to.
#ifndef UZSWAP_PAGER_RECENT_FAULTS_H_
#define UZSWAP_PAGER_RECENT_FAULTS_H_

#include <array>
#include <atomic>

#include "pager/block.h"

namespace uzswap {

// Threads: any.
class RecentFaults {
 public:
  static constexpr size_t kCount = 16;

  void Note(Slot slot) {
    const uint32_t i = next_.fetch_add(1, std::memory_order_relaxed);
    slots_[i % kCount].store(Index(slot), std::memory_order_relaxed);
  }
  // Those that lie in the block.
  PageMask In(BlockIndex block) const {
    PageMask mask = 0;
    for (const std::atomic<uint64_t>& slot : slots_) {
      const Slot at{slot.load(std::memory_order_relaxed)};
      if (BlockOf(at) == block) mask |= MaskOf(at);
    }
    return mask;
  }

 private:
  std::atomic<uint32_t> next_{0};
  std::array<std::atomic<uint64_t>, kCount> slots_ = {};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_RECENT_FAULTS_H_
