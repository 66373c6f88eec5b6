// SPDX-License-Identifier: Apache-2.0
// What `uzswap run` decided, as it comes through the environment.
#ifndef UZSWAP_PRELOAD_SETTINGS_H_
#define UZSWAP_PRELOAD_SETTINGS_H_

#include <uzswap/uzswap.h>

#include <cstdint>

namespace uzswap::preload {

struct Settings {
  uzswap_config config;
  const char* report;
  uint64_t root;  // the process that `uzswap run` started
  uint64_t chaos_ms;
  bool all_plugins;  // load those that nobody has asked for yet, too
  bool patch;        // false: dispatch alone
};

// False: UZSWAP_MEMORY is not set, so nobody asked for anything.
bool ReadSettings(const char* const* environment, Settings* settings);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_SETTINGS_H_
