// SPDX-License-Identifier: Apache-2.0
#include "support/pages.h"

#include <algorithm>
#include <cstring>

namespace uzswap::testing {
namespace {

constexpr const char* kWords[] = {
    "the",    "page",    "memory", "of",      "and",    "is",      "a",
    "kernel", "fault",   "to",     "process", "in",     "limit",   "swap",
    "when",   "written", "that",   "cold",    "it",     "address", "program",
    "with",   "returns", "device", "number",  "before", "block",   "error",
    "value",  "system",  "call",   "under",   "lock",   "reader",  "every",
    "table",  "content", "bytes",  "counted", "never",  "again",   "first"};
constexpr size_t kWordCount = sizeof(kWords) / sizeof(kWords[0]);

void StoreWord(MutablePage page, size_t index, uint64_t word) {
  memcpy(page.data() + index * sizeof(word), &word, sizeof(word));
}

}  // namespace

uint64_t Random::Next() {
  state_ += 0x9e3779b97f4a7c15u;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void FillZero(MutablePage page) { FillSame(page, 0); }

void FillSame(MutablePage page, uint64_t word) {
  for (size_t i = 0; i < kPageSize / 8; ++i) StoreWord(page, i, word);
}

void FillRandom(MutablePage page, uint64_t seed) {
  FillPartlyRandom(page, seed, kPageSize);
}

void FillText(MutablePage page, uint64_t seed) {
  Random random(seed);
  size_t at = 0;
  const auto put = [&](char c) {
    if (at < kPageSize) page[at++] = static_cast<std::byte>(c);
  };
  while (at < kPageSize) {
    // Two draws multiplied: small indices, that is common words, come often.
    const size_t word = random.Below(kWordCount) * random.Below(kWordCount);
    for (const char* c = kWords[word / kWordCount]; *c != '\0'; ++c) put(*c);
    const uint64_t end = random.Below(12);
    if (end == 0) put('.');
    put(end == 1 ? '\n' : ' ');
  }
}

void FillHeap(MutablePage page, uint64_t seed) {
  Random random(seed);
  const uint64_t base = 0x7f0000000000 + (random.Below(64) << 30);
  for (size_t i = 0; i < kPageSize / 8; ++i) {
    const uint64_t kind = random.Below(8);
    uint64_t word = 0;
    if (kind < 3) word = base + random.Below(1 << 20) * 16;
    if (kind == 3) word = random.Below(1000);
    if (kind == 4) word = 0x21 + 0x10 * random.Below(4);
    StoreWord(page, i, word);
  }
}

void FillPartlyRandom(MutablePage page, uint64_t seed, size_t random_bytes) {
  Random random(seed);
  FillZero(page);
  for (size_t at = 0; at < random_bytes; at += 8) {
    const uint64_t word = random.Next();
    const size_t bytes = std::min<size_t>(8, random_bytes - at);
    memcpy(page.data() + at, &word, bytes);
  }
}

void FillMixed(MutablePage page, uint64_t seed) {
  Random random(~seed);
  switch (random.Below(10)) {
    case 0:
      return FillZero(page);
    case 1:
      return FillSame(page, random.Next());
    case 2:
      return FillRandom(page, seed);
    case 3:
    case 4:
    case 5:
      return FillText(page, seed);
    case 6:
    case 7:
      return FillPartlyRandom(page, seed, random.Below(kPageSize));
    default:
      return FillHeap(page, seed);
  }
}

uint64_t Fingerprint(ConstPage page) {
  uint64_t hash = 0;
  for (size_t i = 0; i < kPageSize / 8; ++i) {
    uint64_t word;
    memcpy(&word, page.data() + i * 8, 8);
    hash = Random(hash ^ word).Next();
  }
  return hash;
}

}  // namespace uzswap::testing
