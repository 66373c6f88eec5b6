// SPDX-License-Identifier: Apache-2.0
// Pins keep what a system call reads or writes resident while the kernel is at
// it. The fast path is a few nanoseconds a page, without locks; it must stay
// free of calls that could use vector registers (rule F7).
#include <algorithm>

#include "pager/pager.h"

namespace uzswap {
namespace {

struct Slots {
  uint64_t first;
  uint64_t end;
};

// The pages that hold any byte of the range, as far as pages can be managed.
Slots SlotsOf(uint64_t address, uint64_t bytes) {
  if (bytes == 0 || address >= kAddressLimit) return {0, 0};
  const uint64_t limit = std::min(bytes, kAddressLimit - address);
  return {address / kPageSize, (address + limit - 1) / kPageSize + 1};
}

uint64_t NextUnit(uint64_t slot) {
  return (slot / ManagedMap::kUnitPages + 1) * ManagedMap::kUnitPages;
}

}  // namespace

bool Pager::IsManaged(uint64_t address, uint64_t bytes) const {
  const Slots slots = SlotsOf(address, bytes);
  return core_.managed.Intersects(Slot{slots.first}, slots.end - slots.first);
}

bool Pager::PinResident(uint64_t address, uint64_t bytes) {
  const Slots slots = SlotsOf(address, bytes);
  for (uint64_t at = slots.first; at < slots.end;) {
    if (core_.managed.UnitIsEmpty(at / ManagedMap::kUnitPages)) {
      at = NextUnit(at);
      continue;
    }
    if (core_.word(Slot{at}).TryPin()) {
      core_.blocks.Touch(BlockOf(Slot{at}));
    } else if (core_.managed.Contains(Slot{at})) {
      for (uint64_t done = slots.first; done < at; ++done) {
        if (core_.managed.UnitIsEmpty(done / ManagedMap::kUnitPages)) continue;
        core_.word(Slot{done}).Unpin();
      }
      return false;
    }
    ++at;
  }
  return true;
}

bool Pager::Pin(uint64_t address, uint64_t bytes) {
  const Slots slots = SlotsOf(address, bytes);
  bool brought = false;
  for (uint64_t at = slots.first; at < slots.end;) {
    if (core_.managed.UnitIsEmpty(at / ManagedMap::kUnitPages)) {
      at = NextUnit(at);
      continue;
    }
    const Slot slot{at};
    if (core_.word(slot).TryPin() || !core_.managed.Contains(slot)) {
      ++at;
      continue;
    }
    Status result;
    {
      const uint64_t begin = os::Cycles();
      core_.blocks.SetNow(begin);
      const ScopedStall stall(stalls_, begin);
      ScopedSharedLock lock(core_.map_lock);
      result = MakeResident({slot, 1, Access::kWrite});
      Balance();
    }
    if (result.error() == EAGAIN) {
      WaitForRoom();
      continue;
    }
    // ENOENT: no access, or unmapped meanwhile. EIO: lost. In each case the
    // system call finds out by itself.
    brought |= result.ok();
    ++at;
  }
  if (brought) core_.Count(PagerCounter::pinned_calls);
  return brought;
}

void Pager::Unpin(uint64_t address, uint64_t bytes) {
  const Slots slots = SlotsOf(address, bytes);
  for (uint64_t at = slots.first; at < slots.end;) {
    if (core_.managed.UnitIsEmpty(at / ManagedMap::kUnitPages)) {
      at = NextUnit(at);
      continue;
    }
    core_.word(Slot{at++}).Unpin();
  }
}

}  // namespace uzswap
