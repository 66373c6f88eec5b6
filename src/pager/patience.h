// SPDX-License-Identifier: Apache-2.0
// How long who finds no room waits for others, before the limit is exceeded: so
// long in all, however slowly it asks and with how many threads, until there
// was room; and then not again for longer (one of the others is stopped, or
// what it has is pinned).
//
// Threads: any, without locks.
#ifndef UZSWAP_PAGER_PATIENCE_H_
#define UZSWAP_PAGER_PATIENCE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace uzswap {

class Patience {
 public:
  static constexpr uint32_t kWaitMs = 500;
  static constexpr int32_t kNoneMs = 5000;
  // Between two calls, that is counted as waiting; and that is none any more.
  static constexpr int32_t kGapMs = 100;
  static constexpr int32_t kForgetMs = 2000;

  constexpr Patience() = default;

  // To be called each time that there is no room. True: wait, and ask again.
  bool Waits(uint32_t now_ms) {
    const uint32_t lost = lost_ms_.load(std::memory_order_relaxed);
    if (lost != 0 && Since(lost, now_ms) < kNoneMs) return false;
    const uint32_t last = last_ms_.exchange(NotZero(now_ms));
    // Another thread may have looked at the clock later, and been here before.
    const int32_t gap = std::max(Since(last, now_ms), 0);
    if (last == 0 || gap > kForgetMs) waited_ms_.store(0);
    const auto more = static_cast<uint32_t>(std::min(gap, kGapMs));
    if (last == 0 || waited_ms_.fetch_add(more) + more < kWaitMs) return true;
    lost_ms_.store(NotZero(now_ms), std::memory_order_relaxed);
    FoundRoom();
    return false;
  }
  void FoundRoom() {
    if (last_ms_.load(std::memory_order_relaxed) == 0) return;
    last_ms_.store(0);
    waited_ms_.store(0);
  }
  // In a forked child: it has not waited for anybody.
  void ResetInChild() {
    FoundRoom();
    lost_ms_.store(0, std::memory_order_relaxed);
  }

 private:
  static uint32_t NotZero(uint32_t ms) { return ms != 0 ? ms : 1; }
  static int32_t Since(uint32_t then_ms, uint32_t now_ms) {
    return static_cast<int32_t>(now_ms - then_ms);
  }

  std::atomic<uint32_t> waited_ms_{0};
  std::atomic<uint32_t> last_ms_{0};  // 0: nobody waits
  std::atomic<uint32_t> lost_ms_{0};  // 0: never
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PATIENCE_H_
