// SPDX-License-Identifier: Apache-2.0
// What the pages of memory_eater.cc hold: every word follows from 16 bytes that
// are kept elsewhere, so that a page which came back can be compared with what
// went, word for word.
#ifndef UZSWAP_TESTS_SUPPORT_MEMORY_EATER_PAGES_H_
#define UZSWAP_TESTS_SUPPORT_MEMORY_EATER_PAGES_H_

#include <cstddef>
#include <cstdint>

namespace eater {

inline constexpr size_t kPage = 4096;
inline constexpr size_t kWords = kPage / sizeof(uint64_t);

enum Kind : uint64_t {
  kSame,    // one word all over
  kText,    // three words of four repeat
  kMixed,   // one half repeats
  kRandom,  // nothing repeats
  kKinds
};

// Zero seed: the page was never written, or thrown away, and reads as zeros.
// Otherwise seed % kKinds is its kind, and word seed % kWords is `stamp` if
// that is not zero (a small write to a page that is there already).
struct Expected {
  uint64_t seed = 0;
  uint64_t stamp = 0;
};

// splitmix64's finalizer.
inline uint64_t Mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

inline size_t StampAt(const Expected& page) { return page.seed % kWords; }

inline uint64_t WordOf(const Expected& page, size_t i) {
  if (page.stamp != 0 && i == StampAt(page)) return page.stamp;
  if (page.seed == 0) return 0;
  const Kind kind = static_cast<Kind>(page.seed % kKinds);
  const bool repeats = kind == kSame || (kind == kText && i % 4 != 0) ||
                       (kind == kMixed && i < kWords / 2);
  return Mix(page.seed + (repeats ? 0 : (i + 1) * 0x9e3779b97f4a7c15u));
}

inline void Fill(volatile uint64_t* words, const Expected& page) {
  for (size_t i = 0; i < kWords; ++i) words[i] = WordOf(page, i);
}

// kWords if all is as expected.
inline size_t FirstWrong(const volatile uint64_t* words, const Expected& page) {
  for (size_t i = 0; i < kWords; ++i) {
    if (words[i] != WordOf(page, i)) return i;
  }
  return kWords;
}

}  // namespace eater

#endif  // UZSWAP_TESTS_SUPPORT_MEMORY_EATER_PAGES_H_
