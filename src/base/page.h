// SPDX-License-Identifier: Apache-2.0
// The units of uzswap. A slot names one page of somebody's memory for as long
// as that memory is mapped; for the pager it is address / kPageSize, so there
// is neither a slot allocator nor a reverse map.
#ifndef UZSWAP_BASE_PAGE_H_
#define UZSWAP_BASE_PAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace uzswap {

inline constexpr size_t kPageShift = 12;
inline constexpr size_t kPageSize = size_t{1} << kPageShift;
inline constexpr size_t kCacheLine = 64;

// A count of pages, a count of bytes and the name of a page do not mix.
enum class Slot : uint64_t {};
using PageCount = uint64_t;
using ByteCount = uint64_t;

using ConstPage = std::span<const std::byte, kPageSize>;
using MutablePage = std::span<std::byte, kPageSize>;

// User addresses on x86-64 with four-level paging end here.
inline constexpr uint64_t kAddressLimit = uint64_t{1} << 47;
inline constexpr uint64_t kSlotLimit = kAddressLimit >> kPageShift;

constexpr uint64_t Index(Slot slot) { return static_cast<uint64_t>(slot); }
constexpr Slot operator+(Slot slot, PageCount n) {
  return Slot{static_cast<uint64_t>(slot) + n};
}

constexpr Slot SlotOf(uint64_t address) { return Slot{address >> kPageShift}; }
constexpr uint64_t AddressOf(Slot slot) { return Index(slot) << kPageShift; }

constexpr uint64_t PageFloor(uint64_t bytes) {
  return bytes & ~(kPageSize - 1);
}
constexpr uint64_t PageCeil(uint64_t bytes) {
  return PageFloor(bytes + kPageSize - 1);
}

}  // namespace uzswap

#endif  // UZSWAP_BASE_PAGE_H_
