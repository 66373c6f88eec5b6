// SPDX-License-Identifier: Apache-2.0
#include "device/block_map.h"

#include <algorithm>
#include <bit>

namespace uzswap {
namespace {

// std::popcount would need libgcc's where the machine may have no instruction.
PageCount CountBits(uint64_t word) {
  PageCount count = 0;
  for (; word != 0; word &= word - 1) ++count;
  return count;
}

}  // namespace

Status BlockMap::Init(PageCount capacity) {
  *this = BlockMap();
  const uint64_t words = (capacity + kWordBits - 1) / kWordBits;
  UZSWAP_RETURN_IF_ERROR(used_bits_.Init(words));
  if (const Status s = kept_bits_.Init(words); !s.ok()) {
    used_bits_.Release();
    return s;
  }
  capacity_ = capacity;
  return kOk;
}

void BlockMap::Release() {
  used_bits_.Release();
  kept_bits_.Release();
  *this = BlockMap();
}

Result<uint64_t> BlockMap::Take() {
  const uint64_t index = FindFree(cursor_, high_water_);
  if (index == capacity_) return Status::Error(ENOSPC);
  if (index == high_water_) ++high_water_;
  used_bits_[index / kWordBits] |= uint64_t{1} << (index % kWordBits);
  ++in_use_;
  ++taken_;
  cursor_ = index + 1;
  return index;
}

void BlockMap::Put(uint64_t index) {
  CHECK(index < high_water_);
  const uint64_t word = index / kWordBits;
  const uint64_t bit = uint64_t{1} << (index % kWordBits);
  CHECK((used_bits_[word] & bit) != 0);
  used_bits_[word] &= ~bit;
  --in_use_;
  if ((kept_bits_[word] & bit) != 0) return;
  --taken_;
  cursor_ = std::min(cursor_, index);
}

void BlockMap::KeepUsed() {
  const uint64_t words = (high_water_ + kWordBits - 1) / kWordBits;
  for (uint64_t word = 0; word < words; ++word) {
    const uint64_t add = used_bits_[word] & ~kept_bits_[word];
    if (add == 0) continue;  // not touching what need not be there
    kept_bits_[word] |= add;
    kept_ += CountBits(add);
  }
}

uint64_t BlockMap::FindFree(uint64_t from, uint64_t to) const {
  if (from >= to) return to;
  uint64_t word = from / kWordBits;
  uint64_t free = ~Taken(word) & (~uint64_t{0} << (from % kWordBits));
  while (free == 0) {
    if (++word * kWordBits >= to) return to;
    free = ~Taken(word);
  }
  const auto bit = static_cast<uint64_t>(std::countr_zero(free));
  return std::min(word * kWordBits + bit, to);
}

ByteCount BlockMap::metadata_bytes() const {
  const ByteCount touched = PageCeil((high_water_ + 7) / 8);
  return kept_ == 0 ? touched : 2 * touched;
}

void BlockMap::CheckInvariants() const {
  PageCount used = 0;
  PageCount taken = 0;
  PageCount kept = 0;
  const uint64_t words = (high_water_ + kWordBits - 1) / kWordBits;
  for (uint64_t word = 0; word < words; ++word) {
    used += CountBits(used_bits_[word]);
    taken += CountBits(Taken(word));
    kept += CountBits(kept_bits_[word]);
  }
  CHECK(used == in_use_);
  CHECK(taken == taken_);
  CHECK(kept == kept_);
  CHECK(taken_ <= high_water_);
  CHECK(high_water_ <= capacity_);
  CHECK(cursor_ <= high_water_);
  CHECK(FindFree(0, cursor_) == cursor_);
  if (high_water_ % kWordBits != 0) {
    CHECK((Taken(words - 1) >> (high_water_ % kWordBits)) == 0);
  }
}

}  // namespace uzswap
