// SPDX-License-Identifier: Apache-2.0
// Compaction of z3fold, in a page and across pages.
//
// Across pages, a page is claimed: off its list and marked, its lock free. Then
// for each object: its handle is set moving, which keeps readers and Free away
// from it; room is found in another page, under that page's lock; the bytes are
// copied with no lock held; the handle leads to the new place. An object that
// cannot move stays, and the page goes back to its list with whatever is left.
#include <bit>
#include <cstring>

#include "base/check.h"
#include "zpool/z3fold_pool.h"

namespace uzswap {

// The middle object moves to its only neighbour, or to the front (and becomes
// the first) when it has none. A shift of less than three chunks is not worth
// the copy.
void Z3foldPool::CompactInPage(FoldHeader& header, PageNumber page) {
  constexpr unsigned kWorthwhile = 3;
  const bool first = header.Has(kFoldFirst);
  const bool last = header.Has(kFoldLast);
  if (!header.Has(kFoldMiddle) || (first && last)) return;
  const unsigned gap = last ? header.GapBehind() : header.GapBefore();
  if ((first || last) && gap < kWorthwhile) return;
  const unsigned start = header.start_middle;
  const unsigned target = last ? start + gap : start - gap;
  const uint32_t handle = header.handles[kFoldMiddle];
  const unsigned chunks = header.chunks[kFoldMiddle];
  const Location from{page, start};
  const Location to{page, target};
  if (!handles_.BeginMove(handle, from.Word())) return;  // it is in use
  memmove(At(to), At(from), chunks * kChunkSize);
  header.start_middle = static_cast<uint8_t>(target);
  if (!first && !last) {
    header.Set(kFoldMiddle, 0, 0);
    header.Set(kFoldFirst, handle, chunks);
  }
  handles_.Set(handle, to.Word());
}

PageCount Z3foldPool::Compact(unsigned objects) {
  DCHECK(!frozen());
  const PageCount before = area_.frames();
  for (unsigned bin = kUsableChunks; bin-- > 1;) {
    for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
      while (objects > 0 && EmptyOneOf(ListsOf(cpu), bin, &objects)) {
      }
    }
    if (objects == 0) break;
  }
  const PageCount after = area_.frames();
  return before > after ? before - after : 0;
}

// Moves the objects of one page, *objects at most. False: nothing more is to be
// gained on this list now.
bool Z3foldPool::EmptyOneOf(FoldLists& lists, unsigned bin, unsigned* objects)
    UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  if ((lists.bins.load(std::memory_order_relaxed) >> bin & 1) == 0) {
    return false;
  }
  const PageNumber page = Claim(lists, bin);
  if (page == 0) return false;
  fold_hooks::Claimed();
  FoldHeader& header = Header(page);
  bool stuck = false;
  for (const FoldBuddy b : {kFoldFirst, kFoldMiddle, kFoldLast}) {
    if (stuck || *objects == 0) break;
    header.Lock();
    const bool there = header.Has(b);
    header.Unlock();
    if (!there) continue;
    stuck = !MoveAway(header, page, b);
    if (!stuck) --*objects;
  }
  header.Lock();
  header.claimed = false;
  const bool empty = header.Objects() == 0;
  Settle(header, page);
  return empty;
}

// A page of the list that is worth emptying, off its list; 0 if there is none.
PageNumber Z3foldPool::Claim(FoldLists& lists,
                             unsigned bin) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  constexpr unsigned kLooks = 4;  // so that the list's lock is short
  ScopedLock lock(lists.lock);
  PageNumber page = lists.heads[bin];
  for (unsigned n = 0; n < kLooks && page != 0; ++n) {
    FoldHeader& header = Header(page);
    if (header.TryLock()) {
      const bool alone = page == lists.heads[bin] && header.next == 0;
      const bool worth =
          WorthEmptying(header) && HasRoom(header.Largest(), alone, lists, bin);
      if (worth) {
        UnlinkFrom(lists, header);
        header.claimed = true;
      }
      header.Unlock();
      if (worth) return page;
    }
    page = header.next;
  }
  return 0;
}

// Nobody uses its objects, and they are one, or two that are small.
bool Z3foldPool::WorthEmptying(const FoldHeader& header) const {
  const unsigned used = header.chunks[kFoldFirst] + header.chunks[kFoldMiddle] +
                        header.chunks[kFoldLast];
  if (header.Objects() > 1 && used > kUsableChunks / 2) return false;
  for (const uint32_t handle : header.handles) {
    if (handle != 0 && handles_.InUse(handle)) return false;
  }
  return true;
}

// Whether a page is listed that takes `chunks`, other than the only one of list
// `bin` if that is `alone`. A hint: lists change.
bool Z3foldPool::HasRoom(unsigned chunks, bool alone, const FoldLists& of,
                         unsigned bin) {
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) {
    const FoldLists& lists = ListsOf(cpu);
    uint64_t bins = lists.bins.load(std::memory_order_relaxed);
    if (alone && &lists == &of) bins &= ~(uint64_t{1} << bin);
    if (bins >> chunks != 0) return true;
  }
  return false;
}

// False: the object is in use, or there is no room for it anywhere.
bool Z3foldPool::MoveAway(FoldHeader& header, PageNumber page,
                          FoldBuddy b) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  header.Lock();
  const uint32_t handle = header.handles[b];
  const unsigned chunks = header.chunks[b];
  const Location from{page, header.Start(b)};
  const bool moving = handle != 0 && handles_.BeginMove(handle, from.Word());
  header.Unlock();
  if (!moving) return handle == 0;  // it was freed meanwhile
  const PageNumber target = LockPageWithRoom(chunks);
  if (target == 0) {
    handles_.Set(handle, from.Word());
    return false;
  }
  FoldHeader& other = Header(target);
  const Location to = PlaceIn(other, target, handle, chunks);
  Link(other, target);
  other.Unlock();
  memcpy(At(to), At(from), chunks * kChunkSize);
  fold_hooks::Copied();
  // The old place first: after Set the handle can be freed and taken again.
  header.Lock();
  header.Set(b, 0, 0);
  header.Unlock();
  handles_.Set(handle, to.Word());
  return true;
}

}  // namespace uzswap
