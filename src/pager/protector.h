// SPDX-License-Identifier: Apache-2.0
// Write-protects scattered pages of a block in few calls. Each call makes the
// other CPUs flush their TLBs, which costs as much as compressing a page, so
// what lies between the pages is protected along with them and released, in as
// few calls, when they have left.
//
// Invariant: a page changes its protection only while it is busy, so that
// nobody can pin it meanwhile and have a system call fail on it.
#ifndef UZSWAP_PAGER_PROTECTOR_H_
#define UZSWAP_PAGER_PROTECTOR_H_

#include "pager/core.h"

namespace uzswap {

class Protector {
 public:
  explicit constexpr Protector(Core& core) : core_(core) {}

  // `pages` and `bridges` are evicting; the caller sees to it that pages leave
  // that state, and calls Release for the bridges.
  struct Protected {
    PageMask pages;
    PageMask bridges;
    PageMask shared;  // part of pages: they were shared
  };
  // Of `pages`, those that are resident and not pinned, or shared. REQUIRES:
  // the caller has the block, and the map lock is held, until after Release.
  Protected Protect(BlockIndex block, PageMask pages);
  // Bridges that nobody has wanted meanwhile are resident again.
  void Release(BlockIndex block, PageMask bridges);

 private:
  // Pages between the pages that are meant, busy while these are worked on, by
  // what they were; `passed` ones need no claim.
  struct Fillers {
    PageMask resident = 0;
    PageMask clean = 0;
    PageMask evicted = 0;
    PageMask passed = 0;
    PageMask all() const { return resident | clean | evicted | passed; }
  };

  PageMask ClaimAll(BlockIndex block, PageMask pages, PageState state);
  Fillers FillGaps(BlockIndex block, PageMask pages, bool protect);
  bool Fill(BlockIndex block, unsigned page, bool protect, Fillers& fillers);
  void GiveBack(BlockIndex block, const Fillers& fillers);
  PageMask ProtectSpan(BlockIndex block, PageMask span, PageMask pages,
                       PageMask bridges);
  Status Change(BlockIndex block, unsigned first, unsigned count, bool protect);
  PageWord& word(BlockIndex block, unsigned page) {
    return core_.word(FirstSlot(block) + page);
  }

  Core& core_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PROTECTOR_H_
