// SPDX-License-Identifier: Apache-2.0
// When an entry was stored or last used, in one byte: seconds modulo 126 for
// what is younger than a minute, else minutes modulo 126, else "old". Sweeps
// turn the first into the second and the second into the third before they can
// be mistaken; and when no sweep came for long (a program that slept), they are
// still told apart, because from 45 seconds after the last sweep on
// only "pending" is given out, whose time the next sweep fills in.
//
// Threads: any. What a racing sweep and stamp do to one entry costs exactness
// of that entry's age, nothing else.
#ifndef UZSWAP_ZSWAP_AGE_H_
#define UZSWAP_ZSWAP_AGE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/os.h"
#include "base/seldom.h"

namespace uzswap {

// Seconds of one monotonic clock, from some beginning on.
using Seconds = uint32_t;
using AgeStamp = uint8_t;

// Invariants: at a time `now`, stamps in seconds are from [swept - 60, swept +
// 45] and those in minutes are younger than an hour at `swept`, which is when
// the last complete sweep began.
class AgeClock {
 public:
  static constexpr unsigned kBuckets = 6;
  // Of the bucket: < 1 s, < 10 s, < 1 min, < 10 min, < 1 h, older.
  static constexpr Seconds kLimits[kBuckets - 1] = {1, 10, 60, 600, 3600};

  AgeStamp Stamp(Seconds now) const {
    return now > End() ? kPending : SecondStamp(now);
  }

  // At least that old; of what is older than a minute, up to a minute more.
  Seconds AgeOf(AgeStamp stamp, Seconds now) const {
    if (stamp == kPending) return 0;
    if (stamp == kOld) return kHour;
    const Seconds end = std::min(now, End());
    const Seconds since =
        stamp < kModulus ? Since(end, stamp)
                         : end % 60 + 60 * Since(end / 60, stamp - kModulus);
    return std::min(now - end + since, kHour);
  }

  // For a sweep that visits every entry.
  AgeStamp Swept(AgeStamp stamp, Seconds now) const {
    if (stamp == kPending) return SecondStamp(now);
    const Seconds age = AgeOf(stamp, now);
    if (age >= kHour) return kOld;
    if (stamp >= kModulus || age < 60) return stamp;
    return static_cast<AgeStamp>(kModulus + (now - age) / 60 % kModulus);
  }
  // A sweep is due. Every kSweepEvery seconds is enough; later is not wrong.
  bool SweepIsDue(Seconds now) const {
    return now - swept_.load(std::memory_order_relaxed) >= kSweepEvery;
  }
  // A sweep that began at that time has visited all.
  void SweepDone(Seconds began) {
    swept_.store(began, std::memory_order_relaxed);
  }

  static unsigned BucketOf(Seconds age) {
    unsigned bucket = 0;
    while (bucket < kBuckets - 1 && age >= kLimits[bucket]) ++bucket;
    return bucket;
  }

 private:
  static constexpr unsigned kModulus = 126;
  static constexpr AgeStamp kPending = 254;
  static constexpr AgeStamp kOld = 255;
  static constexpr Seconds kHour = 3600;
  static constexpr Seconds kSweepEvery = 20;
  static constexpr Seconds kSpan = 45;
  // A stamp may be newer than the time it is compared with: whoever compares
  // may have been interrupted. kModulus - kSkew > 60 + kSpan.
  static constexpr Seconds kSkew = 20;

  // Until when stamps in seconds are given out.
  Seconds End() const { return swept_.load(std::memory_order_relaxed) + kSpan; }
  static AgeStamp SecondStamp(Seconds now) {
    return static_cast<AgeStamp>(now % kModulus);
  }
  static Seconds Since(Seconds now, unsigned then) {
    const Seconds since = (now % kModulus + kModulus - then) % kModulus;
    return since >= kModulus - kSkew ? 0 : since;
  }

  std::atomic<Seconds> swept_{0};
};

// How many entries are how old, as of the last count.
struct EntryAges {
  // Fewer are counted whenever somebody asks.
  static constexpr uint64_t kFew = 4096;

  Seldom seldom;
  std::atomic<uint64_t> pages[AgeClock::kBuckets] = {};
};

// Seconds since its beginning. Asks the system ten times a second at most.
class CoarseSeconds {
 public:
  Seconds Now() {
    constexpr uint64_t kCycles = uint64_t{1} << 28;
    const uint64_t cycles = os::Cycles();
    if (cycles - cycles_.load(std::memory_order_relaxed) > kCycles) {
      const uint64_t ns = os::MonotonicNs() - begin_ns_;
      seconds_.store(static_cast<Seconds>(ns / 1'000'000'000),
                     std::memory_order_relaxed);
      cycles_.store(cycles, std::memory_order_relaxed);
    }
    return seconds_.load(std::memory_order_relaxed);
  }

 private:
  const uint64_t begin_ns_ = os::MonotonicNs();
  std::atomic<uint64_t> cycles_{0};
  std::atomic<Seconds> seconds_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_AGE_H_
