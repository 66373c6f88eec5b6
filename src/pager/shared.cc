// SPDX-License-Identifier: Apache-2.0
// A family under one limit. After a fork each page is one frame, charged once;
// whoever writes to it first makes a second one, which the kernel takes without
// asking. So before a fork pages are write-protected where their copies might
// not fit: the first write is a fault, for which a frame is reserved (rule F8).
// What is nobody else's any more, as the kernel's page map tells, is let go in
// whole blocks.
#include <algorithm>

#include "pager/pager.h"

namespace uzswap {
namespace {

// Fewer pages are found out by measuring.
constexpr PageCount kWorthProtecting = 256;
// This part of the limit is made free before a fork, and what a child begins
// with and its tables and frames of the pool that it writes to: when all that a
// family has is shared, nothing that one of it evicts gives a frame.
constexpr PageCount kRoomPart = 16;
constexpr int kBlocksToFork = 256;

}  // namespace

// All frames may become two, and there may be a second child.
bool Pager::CopiesMayNotFit() {
  const TreeBudget& tree = core_.budget.tree();
  if (!tree.CanHaveRelatives()) return false;
  if (core_.budget.resident() < kWorthProtecting) return false;
  const PageCount more = 2 * core_.budget.Used();
  return tree.UsedByAll() + more > tree.limit_of_all();
}

void Pager::MakeRoomToFork() {
  const PageCount room = std::min(
      core_.budget.tree().limit_of_all() / kRoomPart + 2 * TreeBudget::kLeast,
      core_.budget.resident() / 2);
  const auto lacks = [&] {
    return core_.budget.Free() < static_cast<int64_t>(room);
  };
  if (lacks()) (void)core_.budget.Ask(room);
  for (int i = 0; i < kBlocksToFork && lacks(); ++i) {
    ScopedSharedLock lock(core_.map_lock);
    if (EvictOne() == 0 && core_.zswap->Shrink(kBlockPages) == 0) break;
    core_.budget.Publish();
  }
}

// Pages in state `from` become shared: resident ones, or, in a child, those
// that are called so already and are not protected.
void Pager::ShareAll(PageState from) {
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    core_.managed.ForEachTouched(
        range.start / kPageSize, range.end / kPageSize,
        [&](uint64_t at, uint64_t to) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
          ShareIn({at * kPageSize, to * kPageSize}, from);
        });
  }
}

// Protecting what is away does nothing, and nobody can fault, so a call goes
// from one pinned page to the next: a system call is about to write to those.
void Pager::ShareIn(const Extent& part, PageState from) {
  uint64_t first = part.start / kPageSize;
  const uint64_t end = part.end / kPageSize;
  for (uint64_t at = first; at < end; ++at) {
    PageWord& word = core_.word(Slot{at});
    const uint32_t seen = word.Load();
    if (seen == PageWord::Make(from, 0) && word.ClaimFrom(from)) continue;
    if (PageWord::StateOf(word.Load()) != PageState::kResident) continue;
    Share(first, at);  // it has been pinned
    first = at + 1;
  }
  Share(first, end);
}

// busy -> shared, or resident where that cannot be. One call must not cross
// from one mapping into another (before Linux 6.3).
void Pager::Share(uint64_t first, uint64_t end) {
  const auto is_ours = [&](uint64_t at) {
    return core_.word(Slot{at}).state() == PageState::kBusy;
  };
  while (first < end && !is_ours(first)) ++first;
  while (first < end && !is_ours(end - 1)) --end;
  if (first == end) return;
  const bool all =
      core_.uffd.WriteProtect(AddressOf(Slot{first}), end - first, true).ok();
  for (uint64_t at = first; at < end; ++at) {
    if (!is_ours(at)) continue;
    const uint64_t address = AddressOf(Slot{at});
    if (all || core_.uffd.WriteProtect(address, 1, true).ok()) {
      core_.word(Slot{at}).BecomeShared();
    } else {
      core_.word(Slot{at}).BecomeResident(0);
    }
  }
}

// shared -> resident. REQUIRES: the pages are nobody else's, or what their
// copies take is not for us to know (a VM call).
void Pager::ReleaseShared(const Extent& extent) {
  ClaimRuns(extent, PageState::kShared, [this](Slot first, PageCount n) {
    core_.Unprotect(first, n);
    for (PageCount i = 0; i < n; ++i) core_.word(first + i).BecomeResident(0);
  });
}

// A page that is on its way out is wanted back by who writes to it.
void Pager::ChargeCopy(Slot slot) {
  if (!family_.watching()) return;
  if (core_.budget.SharedFrames(AddressOf(slot), 1) != 0) {
    core_.budget.tree().Part(1);
  }
}

// A shared page is about to be written to. False: it is not shared any more,
// look again.
bool Pager::Part(const Wanted& wanted, Status* result) {
  const Slot slot = wanted.slot;
  const BlockIndex block = BlockOf(slot);
  const PageMask own =
      ~core_.budget.SharedFrames(AddressOf(FirstSlot(block)), kBlockPages);
  if ((own & MaskOf(slot)) != 0) {
    const Slot first = FirstSlot(block);
    ForEachRun(own & ~MaskOf(slot), [&](unsigned at, unsigned n) {
      const uint64_t start = AddressOf(first + at);
      ReleaseShared({start, start + n * kPageSize});
    });
    return core_.Unshare(slot, wanted.pins);
  }
  if (!Reserve(1)) {
    *result = Status::Error(EAGAIN);
    return true;
  }
  const bool parted = core_.Unshare(slot, wanted.pins);
  if (parted) {
    core_.budget.tree().Part(1);
    core_.Count(PagerCounter::faults_shared);
  }
  core_.budget.Release(1);
  return parted;
}

}  // namespace uzswap
