// SPDX-License-Identifier: Apache-2.0
// Page contents for tests. Equal seeds give equal pages, on every machine and
// with every library, so that a failure can be replayed from its seed.
#ifndef UZSWAP_TESTS_SUPPORT_PAGES_H_
#define UZSWAP_TESTS_SUPPORT_PAGES_H_

#include <cstdint>

#include "base/page.h"

namespace uzswap::testing {

// A small generator with good bits (splitmix64, by Sebastiano Vigna, public
// domain); use it for other random choices of a test, too.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  // 0 … limit - 1. REQUIRES: limit > 0.
  uint64_t Below(uint64_t limit) { return Next() % limit; }

 private:
  uint64_t state_;
};

void FillZero(MutablePage page);
// One word repeated: what the kernel calls same-filled.
void FillSame(MutablePage page, uint64_t word);
// No compressor makes these smaller.
void FillRandom(MutablePage page, uint64_t seed);
// Words of English in sentences: lz4 makes about half of it.
void FillText(MutablePage page, uint64_t seed);
// Like a heap: pointers with common high bits, small integers and zeros.
void FillHeap(MutablePage page, uint64_t seed);
// `random_bytes` random bytes, the rest zeros: the compressed length is steered
// by the caller. REQUIRES: random_bytes <= kPageSize.
void FillPartlyRandom(MutablePage page, uint64_t seed, size_t random_bytes);
// One of the above, chosen by the seed in the proportions of a real program:
// about 20% zero or same-filled, 10% random, the rest text, heap and partly
// random pages.
void FillMixed(MutablePage page, uint64_t seed);

// A 64-bit fingerprint of the content, so that a test can remember many pages.
uint64_t Fingerprint(ConstPage page);

}  // namespace uzswap::testing

#endif  // UZSWAP_TESTS_SUPPORT_PAGES_H_
