// SPDX-License-Identifier: Apache-2.0
// What the engine counts: events, ever growing, and what there is now.
#ifndef UZSWAP_ZSWAP_ENGINE_COUNTERS_H_
#define UZSWAP_ZSWAP_ENGINE_COUNTERS_H_

#include "base/counters.h"

namespace uzswap {

enum class Event : unsigned {
#define UZSWAP_COUNTER(name, text) name,
#include "zswap/counters.def"
#undef UZSWAP_COUNTER
  kCount
};

// Entries by kind, and bytes. They change with publication, conversion and the
// end of an entry, so they are exact when no call is in flight.
enum class Gauge : unsigned {
  kSameFilled,
  kCompressed,
  kRaw,
  kOnDevice,
  kCompressedBytes,
  kCount
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ENGINE_COUNTERS_H_
