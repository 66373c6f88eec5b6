// SPDX-License-Identifier: Apache-2.0
// Finds compressors by name. Built-in tables are registered at start
// (builtin.h); others are loaded with dlopen, the kernel's request_module.
// After Seal nothing is added any more: in somebody else's program a fault may
// come at any time, and never loads code (rule F5).
//
// A load may take long, allocate, or start a process that needs anything at
// all. So it happens before any lock: with one held (the hotplug lock above
// all) it is a programmer's error, found by lockdep even when it goes well.
//
// Threads: Find and At are lock-free for what is registered already; adding is
// serialised inside; loads are not, but those of one name are done once.
// Nothing is ever removed, so pointers stay valid.
#ifndef UZSWAP_COMPRESS_REGISTRY_H_
#define UZSWAP_COMPRESS_REGISTRY_H_

#include <uzswap/compressor.h>

#include "base/status.h"

namespace uzswap::registry {

// The table must live as long as the process. EINVAL: wrong struct_size,
// api_version, name, a missing member, or one optional member without another.
// EEXIST: the name is taken. ENOSPC: the table (32) is full. EPERM: sealed.
Status Register(const uzswap_compressor* plugin);

// Registered already, else tries DIRECTORY/uzswap-compressor-NAME.so when
// `directory` is not null and the registry is not sealed. White space around
// the name, as `echo` leaves it, is ignored. ENOENT: no such compressor (also:
// no possible name). ELIBBAD: the file is there but is no plug-in, or is one of
// another name; the reason is logged. ENAMETOOLONG: the path is. EDEADLK: this
// thread is loading already. Otherwise what open of
// the file or Register said. An error leaves no trace: try again.
// REQUIRES: no engine lock is held, unless sealed.
Result<const uzswap_compressor*> Find(const char* name, const char* directory);

// Finds each plug-in of the directory, for programs that can load none later.
// Says nothing about files that are none. The number of those known afterwards.
// REQUIRES: as Find.
unsigned LoadAll(const char* directory);

const uzswap_compressor* At(unsigned index);  // nullptr after the last
void Seal();

// What a loader got. The library goes back with dlclose, unless null, when the
// loader or Register fails; `why` may then say more for the log.
struct Loaded {
  const uzswap_compressor* table;
  void* library;
  const char* why;
};
// Stands for the dynamic linker. Null: the linker again.
using Loader = Status (*)(const char* path, const char* name, Loaded* loaded);
void SetLoaderForTest(Loader loader);

}  // namespace uzswap::registry

#endif  // UZSWAP_COMPRESS_REGISTRY_H_
