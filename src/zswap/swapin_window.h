// SPDX-License-Identifier: Apache-2.0
// How many pages are read with one that has to come from the storage: the group
// of so many slots around it (the kernel's swap_vma_readahead). Where a read is
// fast nothing is: a page nobody asked for costs pool memory, and is written
// once more when it leaves. Otherwise it depends on what became of those that
// were brought: loaded, or written back and forgotten unused. Some of them are
// followed, in a table of their slots.
//
// Threads: any. Plain shared values: a lost update costs a sample.
#ifndef UZSWAP_ZSWAP_SWAPIN_WINDOW_H_
#define UZSWAP_ZSWAP_SWAPIN_WINDOW_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/check.h"
#include "base/page.h"

namespace uzswap {

// Invariant: the window is 0 or a power of two from kLeast to kMost.
class SwapInWindow {
 public:
  static constexpr unsigned kFirst = 8;  // the kernel's page-cluster
  static constexpr unsigned kLeast = 2;
  static constexpr unsigned kMost = 16;
  // With a window of 0, a read of so many finds out whether it pays again.
  static constexpr unsigned kProbe = 4;
  static constexpr uint32_t kProbeEvery = 64;
  // What a read from the page cache stays below, and no disk.
  static constexpr uint64_t kSlowNs = 20000;
  // Pages that are followed, of those brought, and after how many the window
  // changes.
  static constexpr uint64_t kSampleEach = 16;
  static constexpr uint32_t kPeriod = 32;

  // Pages to be had with the next read, its own included; 0: that alone.
  unsigned Next() {
    if (ns16_.load(std::memory_order_relaxed) < kSlowNs * kWeight) return 0;
    const unsigned window = window_.load(std::memory_order_relaxed);
    if (window != 0) return window;
    const uint32_t loads = loads_.load(std::memory_order_relaxed) + 1;
    loads_.store(loads, std::memory_order_relaxed);
    return loads % kProbeEvery == 0 ? kProbe : 0;
  }
  unsigned window() const { return window_.load(std::memory_order_relaxed); }

  // A read of an object of so many bytes took so long, with whatever came with
  // it, and went to the storage.
  void NoteRead(uint64_t ns, ByteCount bytes) {
    Average(ns16_, std::min(ns, kMostNs));
    Average(bytes16_, bytes);
  }
  ByteCount average_bytes() const {
    return bytes16_.load(std::memory_order_relaxed) / kWeight;
  }

  // The page was brought; was loaded from the pool; left it otherwise. The last
  // two may be said of any page.
  void NoteBrought(Slot slot) {
    const Sample sample = SampleOf(slot);
    if (!sample.followed) return;
    std::atomic<uint32_t>& cell = cells_[sample.cell];
    // Pages that are never heard of again must not fill the table for good.
    const uint32_t before = brought_.load(std::memory_order_relaxed);
    brought_.store(before + 1, std::memory_order_relaxed);
    if (cell.load(std::memory_order_relaxed) == 0 || before % kReplace == 0) {
      cell.store(sample.key, std::memory_order_relaxed);
    }
  }
  void NoteLoaded(Slot slot) { Note(slot, true); }
  void NoteGone(Slot slot) { Note(slot, false); }

  void CheckInvariants() const {
    const unsigned w = window();
    CHECK(w == 0 || (w >= kLeast && w <= kMost && (w & (w - 1)) == 0));
  }

 private:
  static constexpr uint64_t kWeight = 16;  // reads that an average is over
  // A read that waited for something else says little about the storage.
  static constexpr uint64_t kMostNs = 200000;
  static constexpr unsigned kCellBits = 12;
  static constexpr uint32_t kReplace = 8;
  static constexpr unsigned kHitShift = 16;

  struct Sample {
    bool followed;
    uint32_t cell;
    uint32_t key;  // not 0
  };
  static Sample SampleOf(Slot slot) {
    const uint64_t hash = Index(slot) * 0x9e3779b97f4a7c15;
    return {(hash >> 40) % kSampleEach == 0,
            static_cast<uint32_t>(hash >> (64 - kCellBits)),
            static_cast<uint32_t>(hash >> 20) | 1};
  }

  static void Average(std::atomic<uint64_t>& sum, uint64_t value) {
    const uint64_t before = sum.load(std::memory_order_relaxed);
    sum.store(before == 0 ? value * kWeight : before - before / kWeight + value,
              std::memory_order_relaxed);
  }

  void Note(Slot slot, bool hit) {
    const Sample sample = SampleOf(slot);
    if (!sample.followed) return;
    std::atomic<uint32_t>& cell = cells_[sample.cell];
    if (cell.load(std::memory_order_relaxed) != sample.key) return;
    uint32_t key = sample.key;
    if (!cell.compare_exchange_strong(key, 0, std::memory_order_relaxed)) {
      return;
    }
    const uint32_t one = 1 + (hit ? uint32_t{1} << kHitShift : 0);
    const uint32_t sum =
        outcomes_.fetch_add(one, std::memory_order_relaxed) + one;
    if ((sum & ((uint32_t{1} << kHitShift) - 1)) < kPeriod) return;
    outcomes_.store(0, std::memory_order_relaxed);
    Adapt(sum >> kHitShift);
  }

  void Adapt(uint32_t hits) {
    const unsigned before = window();
    unsigned after = before;
    if (hits * 2 >= kPeriod) {
      after = std::clamp(before * 2, kProbe, kMost);
    } else if (hits * 4 < kPeriod) {
      after = before / 2 < kLeast ? 0 : before / 2;
    }
    window_.store(after, std::memory_order_relaxed);
  }

  std::atomic<unsigned> window_{kFirst};
  std::atomic<uint32_t> loads_{0};     // with a window of 0
  std::atomic<uint64_t> ns16_{0};      // kWeight times the average
  std::atomic<uint64_t> bytes16_{0};   // the same
  std::atomic<uint32_t> brought_{0};   // that are followed
  std::atomic<uint32_t> outcomes_{0};  // in this period; above kHitShift: hits
  std::atomic<uint32_t> cells_[uint32_t{1} << kCellBits] = {};  // 0: empty
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_SWAPIN_WINDOW_H_
