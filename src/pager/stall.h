// SPDX-License-Identifier: Apache-2.0
// How much of the time at least one thread was held up in a fault: what the
// kernel's pressure stall information (PSI) calls `some`. The time during which
// several are held up counts once. With averages over ten seconds and a minute
// that decay as the kernel's do, computed in whole numbers.
//
// Threads and signals: any. Enter and Leave are one compare-and-swap each.
#ifndef UZSWAP_PAGER_STALL_H_
#define UZSWAP_PAGER_STALL_H_

#include <atomic>
#include <cstdint>

#include "base/os.h"

namespace uzswap {

// Times are in cycles (os::Cycles) but for those that say ns.
class StallClock {
 public:
  static constexpr uint64_t kPeriodNs = 2000000000;
  // An average of "all the time".
  static constexpr uint32_t kAlways = 10000;

  struct Averages {
    uint32_t ten_seconds = 0;  // 1/100 percent, as kAlways
    uint32_t minute = 0;
  };

  // The averages count from here on.
  void Start(uint64_t now_ns, uint64_t now);
  // This thread is held up from `now` on; until `now`.
  void Enter(uint64_t now);
  void Leave(uint64_t now);

  // So far, with a stall that goes on.
  uint64_t Total(uint64_t now) const;
  // Takes the time since the last update into the averages once two seconds
  // have passed; to be called more often than that while there are faults.
  void Update(uint64_t now_ns, uint64_t now);
  Averages averages() const;

  // In the child after fork, in which nobody is held up.
  void ResetInChild(uint64_t now_ns, uint64_t now);

 private:
  // The word: threads held up in the high bits; below, since when there are
  // any, modulo their width (months).
  static constexpr unsigned kCountShift = 48;
  static constexpr uint64_t kOne = uint64_t{1} << kCountShift;
  static constexpr uint64_t kSince = kOne - 1;

  static uint64_t Passed(uint64_t since, uint64_t now);
  void Decay(uint64_t share, uint64_t periods);

  std::atomic<uint64_t> word_{0};
  std::atomic<uint64_t> total_{0};  // of stalls that have ended
  std::atomic<uint64_t> ended_{0};  // when the last one did
  std::atomic<uint64_t> updated_ns_{0};
  std::atomic<bool> updating_{false};
  // Written by the one who updates. Averages: in units of 2^-20.
  uint64_t updated_ = 0;
  uint64_t total_then_ = 0;
  std::atomic<uint64_t> ten_seconds_{0};
  std::atomic<uint64_t> minute_{0};
};

class ScopedStall {
 public:
  ScopedStall(StallClock& clock, uint64_t now) : clock_(clock) {
    clock_.Enter(now);
  }
  ~ScopedStall() { clock_.Leave(os::Cycles()); }
  ScopedStall(const ScopedStall&) = delete;
  ScopedStall& operator=(const ScopedStall&) = delete;

 private:
  StallClock& clock_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_STALL_H_
