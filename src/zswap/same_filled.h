// SPDX-License-Identifier: Apache-2.0
// Pages that are one 8-byte word repeated (mm/zswap.c until 6.12, zram).
#ifndef UZSWAP_ZSWAP_SAME_FILLED_H_
#define UZSWAP_ZSWAP_SAME_FILLED_H_

#include <cstring>

#include "base/page.h"

namespace uzswap {

// `page` may be changing meanwhile (a program that writes to a page on its way
// out); the answer then means nothing and its caller drops it.
inline bool IsSameFilled(ConstPage page, uint64_t& word) {
  const auto at = [&](size_t i) {
    uint64_t w;
    memcpy(&w, page.data() + i * sizeof(w), sizeof(w));
    return w;
  };
  constexpr size_t kLast = kPageSize / sizeof(uint64_t) - 1;
  word = at(0);
  // Most pages differ here already.
  if (at(kLast) != word) return false;
  for (size_t i = 1; i < kLast; ++i) {
    if (at(i) != word) return false;
  }
  return true;
}

inline void FillSame(MutablePage page, uint64_t word) {
  for (size_t i = 0; i < kPageSize; i += sizeof(word)) {
    memcpy(page.data() + i, &word, sizeof(word));
  }
}

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_SAME_FILLED_H_
