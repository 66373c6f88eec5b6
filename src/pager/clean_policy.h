// SPDX-License-Identifier: Apache-2.0
// Whether keeping copies of pages that are read pays: a clean page that leaves
// saves a compression, one that is written to costs a fault. So it stops when
// most of them are written to, and is tried again after a while, which gets
// longer each time that it was in vain.
//
// Threads: any; the counts are estimates and races between them harmless.
#ifndef UZSWAP_PAGER_CLEAN_POLICY_H_
#define UZSWAP_PAGER_CLEAN_POLICY_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace uzswap {

class CleanPolicy {
 public:
  bool Pays() {
    uint32_t left = pause_.load(std::memory_order_relaxed);
    if (left == 0) return true;
    pause_.store(left - 1, std::memory_order_relaxed);
    return false;
  }
  void NoteDropped(uint32_t pages) { Note(dropped_, pages); }
  void NoteWritten() { Note(written_, 1); }

 private:
  static constexpr uint32_t kWindow = 128;     // outcomes between two verdicts
  static constexpr uint32_t kMinPause = 4096;  // loads without copies
  static constexpr uint32_t kMaxPause = uint32_t{1} << 18;

  void Note(std::atomic<uint32_t>& count, uint32_t pages) {
    count.store(count.load(std::memory_order_relaxed) + pages,
                std::memory_order_relaxed);
    const uint32_t dropped = dropped_.load(std::memory_order_relaxed);
    const uint32_t written = written_.load(std::memory_order_relaxed);
    if (dropped + written < kWindow) return;
    uint32_t next = next_pause_.load(std::memory_order_relaxed);
    if (written > dropped) {
      pause_.store(next, std::memory_order_relaxed);
      next = std::min(next * 4, kMaxPause);
    } else {
      next = kMinPause;
    }
    next_pause_.store(next, std::memory_order_relaxed);
    dropped_.store(0, std::memory_order_relaxed);
    written_.store(0, std::memory_order_relaxed);
  }

  std::atomic<uint32_t> dropped_{0};
  std::atomic<uint32_t> written_{0};
  std::atomic<uint32_t> pause_{0};
  std::atomic<uint32_t> next_pause_{kMinPause};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_CLEAN_POLICY_H_
