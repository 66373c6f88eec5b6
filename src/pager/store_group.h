// SPDX-License-Identifier: Apache-2.0
// Pages of one block on their way to zswap, stored in batches.
#ifndef UZSWAP_PAGER_STORE_GROUP_H_
#define UZSWAP_PAGER_STORE_GROUP_H_

#include "pager/core.h"

namespace uzswap {

// On the stack. Invariant: a page that was added is pending, stored or failed.
class StoreGroupOf {
 public:
  StoreGroupOf(Core& core, Slot first) : core_(core), first_(first) {}
  StoreGroupOf(const StoreGroupOf&) = delete;
  StoreGroupOf& operator=(const StoreGroupOf&) = delete;

  // Pages pending, fewer than kMaxBatch.
  unsigned size() const { return size_; }
  // `content` must stay as it is until the group is full or flushed.
  void Add(unsigned page, ConstPage content) {
    pages_[size_] = page;
    units_[size_++] = {first_ + page, content.data(), kOk};
    if (size_ == kMaxBatch) Flush();
  }
  void Flush() {
    core_.zswap->StoreGroup({units_, size_});
    for (unsigned i = 0; i < size_; ++i) {
      (units_[i].status.ok() ? stored_ : failed_) |= PageMask{1} << pages_[i];
    }
    size_ = 0;
  }
  PageMask stored() const { return stored_; }
  PageMask failed() const { return failed_; }

 private:
  static constexpr unsigned kMaxBatch = 8;

  Core& core_;
  const Slot first_;
  StoreUnit units_[kMaxBatch];
  unsigned pages_[kMaxBatch];
  unsigned size_ = 0;
  PageMask stored_ = 0;
  PageMask failed_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_STORE_GROUP_H_
