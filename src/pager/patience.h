// SPDX-License-Identifier: Apache-2.0
// How long who finds no room waits for others to give way, before the limit is
// exceeded: a while in one go, and not again for longer when that was in vain
// (one of them is stopped, or what it has is pinned).
//
// Threads: any, without locks; those that come at the same moment may see a
// wait begin twice.
#ifndef UZSWAP_PAGER_PATIENCE_H_
#define UZSWAP_PAGER_PATIENCE_H_

#include <atomic>
#include <cstdint>

namespace uzswap {

class Patience {
 public:
  static constexpr uint32_t kWaitMs = 500;
  static constexpr uint32_t kGapMs = 100;  // longer: another wait
  static constexpr uint32_t kNoneMs = 5000;

  constexpr Patience() = default;

  // To be called each time that there is no room. True: wait, and ask again.
  bool Waits(uint32_t now_ms) {
    const uint32_t lost = lost_ms_.load(std::memory_order_relaxed);
    if (lost != 0 && now_ms - lost < kNoneMs) return false;
    const uint32_t last = last_ms_.exchange(now_ms | 1);
    if (last == 0 || now_ms - last > kGapMs) since_ms_.store(now_ms);
    if (now_ms - since_ms_.load() < kWaitMs) return true;
    lost_ms_.store(now_ms | 1, std::memory_order_relaxed);
    last_ms_.store(0);
    return false;
  }

 private:
  std::atomic<uint32_t> since_ms_{0};
  std::atomic<uint32_t> last_ms_{0};  // 0: never
  std::atomic<uint32_t> lost_ms_{0};  // 0: never
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PATIENCE_H_
