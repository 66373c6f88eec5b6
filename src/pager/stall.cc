// SPDX-License-Identifier: Apache-2.0
#include "pager/stall.h"

#include <algorithm>

namespace uzswap {
namespace {

constexpr unsigned kShift = 20;
constexpr uint64_t kUnit = uint64_t{1} << kShift;
// exp(-2 s / 10 s) and exp(-2 s / 60 s): what is left of an average after a
// period.
constexpr uint64_t kKeepTenSeconds = 858501;
constexpr uint64_t kKeepMinute = 1014200;
// After so many of them nothing is left.
constexpr uint64_t kMaxPeriods = 1024;

uint64_t Power(uint64_t base, uint64_t exponent) {
  uint64_t power = kUnit;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 != 0) power = power * base >> kShift;
    base = base * base >> kShift;
  }
  return power;
}

void Mix(std::atomic<uint64_t>& average, uint64_t share, uint64_t keep) {
  const uint64_t old = average.load(std::memory_order_relaxed);
  average.store((old * keep + share * (kUnit - keep)) >> kShift,
                std::memory_order_relaxed);
}

uint32_t HundredthsOfPercent(uint64_t average) {
  return static_cast<uint32_t>((average * StallClock::kAlways + kUnit / 2) >>
                               kShift);
}

}  // namespace

void StallClock::Start(uint64_t now_ns, uint64_t now) {
  updated_ = now;
  updated_ns_.store(now_ns, std::memory_order_relaxed);
}

// Cycle counters of two CPUs may differ by a little.
uint64_t StallClock::Passed(uint64_t since, uint64_t now) {
  const uint64_t passed = (now - since) & kSince;
  return passed > kSince / 2 ? 0 : passed;
}

void StallClock::Enter(uint64_t now) {
  uint64_t seen = word_.load(std::memory_order_relaxed);
  uint64_t next;
  // Whoever comes late with the time that it looked at must not count again
  // what others have counted meanwhile.
  const uint64_t since = std::max(now, ended_.load(std::memory_order_relaxed));
  do {
    next = seen < kOne ? kOne | (since & kSince) : seen + kOne;
  } while (!word_.compare_exchange_weak(seen, next, std::memory_order_relaxed));
}

void StallClock::Leave(uint64_t now) {
  const uint64_t seen = word_.fetch_sub(kOne, std::memory_order_relaxed);
  if (seen >> kCountShift != 1) return;
  ended_.store(now, std::memory_order_relaxed);
  total_.fetch_add(Passed(seen & kSince, now), std::memory_order_relaxed);
}

uint64_t StallClock::Total(uint64_t now) const {
  const uint64_t ended = total_.load(std::memory_order_relaxed);
  const uint64_t seen = word_.load(std::memory_order_relaxed);
  return seen < kOne ? ended : ended + Passed(seen & kSince, now);
}

void StallClock::Update(uint64_t now_ns, uint64_t now) {
  const uint64_t last = updated_ns_.load(std::memory_order_relaxed);
  if (now_ns < last + kPeriodNs) return;
  if (updating_.exchange(true, std::memory_order_acquire)) return;
  if (updated_ns_.load(std::memory_order_relaxed) == last && now > updated_) {
    const uint64_t total = Total(now);
    const uint64_t passed = now - updated_;
    const uint64_t stalled =
        std::min(passed, total > total_then_ ? total - total_then_ : 0);
    // Scaled down first: the product must fit, however long it was quiet.
    Decay((stalled >> 16) * kUnit / ((passed >> 16) + 1),
          std::min((now_ns - last) / kPeriodNs, kMaxPeriods));
    total_then_ = total;
    updated_ = now;
    updated_ns_.store(now_ns, std::memory_order_relaxed);
  }
  updating_.store(false, std::memory_order_release);
}

// `share` (of kUnit) was stalled in each of the periods.
void StallClock::Decay(uint64_t share, uint64_t periods) {
  Mix(ten_seconds_, share, Power(kKeepTenSeconds, periods));
  Mix(minute_, share, Power(kKeepMinute, periods));
}

StallClock::Averages StallClock::averages() const {
  return {HundredthsOfPercent(ten_seconds_.load(std::memory_order_relaxed)),
          HundredthsOfPercent(minute_.load(std::memory_order_relaxed))};
}

void StallClock::ResetInChild(uint64_t now_ns, uint64_t now) {
  word_.store(0, std::memory_order_relaxed);
  total_.store(0, std::memory_order_relaxed);
  updating_.store(false, std::memory_order_relaxed);
  total_then_ = 0;
  ten_seconds_.store(0, std::memory_order_relaxed);
  minute_.store(0, std::memory_order_relaxed);
  Start(now_ns, now);
}

}  // namespace uzswap
