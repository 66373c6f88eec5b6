// SPDX-License-Identifier: Apache-2.0
// Finds compressors by name. Built-in tables are registered at start; others
// are loaded with dlopen (the kernel's request_module) BEFORE the first region
// is managed; then the registry is sealed and loading is a programmer error
// (rule F7: a fault never loads code).
#ifndef UZSWAP_COMPRESS_REGISTRY_H_
#define UZSWAP_COMPRESS_REGISTRY_H_

#include <uzswap/compressor.h>

#include "base/status.h"

namespace uzswap::registry {

// EINVAL: wrong struct_size, api_version or missing member. EEXIST: the name
// is taken. ENOSPC: the table (32) is full.
Status Register(const uzswap_compressor* plugin);
// Registered already, else tries DIRECTORY/uzswap-compressor-NAME.so when
// `directory` is not null and the registry is not sealed. ENOENT: no such
// compressor. ELIBBAD: the file is there but is no plug-in.
Result<const uzswap_compressor*> Find(const char* name, const char* directory);
const uzswap_compressor* At(unsigned index);  // nullptr after the last
void Seal();

}  // namespace uzswap::registry

#endif  // UZSWAP_COMPRESS_REGISTRY_H_
