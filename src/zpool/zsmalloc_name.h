// SPDX-License-Identifier: Apache-2.0
// "zsmalloc" is the pool with the usual chain, "zsmalloc:16" one with another.
// The names are constants, so that a pool's name outlives the pool.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_NAME_H_
#define UZSWAP_ZPOOL_ZSMALLOC_NAME_H_

#include "zpool/zsmalloc.h"

namespace uzswap {

class ZsmallocNames {
 public:
  static constexpr char kPlain[] = "zsmalloc";

  constexpr ZsmallocNames() {
    for (unsigned chain = 0; chain <= ZsmallocGeometry::kMaxChain; ++chain) {
      char* to = text_[chain];
      for (const char* from = kPlain; *from != '\0'; ++from) *to++ = *from;
      if (chain == kZsmallocChain) continue;
      *to++ = ':';
      if (chain >= 10) *to++ = static_cast<char>('0' + chain / 10);
      *to = static_cast<char>('0' + chain % 10);
    }
  }
  constexpr const char* operator[](unsigned chain) const {
    return text_[chain];
  }

 private:
  static_assert(ZsmallocGeometry::kMaxChain < 100);
  char text_[ZsmallocGeometry::kMaxChain + 1][sizeof(kPlain) + 3] = {};
};

inline constexpr ZsmallocNames kZsmallocNames;

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZSMALLOC_NAME_H_
