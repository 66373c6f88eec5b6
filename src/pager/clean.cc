// SPDX-License-Identifier: Apache-2.0
// Pages that are mapped write-protected. Clean ones zswap has, too, so that
// they can leave again for nothing (the kernel's swap cache); shared ones
// relatives of a fork have (shared.cc). Calls that take the protection away, or
// give pages another name, settle them first.
#include <algorithm>

#include "pager/pager.h"

namespace uzswap {

void Pager::SettlePages(uint64_t start, uint64_t end) {
  SettleClean({start, end});
  ReleaseShared({start, end});
}

void Pager::SettleClean(const Extent& extent) {
  ClaimRuns(extent, PageState::kClean, [this](Slot first, PageCount n) {
    core_.zswap->Invalidate(first, n);
    core_.Unprotect(first, n);
    for (PageCount i = 0; i < n; ++i) core_.word(first + i).BecomeResident(0);
  });
}

void Pager::SettleAllClean() {
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    SettleClean({range.start, range.end});
  }
}

}  // namespace uzswap
