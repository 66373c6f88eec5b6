// SPDX-License-Identifier: Apache-2.0
// Clean pages are mapped write-protected, and zswap keeps their content, so
// that they can leave again for nothing (the kernel's swap cache). Calls that
// take the protection away, or give pages another name, settle them first.
#include <algorithm>

#include "pager/pager.h"

namespace uzswap {

// One unprotect for each run of clean pages of [start, end).
void Pager::SettlePages(uint64_t start, uint64_t end) {
  const uint64_t last = end / kPageSize;
  for (uint64_t at = start / kPageSize; at < last;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next = std::min(last, (unit + 1) * ManagedMap::kUnitPages);
    if (!core_.managed.Touched(unit)) {
      at = next;
      continue;
    }
    while (at < next) at = SettleRun(at, next);
  }
}

// Settles the run of clean pages that begins at `at`, if one does; returns
// where to look next.
uint64_t Pager::SettleRun(uint64_t at, uint64_t end) {
  const uint64_t first = at;
  while (at < end && core_.word(Slot{at}).state() == PageState::kClean &&
         core_.word(Slot{at}).ClaimFrom(PageState::kClean)) {
    ++at;
  }
  if (at == first) return at + 1;
  const PageCount count = at - first;
  core_.zswap->Invalidate(Slot{first}, count);
  if (!core_.uffd.WriteProtect(AddressOf(Slot{first}), count, false).ok()) {
    // Older kernels want it mapping by mapping.
    for (uint64_t i = first; i < at; ++i) {
      CHECK(core_.uffd.WriteProtect(AddressOf(Slot{i}), 1, false).ok());
    }
  }
  for (uint64_t i = first; i < at; ++i) {
    core_.word(Slot{i}).BecomeResident(0);
  }
  return at;
}

void Pager::SettleAll() {
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    SettlePages(range.start, range.end);
  }
}

}  // namespace uzswap
