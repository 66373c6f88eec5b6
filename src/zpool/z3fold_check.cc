// SPDX-License-Identifier: Apache-2.0
// The full scan of a z3fold pool, from its pages and from its lists.
#include "base/check.h"
#include "zpool/z3fold_pool.h"

namespace uzswap {

// Returns how many objects it has.
uint64_t Z3foldPool::CheckPage(const FoldHeader& header, PageNumber page)
    UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  CHECK(!header.claimed);
  CHECK(header.Objects() > 0);
  CHECK(header.bin == header.FreeRun());
  unsigned end = 1;
  for (const FoldBuddy b : {kFoldFirst, kFoldMiddle, kFoldLast}) {
    CHECK((header.handles[b] == 0) == !header.Has(b));
    if (!header.Has(b)) continue;
    CHECK(header.Start(b) >= end);
    end = header.Start(b) + header.chunks[b];
    CHECK(end <= kChunksPerPage);
    CHECK(handles_.WasGiven(header.handles[b]));
    CHECK((handles_.Get(header.handles[b]) ==
           Location{page, header.Start(b)}.Word()));
  }
  return header.Objects();
}

// Returns how many pages they have.
PageCount Z3foldPool::CheckLists(unsigned cpu) {
  FoldLists& lists = ListsOf(cpu);
  ScopedLock lock(lists.lock);
  PageCount pages = 0;
  const uint64_t bins = lists.bins.load(std::memory_order_relaxed);
  CHECK((bins & 1) == 0);
  for (unsigned bin = 1; bin < kBins; ++bin) {
    CHECK((bins >> bin & 1) == (lists.heads[bin] != 0 ? 1 : 0));
    PageNumber prev = 0;
    for (PageNumber page = lists.heads[bin]; page != 0;
         page = Header(page).next) {
      CheckShared({page, 1});
      CHECK(++pages <= area_.frames());
      CHECK(Header(page).prev == prev);
      CHECK(Header(page).bin == bin && Header(page).cpu == cpu);
      prev = page;
    }
  }
  return pages;
}

void Z3foldPool::CheckInvariants() {
  uint64_t objects = 0;
  PageCount pages = 0;
  PageCount with_room = 0;
  area_.ForEachTaken([&](PageNumber page) {
    if (area_.Word(page).load(std::memory_order_relaxed) != PageArea::kTaken) {
      return;
    }
    const FoldHeader& header = Header(page);
    objects += CheckPage(header, page);
    with_room += header.bin != 0;
    ++pages;
  });
  PageCount listed = 0;
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) listed += CheckLists(cpu);
  CHECK(listed == with_room);
  const PageCount headless = CheckHeadless();
  handles_.CheckInvariants(objects + headless);
  area_.CheckInvariants(pages + headless);
}

}  // namespace uzswap
