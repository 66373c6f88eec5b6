// SPDX-License-Identifier: Apache-2.0
// A family under one limit. After a fork each page is one frame, charged once;
// whoever writes to it first makes a second one, which the kernel takes without
// asking. So before a fork pages are write-protected where their copies might
// not fit: the first write is a fault, for which a frame is reserved (rule F8).
// What is nobody else's any more, as the kernel's page map tells, is let go in
// whole blocks.
#include <algorithm>

#include "base/lockdep.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// Fewer pages are found out by measuring.
constexpr PageCount kWorthProtecting = 256;
// This part of the limit is made free before a fork, and what a child begins
// with: when all that a family has is shared, nothing that one of it evicts
// gives a frame.
constexpr PageCount kRoomPart = 16;

}  // namespace

// All frames may become two, and there may be a second child.
bool Pager::CopiesMayNotFit() {
  const TreeBudget& tree = core_.budget.tree();
  if (!tree.CanHaveRelatives()) return false;
  if (core_.budget.resident() < kWorthProtecting) return false;
  return tree.UsedByAll() + 2 * core_.budget.Used() > tree.most();
}

void Pager::MakeRoomToFork() {
  const PageCount limit = core_.budget.limit();
  const PageCount room = std::min(limit / kRoomPart + TreeBudget::kLeast,
                                  core_.budget.resident() / 2);
  KeepBelow(limit - room);
}

// Pinned pages stay as they are: a system call is about to write to them.
void Pager::ShareAll() {
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    ClaimRuns({range.start, range.end}, PageState::kResident,
              [this](Slot first, PageCount n) { Share(first, n); });
  }
}

// In a forked child, whose pages have the parent's states, but no protection.
void Pager::ShareAgain() {
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    ClaimRuns({range.start, range.end}, PageState::kShared,
              [this](Slot first, PageCount n) { Share(first, n); });
  }
}

// busy → shared, or resident where that cannot be. One call must not cross from
// one mapping into another (before Linux 6.3).
void Pager::Share(Slot first, PageCount n) {
  const bool all = core_.uffd.WriteProtect(AddressOf(first), n, true).ok();
  for (PageCount i = 0; i < n; ++i) {
    const Slot slot = first + i;
    if (all || core_.uffd.WriteProtect(AddressOf(slot), 1, true).ok()) {
      core_.word(slot).BecomeShared();
    } else {
      core_.word(slot).BecomeResident(0);
    }
  }
}

// A shared page is about to be written to. False: it is not shared any more,
// look again.
bool Pager::Part(const Wanted& wanted, Status* result) {
  const Slot slot = wanted.slot;
  const BlockIndex block = BlockOf(slot);
  const PageMask own =
      core_.budget.Exclusive(AddressOf(FirstSlot(block)), kBlockPages);
  if ((own & MaskOf(slot)) != 0) {
    const Slot first = FirstSlot(block);
    ForEachRun(own & ~MaskOf(slot), [&](unsigned at, unsigned n) {
      const uint64_t start = AddressOf(first + at);
      ClaimRuns({start, start + n * kPageSize}, PageState::kShared,
                [this](Slot run, PageCount count) {
                  core_.Unprotect(run, count);
                  for (PageCount i = 0; i < count; ++i) {
                    core_.word(run + i).BecomeResident(0);
                  }
                });
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
