// SPDX-License-Identifier: Apache-2.0
// How much the dynamic shrinker offers and how much of that is looked at
// (mm/zswap.c, zswap_shrinker_count; mm/shrinker.c, do_shrink_slab at its first
// priority).
//
// One difference on purpose: the kernel cuts the share of a small cache down to
// nothing and waits for a higher priority, which we have not; here fractions
// add up.
#ifndef UZSWAP_ZSWAP_SHRINKER_H_
#define UZSWAP_ZSWAP_SHRINKER_H_

#include <algorithm>
#include <atomic>

#include "base/page.h"

namespace uzswap {

// Plain shared values, as in the kernel: a lost update costs a few visits.
class DynamicShrinker {
 public:
  // A page had to be read from the device: something was written back that
  // should not have been (nr_disk_swapins).
  void NoteDiskSwapIn() {
    disk_swapins_.fetch_add(1, std::memory_order_relaxed);
  }

  // What may go: each swap-in from the device protects one entry, once; and the
  // better the pool compresses, the less is gained by writing back.
  PageCount Count(PageCount entries, PageCount pool_pages) {
    if (entries == 0) return 0;
    uint64_t swapins = disk_swapins_.load(std::memory_order_relaxed);
    uint64_t consumed;
    do {
      consumed = std::min(swapins, entries);
    } while (!disk_swapins_.compare_exchange_weak(swapins, swapins - consumed,
                                                  std::memory_order_relaxed));
    const PageCount left = entries - consumed;
    // left * pool_pages / entries without overflow (mult_frac).
    return left / entries * pool_pages + left % entries * pool_pages / entries;
  }

  // How many entries are to be visited now, at most `most`.
  PageCount ToScan(PageCount freeable, PageCount most) {
    // freeable >> DEF_PRIORITY, times 4 / DEFAULT_SEEKS.
    constexpr unsigned kShift = 12 - 1;
    const uint64_t parts =
        std::min(deferred_.load(std::memory_order_relaxed) + freeable,
                 uint64_t{2} * freeable << kShift);
    const PageCount scan = std::min(parts >> kShift, most);
    deferred_.store(parts - (scan << kShift), std::memory_order_relaxed);
    return scan;
  }

  uint64_t disk_swapins() const {
    return disk_swapins_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> disk_swapins_{0};
  std::atomic<uint64_t> deferred_{0};  // visits not made yet, in 1/2048
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_SHRINKER_H_
