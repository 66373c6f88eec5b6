// SPDX-License-Identifier: Apache-2.0
// What the parts of the pager share: the map lock, the page words, the tables
// over them, the budget and the engine. Each member hides its own decision;
// this only ties them together.
#ifndef UZSWAP_PAGER_CORE_H_
#define UZSWAP_PAGER_CORE_H_

#include "base/arena.h"
#include "base/bits.h"
#include "base/counters.h"
#include "base/mutex.h"
#include "pager/block.h"
#include "pager/bounce.h"
#include "pager/budget.h"
#include "pager/clean_policy.h"
#include "pager/managed_map.h"
#include "pager/page_word.h"
#include "pager/range_table.h"
#include "pager/recent_faults.h"
#include "pager/uffd.h"
#include "zswap/zswap.h"

namespace uzswap {

enum class PagerCounter : unsigned {
#define UZSWAP_COUNTER(name, text) name,
#include "pager/counters.def"
#undef UZSWAP_COUNTER
  kCount
};

// Invariants (under the exclusive map lock): no page is busy or evicting; a
// page word is not none only inside a managed range; the resident pages of a
// block (clean and shared ones are) are counted in it and all of them in the
// budget; only clean and shared pages are write-protected; zswap has the
// content of clean ones.
struct Core {
  static LockClass map_lock_class;

  RwLock map_lock{map_lock_class};
  Uffd uffd;
  SparseTable<PageWord> words;
  ManagedMap managed;
  RangeTable ranges UZSWAP_GUARDED_BY(map_lock);
  BlockList blocks;
  Budget budget;
  BounceBuffers bounce;
  CleanPolicy clean_policy;
  RecentFaults recent_faults;
  PerCpuCounters<PagerCounter> counters;
  Zswap* zswap = nullptr;

  PageWord& word(Slot slot) { return words[Index(slot)]; }
  const PageWord& word(Slot slot) const { return words[Index(slot)]; }
  void Count(PagerCounter counter, uint64_t n = 1) { counters.Add(counter, n); }

  // clean → resident with `pins`, no longer in zswap; false if it is not clean
  // any more.
  bool Settle(Slot slot, uint32_t pins) {
    if (!word(slot).ClaimFrom(PageState::kClean)) return false;
    zswap->Invalidate(slot, 1);
    CHECK(uffd.WriteProtect(AddressOf(slot), 1, false).ok());  // as below
    blocks.Used(BlockOf(slot), MaskOf(slot), /*leaving=*/false);
    word(slot).BecomeResident(pins);
    return true;
  }

  // shared → resident with `pins`; false if it is not shared any more.
  // REQUIRES: a frame is reserved for the copy that the next write makes, or
  // nobody else has the page.
  bool Unshare(Slot slot, uint32_t pins) {
    if (!word(slot).ClaimFrom(PageState::kShared)) return false;
    Unprotect(slot, 1);
    blocks.Used(BlockOf(slot), MaskOf(slot), /*leaving=*/false);
    word(slot).BecomeResident(pins);
    return true;
  }

  // REQUIRES: the pages are present and the caller's.
  void Unprotect(Slot first, PageCount n) {
    if (uffd.WriteProtect(AddressOf(first), n, false).ok()) return;
    // Older kernels want it mapping by mapping.
    for (PageCount i = 0; i < n; ++i) {
      CHECK(uffd.WriteProtect(AddressOf(first + i), 1, false).ok());
    }
  }

  // evicting → resident with `pins`; false if it is not evicting any more.
  bool CancelEviction(Slot slot, uint32_t pins) {
    if (!word(slot).ClaimFrom(PageState::kEvicting)) return false;
    // The range is registered and the page present, so this cannot fail in a
    // way that another try would mend.
    CHECK(uffd.WriteProtect(AddressOf(slot), 1, false).ok());
    blocks.Used(BlockOf(slot), MaskOf(slot), /*leaving=*/true);
    word(slot).BecomeResident(pins);
    Count(PagerCounter::pages_cancelled);
    return true;
  }
};

inline unsigned CountPages(PageMask mask) { return CountBits(mask); }

// Calls f(first, count) for each run of set bits.
template <typename F>
void ForEachRun(PageMask mask, F f) {
  while (mask != 0) {
    const unsigned first = static_cast<unsigned>(std::countr_zero(mask));
    const unsigned count =
        static_cast<unsigned>(std::countr_one(mask >> first));
    f(first, count);
    mask &= count == 64 ? 0 : ~(((PageMask{1} << count) - 1) << first);
  }
}

// Calls f(i) for each set bit.
template <typename F>
void ForEachPage(PageMask mask, F f) {
  for (; mask != 0; mask &= mask - 1) {
    f(static_cast<unsigned>(std::countr_zero(mask)));
  }
}

// memcpy without vector registers and without instrumentation: the source may
// be written to by the program meanwhile, on purpose.
inline void CopyPage(void* to, const void* from) {
  uint64_t count = kPageSize / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

}  // namespace uzswap

#endif  // UZSWAP_PAGER_CORE_H_
