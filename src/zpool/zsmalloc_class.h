// SPDX-License-Identifier: Apache-2.0
// The geometry of zsmalloc (mm/zsmalloc.c): which sizes share a class and how
// many pages a zspage of it has. Computed, never stored: the kernel's rule on
// 4 KiB pages with any maximal chain length.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_CLASS_H_
#define UZSWAP_ZPOOL_ZSMALLOC_CLASS_H_

#include <cstdint>

#include "base/check.h"
#include "base/page.h"

namespace uzswap {

// One size class: `objects` objects of `size` bytes in `pages` pages.
struct ZsmallocShape {
  uint16_t size = 0;
  uint16_t objects = 0;
  uint8_t pages = 0;
  uint8_t index = 0;  // the kernel's number of the class: (size - 32) / 16

  // One object fills a page: nothing can share it.
  constexpr bool huge() const { return pages == 1 && objects == 1; }
};

// Sizes step by 16 from 32 to 4096. Each step takes the chain length that
// wastes the fewest bytes at the end of the zspage (the shortest on ties;
// powers of two take one page); a step whose pages and objects are those of
// the next larger class is merged into it, because that class holds it as
// densely. Classes are numbered by size, 0 the smallest.
class ZsmallocGeometry {
 public:
  static constexpr unsigned kMinChain = 4;
  static constexpr unsigned kMaxChain = 64;
  static constexpr unsigned kStep = 16;
  static constexpr unsigned kMinSize = 32;
  static constexpr unsigned kSteps = (kPageSize - kMinSize) / kStep + 1;

  // REQUIRES: kMinChain <= chain <= kMaxChain.
  explicit constexpr ZsmallocGeometry(unsigned chain) {
    ZsmallocShape found[kSteps];  // largest first
    for (unsigned step = kSteps; step-- > 0;) {
      const ZsmallocShape shape = ShapeOf(step, chain);
      const bool merged = count_ > 0 &&
                          found[count_ - 1].pages == shape.pages &&
                          found[count_ - 1].objects == shape.objects;
      if (!merged) found[count_++] = shape;
      class_of_step_[step] = static_cast<uint8_t>(count_ - 1);
    }
    for (unsigned i = 0; i < count_; ++i) shapes_[i] = found[count_ - 1 - i];
    for (uint8_t& c : class_of_step_) {
      c = static_cast<uint8_t>(count_ - 1 - c);
    }
  }

  constexpr unsigned count() const { return count_; }
  constexpr const ZsmallocShape& shape(unsigned i) const { return shapes_[i]; }
  // The largest size that still shares pages.
  constexpr unsigned watermark() const {
    return count_ < 2 ? 0 : shapes_[count_ - 2].size;
  }
  // The class for objects of `size` bytes, whatever the pool adds to the
  // payload included; beyond a page it is the last class.
  constexpr unsigned ClassOf(uint64_t size) const {
    if (size <= kMinSize) return class_of_step_[0];
    const uint64_t step = (size - kMinSize + kStep - 1) / kStep;
    return class_of_step_[step < kSteps ? step : kSteps - 1];
  }

 private:
  static constexpr ZsmallocShape ShapeOf(unsigned step, unsigned chain) {
    const unsigned size = kMinSize + step * kStep;
    unsigned pages = 1;
    if ((size & (size - 1)) != 0) {
      for (unsigned i = 2; i <= chain; ++i) {
        if (i * kPageSize % size < pages * kPageSize % size) pages = i;
      }
    }
    return {static_cast<uint16_t>(size),
            static_cast<uint16_t>(pages * kPageSize / size),
            static_cast<uint8_t>(pages), static_cast<uint8_t>(step)};
  }

  ZsmallocShape shapes_[kSteps];
  uint8_t class_of_step_[kSteps] = {};
  unsigned count_ = 0;
};

// 12 fullness groups as in the kernel: 0 empty, 1 … 10 up to 10 % … 99 %, 11
// full. One object of 127 is group 1, not 0.
inline constexpr unsigned kFullnessGroups = 12;
inline constexpr unsigned kGroupFull = kFullnessGroups - 1;
constexpr unsigned FullnessGroup(uint32_t used, uint32_t objects) {
  if (used == 0) return 0;
  if (used == objects) return kGroupFull;
  return used * 10 / objects + 1;
}

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZSMALLOC_CLASS_H_
