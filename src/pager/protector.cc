// SPDX-License-Identifier: Apache-2.0
#include "pager/protector.h"

#include <bit>

#include "base/bits.h"

namespace uzswap {
namespace {

// Protecting and releasing are two calls, and so are two runs without a bridge.
constexpr unsigned kRunsWithoutBridges = 2;

unsigned CountRuns(PageMask mask) { return CountBits(mask & ~(mask << 1)); }

PageMask RunMask(unsigned first, unsigned count) {
  return (count == 64 ? ~PageMask{0} : (PageMask{1} << count) - 1) << first;
}

}  // namespace

Protector::Protected Protector::Protect(BlockIndex block, PageMask pages) {
  const PageMask shared = ClaimAll(block, pages, PageState::kShared);
  const PageMask claimed =
      shared | ClaimAll(block, pages, PageState::kResident);
  Fillers fillers;
  if (CountRuns(claimed) > kRunsWithoutBridges) {
    fillers = FillGaps(block, claimed, /*protect=*/true);
  }
  PageMask done = 0;
  ForEachRun(claimed | fillers.all(), [&](unsigned first, unsigned count) {
    done |=
        ProtectSpan(block, RunMask(first, count), claimed, fillers.resident);
  });
  const PageMask bridges = fillers.resident & done;
  ForEachPage(claimed | fillers.resident, [&](unsigned i) {
    if ((done >> i & 1) != 0) {
      word(block, i).BecomeEvicting();
    } else {
      word(block, i).BecomeResident(0);
    }
  });
  fillers.resident = 0;
  GiveBack(block, fillers);
  return {claimed & done, bridges, shared & done};
}

// Returns what is protected now. One call must not cross from one mapping into
// another (before Linux 6.3), and may leave a part protected when it fails, so
// then the pages are taken one by one, and nothing that becomes resident again
// keeps a protection. Clean pages had theirs before.
PageMask Protector::ProtectSpan(BlockIndex block, PageMask span, PageMask pages,
                                PageMask bridges) {
  const auto first = static_cast<unsigned>(std::countr_zero(span));
  if (Change(block, first, CountPages(span), true).ok()) return span;
  PageMask done = 0;
  ForEachPage(span & pages, [&](unsigned i) {
    if (Change(block, i, 1, true).ok()) done |= PageMask{1} << i;
  });
  ForEachPage(span & (pages | bridges) & ~done,
              [&](unsigned i) { Change(block, i, 1, false).Ignore(); });
  return done;
}

void Protector::Release(BlockIndex block, PageMask bridges) {
  const PageMask claimed = ClaimAll(block, bridges, PageState::kEvicting);
  const Fillers fillers = FillGaps(block, claimed, /*protect=*/false);
  ForEachRun(claimed | fillers.all(), [&](unsigned first, unsigned count) {
    if (Change(block, first, count, false).ok()) return;
    // As above. A page whose mapping is gone is found out when it is touched.
    ForEachPage(claimed & RunMask(first, count),
                [&](unsigned i) { Change(block, i, 1, false).Ignore(); });
  });
  ForEachPage(claimed, [&](unsigned i) { word(block, i).BecomeResident(0); });
  GiveBack(block, fillers);
}

PageMask Protector::ClaimAll(BlockIndex block, PageMask pages,
                             PageState state) {
  PageMask claimed = 0;
  ForEachPage(pages, [&](unsigned i) {
    if (word(block, i).ClaimFrom(state)) claimed |= PageMask{1} << i;
  });
  return claimed;
}

// A gap is filled whole or not at all.
Protector::Fillers Protector::FillGaps(BlockIndex block, PageMask pages,
                                       bool protect) {
  Fillers all;
  unsigned end = 0;  // of the run before
  ForEachRun(pages, [&](unsigned first, unsigned count) {
    unsigned i = end == 0 ? first : end;
    end = first + count;
    Fillers gap;
    while (i < first && Fill(block, i, protect, gap)) ++i;
    if (i < first) {
      GiveBack(block, gap);
      return;
    }
    all.resident |= gap.resident;
    all.clean |= gap.clean;
    all.evicted |= gap.evicted;
    all.passed |= gap.passed;
  });
  return all;
}

// What is evicted must not come back just then: protected it would be taken for
// evicting, released for clean. Resident pages are not protected anyway, and
// cannot become clean as long as the caller has the block.
bool Protector::Fill(BlockIndex block, unsigned page, bool protect,
                     Fillers& fillers) {
  const PageMask bit = PageMask{1} << page;
  PageWord& w = word(block, page);
  switch (w.state()) {
    case PageState::kEvicted:
      if (!w.ClaimFrom(PageState::kEvicted)) return false;
      fillers.evicted |= bit;
      return true;
    case PageState::kResident:
      if (!protect) {
        fillers.passed |= bit;
        return true;
      }
      if (!w.ClaimFrom(PageState::kResident)) return false;
      fillers.resident |= bit;
      return true;
    case PageState::kClean:
      if (!protect || !w.ClaimFrom(PageState::kClean)) return false;
      fillers.clean |= bit;
      return true;
    default:
      return false;
  }
}

void Protector::GiveBack(BlockIndex block, const Fillers& fillers) {
  ForEachPage(fillers.resident,
              [&](unsigned i) { word(block, i).BecomeResident(0); });
  ForEachPage(fillers.clean, [&](unsigned i) { word(block, i).BecomeClean(); });
  ForEachPage(fillers.evicted,
              [&](unsigned i) { word(block, i).BecomeEvicted(); });
}

Status Protector::Change(BlockIndex block, unsigned first, unsigned count,
                         bool protect) {
  core_.Count(PagerCounter::protect_calls);
  return core_.uffd.WriteProtect(AddressOf(FirstSlot(block) + first), count,
                                 protect);
}

}  // namespace uzswap
