// SPDX-License-Identifier: Apache-2.0
// Eviction by write-protection.
#include <algorithm>

#include "pager/evictor.h"
#include "pager/store_group.h"
#include "pager/test_hooks.h"

namespace uzswap {
namespace {

// Storing may take as many frames from the pool as the drop gives back later,
// so with little room the block leaves in smaller parts.
unsigned PartPages(const Core& core) {
  const int64_t room = core.budget.Free();
  return static_cast<unsigned>(std::clamp<int64_t>(room / 2, 8, kBlockPages));
}

// The lowest `count` bits that are set in mask.
PageMask LowestPages(PageMask mask, unsigned count) {
  PageMask rest = mask;
  for (; count > 0 && rest != 0; --count) rest &= rest - 1;
  return mask & ~rest;
}

}  // namespace

PageMask EvictablePages(Core& core, BlockIndex block, PageMask only) {
  const uint64_t start = AddressOf(FirstSlot(block));
  PageMask mask = 0;
  core.ranges.ForEach(start, start + kBlockPages * kPageSize,
                      [&](uint64_t from, uint64_t to, uint32_t prot) {
                        if (!ManagedRange{from, to, prot}.readable()) return;
                        const uint64_t first = (from - start) / kPageSize;
                        const uint64_t count = (to - from) / kPageSize;
                        const PageMask bits = count == 64
                                                  ? ~PageMask{0}
                                                  : (PageMask{1} << count) - 1;
                        mask |= bits << first;
                      });
  mask &= only;
  if (mask != 0 && !core.budget.may_drop_shared()) {
    mask &= ~core.budget.SharedFrames(start, kBlockPages);
  }
  return mask;
}

PageCount WpEvictor::Evict(BlockIndex block, PageMask only) {
  const PageMask pages = EvictablePages(core_, block, only);
  PageCount gone = dropper_.DropClean(block, pages);
  const Protector::Protected taken = protector_.Protect(block, pages);
  PageMask evicting = taken.pages;
  while (evicting != 0) {
    const PageMask part = LowestPages(evicting, PartPages(core_));
    const PageMask stored = StorePages(block, part, taken.shared);
    gone += Finish(block, {part, stored, taken.shared});
    evicting &= ~part;
  }
  protector_.Release(block, taken.bridges);
  return gone;
}

// Returns the pages that zswap has a copy of, wanted or not. What was shared
// stays protected if it has to stay.
PageMask WpEvictor::StorePages(BlockIndex block, PageMask pages,
                               PageMask shared) {
  ScopedBounce bounce(core_.bounce);
  StoreGroupOf group(core_, FirstSlot(block));
  ForEachPage(pages, [&](unsigned i) {
    const Slot slot = FirstSlot(block) + i;
    PageWord& word = core_.word(slot);
    if (word.state() != PageState::kEvicting) return;
    // A codec must never see its source change under it, so it gets a copy.
    const MutablePage copy = bounce.page(group.size());
    CopyPage(copy.data(), reinterpret_cast<const void*>(AddressOf(slot)));
    if (word.state() != PageState::kEvicting) return;
    group.Add(i, copy);
  });
  group.Flush();
  ForEachPage(group.failed(), [&](unsigned i) {
    const Slot slot = FirstSlot(block) + i;
    if ((shared >> i & 1) == 0) {
      (void)core_.CancelEviction(slot, 0);
    } else if (core_.word(slot).ClaimFrom(PageState::kEvicting)) {
      core_.word(slot).BecomeShared();
    }
  });
  return group.stored();
}

// Drops the stored pages that nobody wanted meanwhile.
PageCount WpEvictor::Finish(BlockIndex block, const Part& part) {
  PageMask leaving = 0;
  ForEachPage(part.stored & part.pages, [&](unsigned i) {
    const Slot slot = FirstSlot(block) + i;
    if (core_.word(slot).ClaimFrom(PageState::kEvicting)) {
      leaving |= PageMask{1} << i;
    } else {
      core_.zswap->Invalidate(slot, 1);
    }
  });
  const PageCount shared =
      core_.budget.SharedBefore(AddressOf(FirstSlot(block)), leaving);
  const PageMask dropped = dropper_.Drop(block, leaving);
  const auto count = CountPages(dropped);
  // Counts first: whoever waits for one of these pages adds to them again.
  core_.blocks.Went(block, dropped);
  core_.budget.Drop(count, shared);
  core_.budget.NoteStored(count);
  core_.Count(PagerCounter::pages_out, count);
  ForEachPage(leaving, [&](unsigned i) {
    const Slot slot = FirstSlot(block) + i;
    if ((dropped >> i & 1) != 0) {
      core_.word(slot).BecomeEvicted();
      return;
    }
    core_.zswap->Invalidate(slot, 1);
    if ((part.shared >> i & 1) != 0) {
      core_.word(slot).BecomeShared();
      return;
    }
    // May fail as in ProtectSpan.
    core_.uffd.WriteProtect(AddressOf(slot), 1, false).Ignore();
    core_.word(slot).BecomeResident(0);
  });
  return count;
}

}  // namespace uzswap
