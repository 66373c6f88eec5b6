// SPDX-License-Identifier: Apache-2.0
// Makes the k-th of something fail, so that tests can walk every roll-back
// path: the system itself almost never says no (it overcommits). Only in builds
// with UZSWAP_TEST_HOOKS; otherwise it costs nothing.
#ifndef UZSWAP_BASE_FAILURE_COUNTDOWN_H_
#define UZSWAP_BASE_FAILURE_COUNTDOWN_H_

#include <atomic>
#include <cstdint>

namespace uzswap {

class FailureCountdown {
 public:
#ifdef UZSWAP_TEST_HOOKS
  // 0: off. k: the k-th next fails, once.
  void FailNth(uint64_t k) { left_.store(k, std::memory_order_relaxed); }
  // True if what is about to be done must fail.
  bool ShouldFail() {
    uint64_t left = left_.load(std::memory_order_relaxed);
    while (left != 0) {
      if (left_.compare_exchange_weak(left, left - 1,
                                      std::memory_order_relaxed)) {
        return left == 1;
      }
    }
    return false;
  }

 private:
  std::atomic<uint64_t> left_{0};
#else
  static bool ShouldFail() { return false; }
#endif
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_FAILURE_COUNTDOWN_H_
