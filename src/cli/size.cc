// SPDX-License-Identifier: Apache-2.0
#include "cli/size.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <system_error>

namespace uzswap::cli {
namespace {

constexpr std::string_view kUnits = "KMGTP";

// The power of 1024 that a unit stands for; -1 for what is not a unit.
int UnitPower(std::string_view unit) {
  if (unit.empty()) return 0;
  std::string upper;
  for (const char c : unit) {
    upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  if (upper == "B") return 0;
  const size_t at = kUnits.find(upper[0]);
  if (at == std::string_view::npos) return -1;
  const std::string rest = upper.substr(1);
  const bool known = rest.empty() || rest == "B" || rest == "IB";
  return known ? static_cast<int>(at) + 1 : -1;
}

template <typename... Values>
std::string Format(const char* format, Values... values) {
  char text[64];
  std::snprintf(text, sizeof(text), format, values...);
  return text;
}

}  // namespace

std::optional<uint64_t> ParseSize(std::string_view text) {
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) {
    return std::nullopt;
  }
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc()) return std::nullopt;
  const int power = UnitPower({rest, static_cast<size_t>(end - rest)});
  if (power < 0) return std::nullopt;
  const double bytes = std::ldexp(number, 10 * power);
  if (!(bytes < 9.2e18)) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

std::optional<unsigned> ParseSeconds(std::string_view text) {
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) {
    return std::nullopt;
  }
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || end - rest > 1) return std::nullopt;
  switch (rest == end ? 's' : *rest) {
    case 's':
      break;
    case 'm':
      number *= 60;
      break;
    case 'h':
      number *= 3600;
      break;
    case 'd':
      number *= 86400;
      break;
    default:
      return std::nullopt;
  }
  if (number >= 2147483648.0 || number != std::floor(number)) {
    return std::nullopt;
  }
  return static_cast<unsigned>(number);
}

std::optional<unsigned> ParseHundredths(std::string_view text) {
  if (!text.empty() && text.back() == '%') text.remove_suffix(1);
  const size_t point = text.find('.');
  const auto whole = ParseNumber(text.substr(0, point), 0, 100);
  if (!whole) return std::nullopt;
  unsigned hundredths = *whole * 100;
  if (point != std::string_view::npos) {
    const std::string_view digits = text.substr(point + 1);
    const auto part = ParseNumber(digits, 0, 99);
    if (!part || digits.size() > 2) return std::nullopt;
    hundredths += digits.size() == 1 ? *part * 10 : *part;
  }
  if (hundredths > 10000) return std::nullopt;
  return hundredths;
}

std::optional<unsigned> ParseNumber(std::string_view text, unsigned low,
                                    unsigned high) {
  unsigned number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  if (number < low || number > high) return std::nullopt;
  return number;
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < 1024) return Format("%u B", static_cast<unsigned>(bytes));
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 999.5 would be printed as "1000"; the next unit says it better.
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return Format("%.*f %ciB", digits, value, kUnits[unit]);
}

std::string FormatCount(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, 1, ',');
  return text;
}

std::string FormatSeconds(double seconds) {
  if (seconds < 0.9995) return Format("%.1f ms", seconds * 1000);
  if (seconds < 119.95) return Format("%.1f s", seconds);
  const auto whole = static_cast<uint64_t>(std::llround(seconds));
  return Format("%llu min %02u s", static_cast<unsigned long long>(whole / 60),
                static_cast<unsigned>(whole % 60));
}

}  // namespace uzswap::cli
