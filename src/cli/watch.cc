// SPDX-License-Identifier: Apache-2.0
#include "cli/watch.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace uzswap::cli {

void Watch::FollowLimit(AutoMemory memory, std::function<void(uint64_t)> tell) {
  memory_.emplace(std::move(memory));
  tell_limit_ = std::move(tell);
}

void Watch::FollowPressure(Pressure pressure,
                           std::function<void(PressureLevel)> tell) {
  if (!pressure.Present()) return;
  pressure_.emplace(std::move(pressure));
  tell_pressure_ = std::move(tell);
  tell_pressure_(pressure_->Level());
}

int Watch::timeout_ms(Clock::time_point now) const {
  if (!memory_ && !pressure_) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_ - now);
  return static_cast<int>(
      std::clamp<int64_t>(left.count(), 0, kPeriod.count()));
}

void Watch::Step(Clock::time_point now) {
  if (timeout_ms(now) != 0) return;
  next_ = now + kPeriod;
  try {
    Look();
  } catch (const std::exception&) {
    // No memory. Again in a second.
  }
}

void Watch::Look() {
  if (memory_ && memory_->Changed()) tell_limit_(memory_->Limit());
  if (pressure_ && pressure_->Changed()) tell_pressure_(pressure_->Level());
}

}  // namespace uzswap::cli
