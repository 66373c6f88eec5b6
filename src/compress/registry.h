// SPDX-License-Identifier: Apache-2.0
// Finds compressors by name. Built-in tables are registered at start
// (builtin.h); others are loaded with dlopen (the kernel's request_module)
// BEFORE the first region is managed; then the registry is sealed and nothing
// is added any more (rule F5: a fault never loads code).
//
// Threads: Find and At are lock-free for what is registered already; adding is
// serialised inside. Nothing is ever removed, so pointers stay valid.
#ifndef UZSWAP_COMPRESS_REGISTRY_H_
#define UZSWAP_COMPRESS_REGISTRY_H_

#include <uzswap/compressor.h>

#include "base/status.h"

namespace uzswap::registry {

// The table must live as long as the process. EINVAL: wrong struct_size,
// api_version, name or a missing member. EEXIST: the name is taken. ENOSPC: the
// table (32) is full. EPERM: sealed.
Status Register(const uzswap_compressor* plugin);

// Registered already, else tries DIRECTORY/uzswap-compressor-NAME.so when
// `directory` is not null and the registry is not sealed. ENOENT: no such
// compressor (also: no possible name). ELIBBAD: the file is there but is no
// plug-in, or is one of another name; the reason is logged. ENAMETOOLONG: the
// path is. Otherwise what open of the file or Register said.
// REQUIRES: no engine lock is held, unless sealed (dlopen may allocate).
Result<const uzswap_compressor*> Find(const char* name, const char* directory);

const uzswap_compressor* At(unsigned index);  // nullptr after the last
void Seal();

}  // namespace uzswap::registry

#endif  // UZSWAP_COMPRESS_REGISTRY_H_
