// SPDX-License-Identifier: Apache-2.0
// How much may be evicted before anybody asks for memory. After Google's
// software-defined far memory: pages that come back within a minute of such an
// eviction ("promotions") are its price, and their number in a minute, as a
// share of the working set, is held below a target. The share of the resident
// pages is taken here, since what part of them is read is not known.
//
// Promotions above the target are a debt that is paid off at the target's rate;
// as long as it is more than a minute's worth, nothing is evicted. What is
// evicted at a time begins with a block and grows while nothing comes back: a
// program that was never tried is not evicted as a whole.
//
// Threads: one at a time.
#ifndef UZSWAP_PAGER_PROMOTION_H_
#define UZSWAP_PAGER_PROMOTION_H_

#include <algorithm>
#include <cstdint>

#include "base/page.h"

namespace uzswap {

class PromotionTarget {
 public:
  static constexpr uint64_t kMinuteNs = 60ull * 1000000000;
  static constexpr uint32_t kDefault = 20;  // 0.2 % in a minute

  // In 1/100 percent of the working set in a minute.
  void Set(uint32_t hundredths) {
    target_ = hundredths == 0 ? kDefault : hundredths;
  }

  // How many pages may be evicted now. `promoted`: so far, in all.
  PageCount Allowance(uint64_t now_ns, PageCount working_set,
                      PageCount promoted) {
    const PageCount a_minute = std::max<PageCount>(
        1, static_cast<PageCount>(working_set * target_ / 10000));
    Pay(now_ns, a_minute);
    const PageCount fresh = promoted - promoted_;
    promoted_ = promoted;
    debt_ = std::min(debt_ + fresh * kPart, kMaxDebt * a_minute * kPart);
    if (debt_ > a_minute * kPart) {
      step_ = kFirstStep;
      return 0;
    }
    return std::max(kFirstStep, std::min(step_, working_set / kMostShare));
  }
  // So many went, of an allowance of `allowed`.
  void NoteEvicted(PageCount pages, PageCount allowed) {
    if (pages != 0 && pages >= allowed) step_ += step_ / 4;
  }
  // In the child after fork, which counts promotions anew.
  void ResetInChild() { promoted_ = 0; }

 private:
  static constexpr PageCount kFirstStep = 64;
  // All of it in a minute at the soonest, so that a promotion is seen before.
  static constexpr PageCount kMostShare = 64;
  // In minutes: a working set that was misjudged once is tried again.
  static constexpr uint64_t kMaxDebt = 10;
  // Debt is in parts of a page.
  static constexpr uint64_t kPart = 1024;

  void Pay(uint64_t now_ns, PageCount a_minute) {
    const uint64_t passed =
        std::min(now_ns - std::min(now_ns, then_ns_), kMaxDebt * kMinuteNs);
    then_ns_ = now_ns;
    debt_ -=
        std::min(debt_, a_minute * kPart * (passed >> 20) / (kMinuteNs >> 20));
  }

  uint32_t target_ = kDefault;
  PageCount step_ = kFirstStep;
  PageCount promoted_ = 0;
  uint64_t debt_ = 0;
  uint64_t then_ns_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PROMOTION_H_
