// SPDX-License-Identifier: Apache-2.0
// Makes the k-th call of os::Map fail, so that tests can walk every roll-back
// path: the system itself almost never says no (it overcommits). Only in builds
// with UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_BASE_MAP_FAILURE_H_
#define UZSWAP_BASE_MAP_FAILURE_H_

#include <atomic>
#include <cstdint>

namespace uzswap::map_failure {

#ifdef UZSWAP_TEST_HOOKS

inline constinit std::atomic<uint64_t> countdown{0};

// 0: off. k: the k-th next mapping of the process fails, once.
inline void FailNth(uint64_t k) {
  countdown.store(k, std::memory_order_relaxed);
}
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

}  // namespace uzswap::map_failure

#endif  // UZSWAP_BASE_MAP_FAILURE_H_
