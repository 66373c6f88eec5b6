// SPDX-License-Identifier: Apache-2.0
// The managed ranges: sorted, disjoint, neighbours of equal protection merged.
// A flat array found by binary search; as many ranges as the kernel allows
// mappings fit in it and it never moves.
//
// Threads: the map lock (shared for const members, exclusive otherwise).
#ifndef UZSWAP_PAGER_RANGE_TABLE_H_
#define UZSWAP_PAGER_RANGE_TABLE_H_

#include <algorithm>
#include <cstdint>

#include "base/arena.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Addresses, page aligned; prot as in mmap(2).
struct ManagedRange {
  uint64_t start;
  uint64_t end;
  uint32_t prot;

  bool readable() const;
  bool writable() const;
  // What UFFDIO_MOVE needs: the same protection as the staging area.
  bool movable() const;
};

// Invariant: start < end; ranges[i].end <= ranges[i + 1].start; touching
// neighbours differ in prot.
class RangeTable {
 public:
  Status Init();
  void Release() { ranges_.Release(); }

  uint64_t count() const { return count_; }
  const ManagedRange& At(uint64_t i) const { return ranges_[i]; }
  // The range that holds the address, or nullptr. Valid under the lock.
  const ManagedRange* Find(uint64_t address) const;
  // Index of the first range that ends after the address (count() if none).
  uint64_t FirstAfter(uint64_t address) const;

  // Calls f(start, end, prot) for the managed parts of [start, end) in order.
  // f must not change the table.
  template <typename F>
  void ForEach(uint64_t start, uint64_t end, F f) const {
    for (uint64_t i = FirstAfter(start); i < count_ && At(i).start < end; ++i) {
      f(std::max(start, At(i).start), std::min(end, At(i).end), At(i).prot);
    }
  }

  // [start, end) has this protection now, whatever was there. ENOMEM: full.
  Status Set(uint64_t start, uint64_t end, uint32_t prot);
  // ENOMEM: a split range does not fit any more; nothing has changed.
  Status Remove(uint64_t start, uint64_t end);

  void CheckInvariants() const;

 private:
  // Room for two more ranges is left for the splits of one change.
  static constexpr uint64_t kCapacity = uint64_t{1} << 21;

  void Insert(uint64_t at, const ManagedRange& range);
  void Erase(uint64_t from, uint64_t to);

  SparseTable<ManagedRange> ranges_;
  uint64_t count_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_RANGE_TABLE_H_
