// SPDX-License-Identifier: Apache-2.0
#include "pager/range_table.h"

#include <sys/mman.h>

#include <cstring>

namespace uzswap {

bool ManagedRange::readable() const {
  // PROT_EXEC alone is execute-only where the CPU has protection keys.
  return (prot & (PROT_READ | PROT_WRITE)) != 0;
}

bool ManagedRange::writable() const { return (prot & PROT_WRITE) != 0; }

bool ManagedRange::movable() const {
  return (prot & (PROT_WRITE | PROT_EXEC)) == PROT_WRITE;
}

Status RangeTable::Init() { return ranges_.Init(kCapacity); }

uint64_t RangeTable::FirstAfter(uint64_t address) const {
  uint64_t low = 0;
  uint64_t high = count_;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (At(middle).end > address) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

const ManagedRange* RangeTable::Find(uint64_t address) const {
  const uint64_t i = FirstAfter(address);
  return i < count_ && At(i).start <= address ? &At(i) : nullptr;
}

Status RangeTable::Remove(uint64_t start, uint64_t end) {
  DCHECK(start < end && start % kPageSize == 0 && end % kPageSize == 0);
  uint64_t first = FirstAfter(start);
  if (first == count_ || At(first).start >= end) return kOk;
  if (count_ + 2 > kCapacity) return Status::Error(ENOMEM);
  if (At(first).start < start) {
    const ManagedRange left{At(first).start, start, At(first).prot};
    ranges_[first].start = start;
    Insert(first, left);
    ++first;
  }
  uint64_t last = first;
  while (last < count_ && At(last).end <= end) ++last;
  if (last < count_ && At(last).start < end) ranges_[last].start = end;
  Erase(first, last);
  return kOk;
}

Status RangeTable::Set(uint64_t start, uint64_t end, uint32_t prot) {
  if (count_ + 4 > kCapacity) return Status::Error(ENOMEM);
  UZSWAP_RETURN_IF_ERROR(Remove(start, end));
  const uint64_t next = FirstAfter(start);
  ManagedRange merged{start, end, prot};
  uint64_t from = next;
  uint64_t to = next;
  if (next > 0 && At(next - 1).end == start && At(next - 1).prot == prot) {
    merged.start = At(next - 1).start;
    --from;
  }
  if (next < count_ && At(next).start == end && At(next).prot == prot) {
    merged.end = At(next).end;
    ++to;
  }
  Erase(from, to);
  Insert(from, merged);
  return kOk;
}

void RangeTable::Insert(uint64_t at, const ManagedRange& range) {
  memmove(&ranges_[at] + 1, &ranges_[at], (count_ - at) * sizeof(ManagedRange));
  ranges_[at] = range;
  ++count_;
}

void RangeTable::Erase(uint64_t from, uint64_t to) {
  if (from == to) return;
  memmove(&ranges_[from], &ranges_[from] + (to - from),
          (count_ - to) * sizeof(ManagedRange));
  count_ -= to - from;
}

void RangeTable::CheckInvariants() const {
  for (uint64_t i = 0; i < count_; ++i) {
    const ManagedRange& range = At(i);
    CHECK(range.start < range.end && range.end <= kAddressLimit);
    CHECK(range.start % kPageSize == 0 && range.end % kPageSize == 0);
    if (i == 0) continue;
    const ManagedRange& before = At(i - 1);
    CHECK(before.end <= range.start);
    CHECK(before.end < range.start || before.prot != range.prot);
  }
}

}  // namespace uzswap
