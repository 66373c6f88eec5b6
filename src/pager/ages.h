// SPDX-License-Identifier: Apache-2.0
// How long ago the resident pages were last seen in use, block by block. That a
// page is read while it is resident is not seen (docs/design.md, "Which pages
// leave"), so these are upper bounds.
#ifndef UZSWAP_PAGER_AGES_H_
#define UZSWAP_PAGER_AGES_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "base/seldom.h"
#include "pager/block.h"
#include "pager/cycle_clock.h"

namespace uzswap {

class AgeHistogram {
 public:
  static constexpr std::array<uint64_t, 5> kBordersNs = {
      1000000000,             // 1 s
      10ull * 1000000000,     // 10 s
      60ull * 1000000000,     // 1 min
      600ull * 1000000000,    // 10 min
      3600ull * 1000000000};  // 1 h
  static constexpr size_t kBuckets = kBordersNs.size() + 1;

  // Counts anew, unless that was done a short time ago. Any thread, no lock.
  void Count(const BlockList& blocks, const CycleClock& clock,
             const CycleClock::Moment& now);
  // Younger than border i and not younger than the one before; the last one:
  // older than all.
  PageCount pages(size_t i) const {
    return pages_[i].load(std::memory_order_relaxed);
  }
  void ResetInChild() { seldom_.ResetInChild(); }

 private:
  Seldom seldom_;
  std::array<std::atomic<PageCount>, kBuckets> pages_ = {};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_AGES_H_
