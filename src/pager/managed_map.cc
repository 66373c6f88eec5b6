// SPDX-License-Identifier: Apache-2.0
#include "pager/managed_map.h"

#include <algorithm>

namespace uzswap {

Status ManagedMap::Init() {
  UZSWAP_RETURN_IF_ERROR(units_.Init(kSlotLimit / kUnitPages));
  return bits_.Init(kSlotLimit / 64);
}

void ManagedMap::Release() {
  units_.Release();
  bits_.Release();
}

bool ManagedMap::Intersects(Slot first, PageCount count) const {
  if (Index(first) >= kSlotLimit) return false;
  const uint64_t end = std::min(Index(first) + count, kSlotLimit);
  for (uint64_t slot = Index(first); slot < end;) {
    const uint64_t unit = slot / kUnitPages;
    const uint64_t next = std::min(end, (unit + 1) * kUnitPages);
    const uint8_t kind = Unit(unit) & kKind;
    if (kind == kAll) return true;
    for (; kind == kSome && slot < next; ++slot) {
      if (Contains(Slot{slot})) return true;
    }
    slot = next;
  }
  return false;
}

void ManagedMap::Set(Slot first, PageCount count) {
  const uint64_t end = Index(first) + count;
  DCHECK(end <= kSlotLimit);
  for (uint64_t slot = Index(first); slot < end;) {
    const uint64_t unit = slot / kUnitPages;
    const uint64_t next = std::min(end, (unit + 1) * kUnitPages);
    if (next - slot == kUnitPages) {
      SetKind(unit, kAll);
    } else {
      SetPart(unit, slot, next - slot);
    }
    slot = next;
  }
}

void ManagedMap::SetPart(uint64_t unit, uint64_t first, uint64_t count) {
  const uint8_t kind = Unit(unit) & kKind;
  if (kind == kAll) return;
  // Bits of a unit that is not kSome are stale; readers do not look at them.
  if (kind == kNone) Fill(unit * kUnitPages, kUnitPages, false);
  Fill(first, count, true);
  for (uint64_t i = 0; i < kUnitPages / 64; ++i) {
    if (bits_[unit * kUnitPages / 64 + i].load(std::memory_order_relaxed) !=
        ~uint64_t{0}) {
      SetKind(unit, kSome);
      return;
    }
  }
  SetKind(unit, kAll);
}

void ManagedMap::Clear(Slot first, PageCount count) {
  const uint64_t end = Index(first) + count;
  DCHECK(end <= kSlotLimit);
  for (uint64_t slot = Index(first); slot < end;) {
    const uint64_t unit = slot / kUnitPages;
    const uint64_t next = std::min(end, (unit + 1) * kUnitPages);
    if (!UnitIsEmpty(unit)) {
      if (next - slot == kUnitPages) {
        SetKind(unit, kNone);
      } else {
        ClearPart(unit, slot, next - slot);
      }
    }
    slot = next;
  }
}

void ManagedMap::ClearPart(uint64_t unit, uint64_t first, uint64_t count) {
  if ((Unit(unit) & kKind) == kAll) {
    Fill(unit * kUnitPages, kUnitPages, true);
    SetKind(unit, kSome);
  }
  Fill(first, count, false);
  for (uint64_t i = 0; i < kUnitPages / 64; ++i) {
    if (bits_[unit * kUnitPages / 64 + i].load(std::memory_order_relaxed) !=
        0) {
      return;
    }
  }
  SetKind(unit, kNone);
}

void ManagedMap::Fill(uint64_t first, uint64_t count, bool value) {
  for (uint64_t slot = first; slot < first + count;) {
    const uint64_t bit = slot % 64;
    const uint64_t n = std::min(64 - bit, first + count - slot);
    const uint64_t mask = (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1)
                          << bit;
    if (value) {
      bits_[slot / 64].fetch_or(mask, std::memory_order_relaxed);
    } else {
      bits_[slot / 64].fetch_and(~mask, std::memory_order_relaxed);
    }
    slot += n;
  }
}

}  // namespace uzswap
