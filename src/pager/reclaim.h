// SPDX-License-Identifier: Apache-2.0
// What all ways of making room share.
#ifndef UZSWAP_PAGER_RECLAIM_H_
#define UZSWAP_PAGER_RECLAIM_H_

#include "base/lockdep.h"
#include "base/page.h"

namespace uzswap {

// Fewer pages are never left: what a fault has just brought in would leave
// again before the program could use it, and so for ever.
inline constexpr PageCount kFloorPages = 512;

// Nothing that is taken in here may be held where memory is asked for.
struct ScopedReclaim {
  ScopedReclaim() { lockdep::ReclaimBegin(); }
  ~ScopedReclaim() { lockdep::ReclaimEnd(); }
  ScopedReclaim(const ScopedReclaim&) = delete;
  ScopedReclaim& operator=(const ScopedReclaim&) = delete;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_RECLAIM_H_
