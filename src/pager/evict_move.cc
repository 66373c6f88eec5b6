// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "pager/evictor.h"

namespace uzswap {

PageCount MoveEvictor::Evict(BlockIndex block, PageMask only) {
  const PageMask pages = EvictablePages(core_, block, only);
  if (!CanMove(block, pages)) return other_.Evict(block, only);
  const PageCount gone = dropper_.DropClean(block, pages);
  const uint32_t to = staging_.TakeFree();
  if (to == Staging::kBlocks) return gone + other_.Evict(block, only);
  PageMask claimed = 0;
  ForEachPage(pages, [&](unsigned i) {
    PageWord& word = core_.word(FirstSlot(block) + i);
    if (word.ClaimFrom(PageState::kResident)) claimed |= PageMask{1} << i;
  });
  // The frames' bits are set before any word can name them.
  staging_.Fill(to, block, claimed);
  const PageMask moved = MoveOut(block, to, claimed);
  staging_.Clear(to, claimed & ~moved);
  const auto count = CountPages(moved);
  core_.blocks.Went(block, moved);
  core_.budget.Stage(count);
  ForEachPage(claimed, [&](unsigned i) {
    PageWord& word = core_.word(FirstSlot(block) + i);
    if ((moved >> i & 1) != 0) {
      word.BecomeStaged(static_cast<uint32_t>(to * kBlockPages + i));
    } else {
      word.BecomeResident(0);
      core_.Count(PagerCounter::pages_unmovable);
    }
  });
  staging_.Return(to);
  return gone + count;
}

bool MoveEvictor::CanMove(BlockIndex block, PageMask pages) {
  const uint64_t start = AddressOf(FirstSlot(block));
  bool movable = pages != 0;
  core_.ranges.ForEach(start, start + kBlockPages * kPageSize,
                       [&](uint64_t from, uint64_t to, uint32_t prot) {
                         const ManagedRange range{from, to, prot};
                         if (range.readable() && !range.movable()) {
                           movable = false;
                         }
                       });
  return movable;
}

// Returns the pages that are in staging now.
PageMask MoveEvictor::MoveOut(BlockIndex block, uint32_t to, PageMask pages) {
  PageMask moved = 0;
  ForEachRun(pages, [&](unsigned first, unsigned count) {
    const unsigned end = first + count;
    for (unsigned at = first; at < end;) {
      const UffdProgress done =
          core_.uffd.Move(staging_.FrameAddress(to, at),
                          AddressOf(FirstSlot(block) + at), end - at);
      for (PageCount i = 0; i < done.pages; ++i) moved |= PageMask{1} << at++;
      // The page that stopped it is left where it is.
      if (!done.status.ok()) ++at;
    }
  });
  return moved;
}

}  // namespace uzswap
