// SPDX-License-Identifier: Apache-2.0
// Page words of memory that is gone or discarded. Work is proportional to the
// pages ever touched: units of 2 MiB without any are skipped, so unmapping a
// reservation of a terabyte is quick.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/os.h"
#include "pager/mappings.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// From this size on the page words' own memory is given back as well.
constexpr uint64_t kLargeBytes = uint64_t{16} << 20;
constexpr uint64_t kWordsInPage = kPageSize / sizeof(PageWord);

}  // namespace

// keep_pinned: the memory stays mapped and pinned pages stay resident, as
// zeros (a system call of another thread is using them).
void Pager::ForgetPages(uint64_t start, uint64_t end, bool keep_pinned) {
  const uint64_t last = end / kPageSize;
  bool any = false;
  for (uint64_t at = start / kPageSize; at < last;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t unit_end = (unit + 1) * ManagedMap::kUnitPages;
    if (!core_.managed.Touched(unit)) {
      at = unit_end;
      continue;
    }
    any = true;
    const bool whole = at % ManagedMap::kUnitPages == 0 && unit_end <= last;
    while (at < std::min(last, unit_end)) {
      const uint64_t next =
          std::min(last, (at / kBlockPages + 1) * kBlockPages);
      ForgetBlockPart(Slot{at}, Slot{next}, keep_pinned);
      at = next;
    }
    if (whole && !keep_pinned) core_.managed.ClearTouched(unit);
  }
  if (!any || keep_pinned || end - start < kLargeBytes) return;
  const uint64_t from =
      (start / kPageSize + kWordsInPage - 1) / kWordsInPage * kWordsInPage;
  const uint64_t to = last / kWordsInPage * kWordsInPage;
  if (from < to) {
    CHECK(
        os::Drop(&core_.word(Slot{from}), (to - from) * sizeof(PageWord)).ok());
  }
}

// REQUIRES: [first, end) lies in one block.
void Pager::ForgetBlockPart(Slot first, Slot end, bool keep_pinned) {
  PageMask resident = 0;
  PageMask evicted = 0;
  PageMask clean = 0;
  const auto count = static_cast<unsigned>(Index(end) - Index(first));
  for (unsigned i = 0; i < count; ++i) {
    PageWord& word = core_.word(first + i);
    uint32_t seen = word.Load();
    if (seen == 0) continue;
    if (!keep_pinned) {
      seen = word.Forget();
    } else if (!word.ForgetUnlessPinned(&seen)) {
      ZeroPinned(first + i);
      continue;
    }
    switch (PageWord::StateOf(seen)) {
      case PageState::kResident:
      case PageState::kShared:
        resident |= PageMask{1} << i;
        break;
      case PageState::kEvicted:
        evicted |= PageMask{1} << i;
        break;
      case PageState::kClean:
        resident |= PageMask{1} << i;
        clean |= PageMask{1} << i;
        break;
      case PageState::kStaged:
        staging_.Discard(PageWord::ValueOf(seen));
        break;
      default:
        CHECK(PageWord::StateOf(seen) == PageState::kNone);
    }
  }
  ForEachRun(evicted | clean, [&](unsigned at, unsigned n) {
    core_.zswap->Invalidate(first + at, n);
  });
  core_.budget.NoteStored(-static_cast<int64_t>(CountPages(evicted)));
  core_.blocks.Forgot(BlockOf(first), resident << Index(first) % kBlockPages);
  core_.budget.Drop(CountPages(resident));
}

// A page that a system call in flight may be using: it must stay mapped, so it
// is cleared in place where the program itself could write to it.
void Pager::ZeroPinned(Slot slot) {
  const ManagedRange* range = core_.ranges.Find(AddressOf(slot));
  void* page = reinterpret_cast<void*>(AddressOf(slot));
  if (range != nullptr && range->writable()) {
    // A fault here would wait for the lock that we hold.
    core_.uffd.WriteProtect(AddressOf(slot), 1, false).Ignore();  // if it was
    if (!PageIsPresent(AddressOf(slot))) {
      const UffdProgress done = core_.uffd.CopyZeros(AddressOf(slot), 1);
      CHECK(done.pages == 1 || done.status.error() == EEXIST);
      if (done.pages == 1) return;
    }
    memset(page, 0, kPageSize);
    return;
  }
  // Read-only: the page is replaced; nobody can be writing to it.
  CHECK(os::Drop(page, kPageSize).ok());
  CHECK(core_.uffd.CopyZeros(AddressOf(slot), 1).pages == 1);
}

// [start, end) is managed no longer; its pages are gone already.
void Pager::Disown(uint64_t start, uint64_t end) {
  ForgetPages(start, end, /*keep_pinned=*/false);
  // Full means more than a million ranges: the kernel allows no such number of
  // mappings, and the unmapping that called here has succeeded.
  CHECK(core_.ranges.Remove(start, end).ok());
  core_.managed.Clear(SlotOf(start), (end - start) / kPageSize);
}

// After a call that failed half-way, or a fork: what is not mapped any more.
void Pager::DisownUnmapped(uint64_t start, uint64_t end) {
  if (IsAllMapped(start, end - start)) return;
  MappingReader reader;
  if (!reader.Open(core_.budget.proc()).ok()) {
    // No descriptor is to be had: halves, down to the pages.
    const uint64_t half = PageFloor(start + (end - start) / 2);
    if (half == start) {
      Disown(start, end);
    } else {
      DisownUnmapped(start, half);
      DisownUnmapped(half, end);
    }
    return;
  }
  uint64_t covered = start;
  for (Mapping m; covered < end && reader.Next(&m);) {
    if (m.start > covered) Disown(covered, std::min(end, m.start));
    covered = std::max(covered, m.end);
  }
  if (covered < end) Disown(covered, end);
}

}  // namespace uzswap
