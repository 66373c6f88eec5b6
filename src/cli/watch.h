// SPDX-License-Identifier: Apache-2.0
// Looks once a second at what surrounds a run and tells what has changed: the
// limit of its cgroup, and memory pressure. On the thread that waits for the
// program.
#ifndef UZSWAP_CLI_WATCH_H_
#define UZSWAP_CLI_WATCH_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

#include "cli/cgroup.h"
#include "cli/pressure.h"

namespace uzswap::cli {

class Watch {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kPeriod{1000};

  // What is not followed is not looked at; where there is nothing to look at
  // nobody is ever woken.
  void FollowLimit(AutoMemory memory, std::function<void(uint64_t)> tell);
  // No effect where the kernel tells no pressure. Tells the level of now.
  void FollowPressure(Pressure pressure,
                      std::function<void(PressureLevel)> tell);

  // Step is to be called after that many milliseconds; -1: never.
  int timeout_ms(Clock::time_point now = Clock::now()) const;
  // Looks, if it is time. Throws nothing.
  void Step(Clock::time_point now = Clock::now());

 private:
  void Look();

  std::optional<AutoMemory> memory_;
  std::optional<Pressure> pressure_;
  std::function<void(uint64_t)> tell_limit_;
  std::function<void(PressureLevel)> tell_pressure_;
  Clock::time_point next_;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_WATCH_H_
