// SPDX-License-Identifier: Apache-2.0
// How hard a full pool tries to get rid of pages, and when it gives up.
#ifndef UZSWAP_ZSWAP_WRITEBACK_H_
#define UZSWAP_ZSWAP_WRITEBACK_H_

#include <algorithm>
#include <atomic>

#include "base/page.h"

namespace uzswap {

// One store that meets a full pool writes back at most this many pages, so that
// no store takes unbounded time.
inline constexpr PageCount kWritebackBatch = 32;
// And recompresses at most this many first.
inline constexpr PageCount kRecompressBatch = 16;
// Failures after which one run ends (MAX_RECLAIM_RETRIES, which is 16; each may
// be a disk's timeout, and a thread of the program waits for all of them).
inline constexpr unsigned kMaxWritebackFailures = 4;

// After a run that ended because the device would take nothing, the next 1, 3,
// 7 … 255 stores do not try: else each would copy a page for nothing.
// Room on the device or a success ends that. Plain shared values: a lost update
// costs one attempt.
class WritebackBackoff {
 public:
  bool Skip() {
    const uint32_t left = left_.load(std::memory_order_relaxed);
    if (left == 0) return false;
    left_.store(left - 1, std::memory_order_relaxed);
    return true;
  }
  void Failed() {
    const uint32_t span =
        std::min(span_.load(std::memory_order_relaxed) * 2 + 1, kMaxSpan);
    span_.store(span, std::memory_order_relaxed);
    left_.store(span, std::memory_order_relaxed);
  }
  void Reset() {
    if (span_.load(std::memory_order_relaxed) == 0) return;
    span_.store(0, std::memory_order_relaxed);
    left_.store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr uint32_t kMaxSpan = 255;
  std::atomic<uint32_t> span_{0};
  std::atomic<uint32_t> left_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_WRITEBACK_H_
