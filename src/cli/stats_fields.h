// SPDX-License-Identifier: Apache-2.0
// Every member of struct uzswap_stats by name, so that adding up and printing
// cannot forget one.
#ifndef UZSWAP_CLI_STATS_FIELDS_H_
#define UZSWAP_CLI_STATS_FIELDS_H_

#include <cstdint>
#include <span>

#include "uzswap/uzswap.h"

namespace uzswap::cli {

struct StatsField {
  const char* name;
  uint64_t uzswap_stats::*member;
  // Of several processes: true adds up; false has no sum (limits, methods).
  bool adds_up;
};

std::span<const StatsField> StatsFields();

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_STATS_FIELDS_H_
