// SPDX-License-Identifier: Apache-2.0
#include "compress/builtin.h"

#include <initializer_list>

#include "compress/registry.h"

// Defined in compressors/NAME.cc. With the allocator's and the registry's few
// libc names these are all that the engine may leave undefined.
extern "C" {
#define UZSWAP_BUILTIN_TABLE(name)                                            \
  __attribute__((visibility("hidden"))) extern const struct uzswap_compressor \
      uzswap_compressor_##name
UZSWAP_BUILTIN_TABLE(lz4);
UZSWAP_BUILTIN_TABLE(zstd);
UZSWAP_BUILTIN_TABLE(copy);
UZSWAP_BUILTIN_TABLE(lz4hc);
UZSWAP_BUILTIN_TABLE(lzo_rle);
UZSWAP_BUILTIN_TABLE(deflate);
UZSWAP_BUILTIN_TABLE(842);
#undef UZSWAP_BUILTIN_TABLE
}

namespace uzswap::registry {

void RegisterBuiltins() {
  for (const uzswap_compressor* table :
       {&uzswap_compressor_lz4, &uzswap_compressor_zstd,
        &uzswap_compressor_copy, &uzswap_compressor_lz4hc,
        &uzswap_compressor_lzo_rle, &uzswap_compressor_deflate,
        &uzswap_compressor_842}) {
    const Result<const uzswap_compressor*> known = Find(table->name, nullptr);
    if (known.ok() && known.value() == table) continue;
    CHECK(Register(table).ok());
  }
}

}  // namespace uzswap::registry
