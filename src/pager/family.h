// SPDX-License-Identifier: Apache-2.0
// Frames of the pool that a fork's child and its parent have together: for each
// that this process writes to, or gives back, there is one frame more than the
// last measurement says (uzswap_member.parted).
//
// Threads: any. On or off: under the exclusive map lock.
#ifndef UZSWAP_PAGER_FAMILY_H_
#define UZSWAP_PAGER_FAMILY_H_

#include <algorithm>
#include <atomic>

#include "base/bits.h"
#include "base/frames_watcher.h"
#include "pager/budget.h"

namespace uzswap {

class FamilyFrames final : public FramesWatcher {
 public:
  explicit constexpr FamilyFrames(Budget& budget) : budget_(budget) {}

  // Until there are no relatives any more.
  void Watch(uint64_t now_ms) {
    since_ms_.store(now_ms, std::memory_order_relaxed);
    frames_watcher.store(this, std::memory_order_release);
  }
  // To be called now and then. A child has its place in the table some time
  // after the fork.
  void StopIfAlone(uint64_t now_ms) {
    if (!watching()) return;
    const uint64_t since = since_ms_.load(std::memory_order_relaxed);
    if (now_ms > since + kBirthMs && !budget_.tree().HasRelatives()) Stop();
  }
  bool watching() const {
    return frames_watcher.load(std::memory_order_relaxed) != nullptr;
  }
  void Stop() { frames_watcher.store(nullptr, std::memory_order_relaxed); }

  void WillWrite(const void* at, size_t bytes) override {
    const auto start = reinterpret_cast<uint64_t>(at);
    uint64_t page = PageFloor(start);
    const uint64_t end = PageCeil(start + bytes);
    PageCount parted = 0;
    while (page < end) {
      const auto count = static_cast<unsigned>(
          std::min<uint64_t>(64, (end - page) / kPageSize));
      parted += CountBits(budget_.SharedFrames(page, count));
      page += count * kPageSize;
    }
    if (parted != 0) budget_.tree().Part(parted);
  }

 private:
  static constexpr uint64_t kBirthMs = 1000;

  Budget& budget_;
  std::atomic<uint64_t> since_ms_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_FAMILY_H_
