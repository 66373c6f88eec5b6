// SPDX-License-Identifier: Apache-2.0
// Makes the k-th allocation of frames or metadata inside a zpool fail, so that
// tests can walk every roll-back path. The system itself almost never says no
// (it overcommits), which is why these paths need help to be seen. Only in
// builds with UZSWAP_TEST_HOOKS; otherwise it costs nothing.
#ifndef UZSWAP_ZPOOL_FAILURE_H_
#define UZSWAP_ZPOOL_FAILURE_H_

#include <atomic>
#include <cstdint>

namespace uzswap::zpool_failure {

#ifdef UZSWAP_TEST_HOOKS

// 0: off. k: the k-th next allocation of any zpool in the process fails, once.
inline constinit std::atomic<uint64_t> countdown{0};

inline void FailNth(uint64_t k) {
  countdown.store(k, std::memory_order_relaxed);
}
// True if the allocation that is about to be made must fail.
inline bool ShouldFail() {
  uint64_t left = countdown.load(std::memory_order_relaxed);
  while (left != 0) {
    if (countdown.compare_exchange_weak(left, left - 1,
                                        std::memory_order_relaxed)) {
      return left == 1;
    }
  }
  return false;
}

#else

inline bool ShouldFail() { return false; }

#endif

}  // namespace uzswap::zpool_failure

#endif  // UZSWAP_ZPOOL_FAILURE_H_
