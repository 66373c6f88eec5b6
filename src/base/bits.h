// SPDX-License-Identifier: Apache-2.0
// std::popcount would call into libgcc on the baseline CPU.
#ifndef UZSWAP_BASE_BITS_H_
#define UZSWAP_BASE_BITS_H_

#include <cstdint>

namespace uzswap {

constexpr unsigned CountBits(uint64_t mask) {
  mask -= mask >> 1 & 0x5555555555555555;
  mask = (mask & 0x3333333333333333) + (mask >> 2 & 0x3333333333333333);
  mask = (mask + (mask >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<unsigned>(mask * 0x0101010101010101 >> 56);
}
static_assert(CountBits(0) == 0 && CountBits(~uint64_t{0}) == 64);
static_assert(CountBits(0x8001000000000101) == 4);

}  // namespace uzswap

#endif  // UZSWAP_BASE_BITS_H_
