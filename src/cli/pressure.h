// SPDX-License-Identifier: Apache-2.0
// How much the processes around us wait for memory, as the kernel tells (PSI,
// pressure stall information): of the own cgroup, else of the machine. Many
// kernels do not tell; that is normal.
#ifndef UZSWAP_CLI_PRESSURE_H_
#define UZSWAP_CLI_PRESSURE_H_

#include <string>
#include <string_view>

namespace uzswap::cli {

// By the share of the last ten seconds in which some task waited for memory.
enum class PressureLevel {
  kNone,
  kLow,       // 1 %: the working set begins not to fit
  kMedium,    // 10 %: felt by whoever uses the machine
  kCritical,  // 40 %: thrashing; systemd-oomd kills at 60
};

// Hundredths of a percent of "avg10" in the line "some ..." of a pressure file;
// -1: no such line.
int SomeAverage10(std::string_view text);

class Pressure {
 public:
  // Below root, which is empty but in tests.
  explicit Pressure(std::string root = "");

  // False: no file of that kind can be read, so Level() is kNone.
  bool Present() const { return present_; }
  // Looks again; true: Level() is another than before.
  bool Changed();
  PressureLevel Level() const { return level_; }

 private:
  const std::string root_;
  bool present_ = false;
  PressureLevel level_ = PressureLevel::kNone;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_PRESSURE_H_
