// SPDX-License-Identifier: Apache-2.0
#include "preload/settings.h"

#include <cstring>

namespace uzswap::preload {
namespace {

const char* Find(const char* const* environment, const char* name) {
  const size_t length = strlen(name);
  for (; *environment != nullptr; ++environment) {
    const char* entry = *environment;
    if (strlen(entry) > length && memcmp(entry, name, length) == 0 &&
        entry[length] == '=') {
      return entry + length + 1;
    }
  }
  return nullptr;
}

// `uzswap run` has checked and normalised the numbers; anything else reads 0.
uint64_t Number(const char* const* environment, const char* name) {
  const char* text = Find(environment, name);
  uint64_t value = 0;
  for (; text != nullptr && *text >= '0' && *text <= '9'; ++text) {
    value = value * 10 + static_cast<uint64_t>(*text - '0');
  }
  return value;
}

// "0.25" is 25.
uint64_t Hundredths(const char* const* environment, const char* name) {
  const char* text = Find(environment, name);
  uint64_t value = 100 * Number(environment, name);
  while (text != nullptr && *text >= '0' && *text <= '9') ++text;
  if (text == nullptr || *text++ != '.') return value;
  for (uint64_t unit = 10; unit > 0 && *text >= '0' && *text <= '9';
       unit /= 10) {
    value += unit * static_cast<uint64_t>(*text++ - '0');
  }
  return value;
}

bool Is(const char* text, const char* value) {
  return text != nullptr && strlen(text) == strlen(value) &&
         memcmp(text, value, strlen(value)) == 0;
}

}  // namespace

bool ReadSettings(const char* const* environment, Settings* settings) {
  uzswap_config& config = settings->config;
  config = {};
  config.struct_size = sizeof(config);
  config.memory_limit = Number(environment, "UZSWAP_MEMORY");
  if (config.memory_limit == 0) return false;
  config.compressor = Find(environment, "UZSWAP_COMPRESSOR");
  config.recompressor = Find(environment, "UZSWAP_RECOMPRESSOR");
  config.zpool = Find(environment, "UZSWAP_ZPOOL");
  config.max_pool_percent =
      static_cast<unsigned>(Number(environment, "UZSWAP_MAX_POOL_PERCENT"));
  config.accept_threshold_percent = static_cast<unsigned>(
      Number(environment, "UZSWAP_ACCEPT_THRESHOLD_PERCENT"));
  config.backing = Find(environment, "UZSWAP_BACKING");
  if (Is(config.backing, "none")) config.backing = nullptr;
  config.backing_size = Number(environment, "UZSWAP_BACKING_SIZE");
  config.no_encrypt = Number(environment, "UZSWAP_NO_ENCRYPT") != 0;
  config.idle_seconds =
      static_cast<unsigned>(Number(environment, "UZSWAP_IDLE"));
  config.promotion_rate =
      static_cast<unsigned>(Hundredths(environment, "UZSWAP_PROMOTION_RATE"));
  const char* direct = Find(environment, "UZSWAP_DIRECT");
  config.direct = Is(direct, "on")    ? UZSWAP_DIRECT_ON
                  : Is(direct, "off") ? UZSWAP_DIRECT_OFF
                                      : UZSWAP_DIRECT_AUTO;
  config.backing_timeout =
      static_cast<unsigned>(Number(environment, "UZSWAP_BACKING_TIMEOUT"));
  config.plugin_dir = Find(environment, "UZSWAP_PLUGIN_DIR");
  const char* evict = Find(environment, "UZSWAP_EVICT");
  config.evict = Is(evict, "wp")     ? UZSWAP_EVICT_WP
                 : Is(evict, "move") ? UZSWAP_EVICT_MOVE
                                     : UZSWAP_EVICT_AUTO;
  settings->report = Find(environment, "UZSWAP_REPORT");
  // All processes of a run have it, and nobody else.
  config.backing_leases = settings->report;
  settings->root = Number(environment, "UZSWAP_ROOT");
  settings->all_plugins = Number(environment, "UZSWAP_ALL_PLUGINS") != 0;
  settings->chaos_ms = Number(environment, "UZSWAP_CHAOS");
  settings->patch = !Is(Find(environment, "UZSWAP_SYSCALLS"), "dispatch");
  return true;
}

}  // namespace uzswap::preload
