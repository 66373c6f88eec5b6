// SPDX-License-Identifier: Apache-2.0
#include "cli/pressure.h"

#include <charconv>
#include <fstream>
#include <iterator>
#include <utility>

#include "cli/cgroup.h"

namespace uzswap::cli {
namespace {

// A file that is there may still answer EOPNOTSUPP (psi=0).
int ReadPressure(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  return SomeAverage10(text);
}

PressureLevel LevelOf(int hundredths) {
  if (hundredths >= 4000) return PressureLevel::kCritical;
  if (hundredths >= 1000) return PressureLevel::kMedium;
  if (hundredths >= 100) return PressureLevel::kLow;
  return PressureLevel::kNone;
}

}  // namespace

int SomeAverage10(std::string_view text) {
  constexpr std::string_view kStart = "some avg10=";
  const size_t at = text.starts_with(kStart) ? 0 : text.find("\nsome avg10=");
  if (at == std::string_view::npos) return -1;
  const char* const begin = text.data() + text.find('=', at) + 1;
  const char* const end = text.data() + text.size();
  double percent = 0;
  const auto [rest, error] =
      std::from_chars(begin, end, percent, std::chars_format::fixed);
  const bool ended = rest == end || *rest == ' ' || *rest == '\n';
  if (error != std::errc() || !ended || !(percent >= 0 && percent <= 100)) {
    return -1;
  }
  return static_cast<int>(percent * 100 + 0.5);
}

Pressure::Pressure(std::string root) : root_(std::move(root)) {
  static_cast<void>(Changed());
}

bool Pressure::Changed() {
  int now = -1;
  const auto own = CgroupDirectories(root_, CgroupVersion::kV2);
  if (!own.empty()) now = ReadPressure(own.front() + "/memory.pressure");
  if (now < 0) now = ReadPressure(root_ + "/proc/pressure/memory");
  present_ = now >= 0;
  const PressureLevel level = LevelOf(now);
  return std::exchange(level_, level) != level;
}

}  // namespace uzswap::cli
