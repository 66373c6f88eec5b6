// SPDX-License-Identifier: Apache-2.0
// Answers "is this page managed?" in a few nanoseconds without a lock, for
// every argument of every system call. One byte for each 2 MiB unit says none,
// all or some; for "some" a bitmap of pages says which. A reservation of 1 TiB
// costs 512 KiB of bytes and no bitmap.
//
// Threads: reads at any time; Set and Clear under the exclusive map lock.
#ifndef UZSWAP_PAGER_MANAGED_MAP_H_
#define UZSWAP_PAGER_MANAGED_MAP_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/arena.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Invariants: unit byte kAll: every page of it is managed; kNone: no page is;
// kSome: exactly those with their bit set. A unit without kTouched has only
// page words of zero.
class ManagedMap {
 public:
  static constexpr uint64_t kUnitPages = 512;

  Status Init();
  void Release();

  bool Contains(Slot slot) const {
    if (Index(slot) >= kSlotLimit) return false;
    const uint8_t unit = Unit(Index(slot) / kUnitPages) & kKind;
    if (unit != kSome) return unit == kAll;
    return (bits_[Index(slot) / 64].load(std::memory_order_relaxed) >>
                (Index(slot) % 64) &
            1) != 0;
  }
  bool UnitIsEmpty(uint64_t unit) const { return (Unit(unit) & kKind) == 0; }
  // Any page of [first, first + count) managed?
  bool Intersects(Slot first, PageCount count) const;

  void Set(Slot first, PageCount count);
  void Clear(Slot first, PageCount count);

  // A page word in this unit is about to leave zero.
  void Touch(Slot slot) {
    std::atomic<uint8_t>& unit = units_[Index(slot) / kUnitPages];
    if ((unit.load(std::memory_order_relaxed) & kTouched) == 0) {
      unit.fetch_or(kTouched, std::memory_order_relaxed);
    }
  }
  bool Touched(uint64_t unit) const { return (Unit(unit) & kTouched) != 0; }
  // Calls f(from, to) for the parts of the pages [first, end) that are in
  // touched units, one unit at a time.
  template <typename F>
  void ForEachTouched(uint64_t first, uint64_t end, F f) const {
    while (first < end) {
      const uint64_t unit = first / kUnitPages;
      const uint64_t next = std::min(end, (unit + 1) * kUnitPages);
      if (Touched(unit)) f(first, next);
      first = next;
    }
  }
  void ClearTouched(uint64_t unit) {
    units_[unit].fetch_and(static_cast<uint8_t>(~kTouched),
                           std::memory_order_relaxed);
  }

 private:
  static constexpr uint8_t kNone = 0;
  static constexpr uint8_t kAll = 1;
  static constexpr uint8_t kSome = 2;
  static constexpr uint8_t kKind = 3;
  static constexpr uint8_t kTouched = 0x80;

  uint8_t Unit(uint64_t unit) const {
    return units_[unit].load(std::memory_order_relaxed);
  }
  void SetKind(uint64_t unit, uint8_t kind) {
    units_[unit].store(static_cast<uint8_t>((Unit(unit) & kTouched) | kind),
                       std::memory_order_relaxed);
  }
  void SetPart(uint64_t unit, uint64_t first, uint64_t count);
  void ClearPart(uint64_t unit, uint64_t first, uint64_t count);
  void Fill(uint64_t first, uint64_t count, bool value);

  SparseTable<std::atomic<uint8_t>> units_;
  SparseTable<std::atomic<uint64_t>> bits_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_MANAGED_MAP_H_
