// SPDX-License-Identifier: Apache-2.0
// Cycles and nanoseconds into each other, by what the counter did since the
// start: no rate is asked from anybody, and a fault need only read the counter.
#ifndef UZSWAP_PAGER_CYCLE_CLOCK_H_
#define UZSWAP_PAGER_CYCLE_CLOCK_H_

#include <cstdint>

#include "base/os.h"

namespace uzswap {

class CycleClock {
 public:
  // A moment in both.
  struct Moment {
    uint64_t ns = 0;
    uint64_t cycles = 0;
  };
  static Moment Now() { return {os::MonotonicNs(), os::Cycles()}; }

  void Start(const Moment& now) { start_ = now; }

  // Scaled so that 64 bits are enough for months.
  uint64_t ToNs(uint64_t cycles, const Moment& now) const {
    return Scale(cycles, now.ns - start_.ns, now.cycles - start_.cycles);
  }
  uint64_t ToCycles(uint64_t ns, const Moment& now) const {
    return Scale(ns, now.cycles - start_.cycles, now.ns - start_.ns);
  }

 private:
  // amount · to / from. In the first microseconds there is no rate yet.
  static uint64_t Scale(uint64_t amount, uint64_t to, uint64_t from) {
    if (from >> 10 == 0) return amount;
    const uint64_t in_million = (to >> 10) * (1 << 20) / (from >> 10);
    return (amount >> 10) * in_million >> 10;
  }

  Moment start_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_CYCLE_CLOCK_H_
