// SPDX-License-Identifier: Apache-2.0
// For work whose result may be somewhat old: it is done by one thread at a
// time, and a hundredth of the time, at most, goes there, however often it is
// asked for. Threads: any, no lock.
#ifndef UZSWAP_BASE_SELDOM_H_
#define UZSWAP_BASE_SELDOM_H_

#include <atomic>
#include <cstdint>

namespace uzswap {

class Seldom {
 public:
  static constexpr uint64_t kShare = 100;

  // True: the caller does it now, and says End. `cheap`: it need not be long
  // ago. Times in cycles.
  bool Begin(uint64_t now, bool cheap = false) {
    return (cheap || now >= not_before_.load(std::memory_order_relaxed)) &&
           !busy_.exchange(true, std::memory_order_acquire);
  }
  void End(uint64_t began, uint64_t now) {
    not_before_.store(now + kShare * (now - began), std::memory_order_relaxed);
    busy_.store(false, std::memory_order_release);
  }
  // In a forked child: whoever was at it is not there.
  void ResetInChild() { busy_.store(false, std::memory_order_relaxed); }

 private:
  std::atomic<bool> busy_{false};
  std::atomic<uint64_t> not_before_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_SELDOM_H_
