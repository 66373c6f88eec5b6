// SPDX-License-Identifier: Apache-2.0
// Amounts as people write and read them: "512M", "1.50 GiB". Units are powers
// of 1024 throughout, with or without the "iB".
#ifndef UZSWAP_CLI_SIZE_H_
#define UZSWAP_CLI_SIZE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace uzswap::cli {

// "4096", "64K", "512M", "1.5G", "2T", each also with "B" or "iB" behind the
// letter, in either case. Nothing for anything else, for negative numbers and
// for what does not fit in 63 bits.
std::optional<uint64_t> ParseSize(std::string_view text);

// A whole number in [low, high]; nothing for anything else.
std::optional<unsigned> ParseNumber(std::string_view text, unsigned low,
                                    unsigned high);

// Seconds of "90", "90s", "5m", "1.5h", "2d"; nothing for anything else, for
// parts of a second and for what does not fit in 31 bits.
std::optional<unsigned> ParseSeconds(std::string_view text);

// A hundredth of a percent is 1: of "0.2" or "0.2%", with at most two digits
// behind the point. Nothing for anything else and for more than 100 %.
std::optional<unsigned> ParseHundredths(std::string_view text);

// Three significant digits and a unit: "0 B", "812 KiB", "1.50 GiB".
std::string FormatSize(uint64_t bytes);

// "1,234,567".
std::string FormatCount(uint64_t count);

// "0.4 ms", "12.3 s", "4 min 05 s".
std::string FormatSeconds(double seconds);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_SIZE_H_
