// SPDX-License-Identifier: Apache-2.0
// When the pool is full, with the kernel's hysteresis (zswap_check_limits): a
// pool that reached its maximum stays full until it has shrunk to the accept
// threshold. Integer arithmetic in the kernel's order. Everything is a plain
// shared value; racing checks are harmless, as they are there.
#ifndef UZSWAP_ZSWAP_LIMIT_H_
#define UZSWAP_ZSWAP_LIMIT_H_

#include <atomic>

#include "base/page.h"

namespace uzswap {

// Invariant: accept() <= max().
class PoolLimit {
 public:
  PoolLimit(unsigned max_pool_percent, unsigned accept_threshold_percent)
      : max_pool_percent_(max_pool_percent),
        accept_threshold_percent_(accept_threshold_percent) {}

  // Percentages of at most 100 keep the invariant. A lower maximum is reached
  // by the next checks, not at once.
  void SetPercent(unsigned max_pool, unsigned accept_threshold) {
    max_pool_percent_.store(max_pool, std::memory_order_relaxed);
    accept_threshold_percent_.store(accept_threshold,
                                    std::memory_order_relaxed);
  }
  void SetTotalPages(PageCount total_pages) {
    total_pages_.store(total_pages, std::memory_order_relaxed);
  }
  unsigned max_pool_percent() const {
    return max_pool_percent_.load(std::memory_order_relaxed);
  }
  PageCount max() const {
    return total_pages_.load(std::memory_order_relaxed) *
           max_pool_percent_.load(std::memory_order_relaxed) / 100;
  }
  PageCount accept() const {
    return max() * accept_threshold_percent_.load(std::memory_order_relaxed) /
           100;
  }

  enum class Verdict {
    kAccept,
    kStillFull,  // below the maximum, not yet at the accept threshold
    kHit,        // at the maximum or above
  };
  Verdict Check(PageCount pool_pages) {
    if (pool_pages >= max()) {
      reached_full_.store(true, std::memory_order_relaxed);
      return Verdict::kHit;
    }
    if (!reached_full_.load(std::memory_order_relaxed)) return Verdict::kAccept;
    if (pool_pages > accept()) return Verdict::kStillFull;
    reached_full_.store(false, std::memory_order_relaxed);
    return Verdict::kAccept;
  }

 private:
  std::atomic<unsigned> max_pool_percent_;
  std::atomic<unsigned> accept_threshold_percent_;
  std::atomic<PageCount> total_pages_{0};
  std::atomic<bool> reached_full_{false};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_LIMIT_H_
