// SPDX-License-Identifier: Apache-2.0
// What zsmalloc's tests must see: when the system is asked, and how much
// compaction does in one hold of a lock. Only in builds with
// UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_
#define UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_

#include "base/page.h"

namespace uzswap::zsmalloc_hooks {

#ifdef UZSWAP_TEST_HOOKS

struct Hooks {
  // Frames are about to be taken from or given back to the system.
  void (*system_call)();
  // Compaction is about to release the lock of a class.
  void (*compacted)(unsigned objects_seen, ByteCount bytes_moved);
};
inline constinit Hooks hooks{};

inline void SystemCall() {
  if (hooks.system_call) hooks.system_call();
}
inline void Compacted(unsigned objects_seen, ByteCount bytes_moved) {
  if (hooks.compacted) hooks.compacted(objects_seen, bytes_moved);
}

#else

inline void SystemCall() {}
inline void Compacted(unsigned, ByteCount) {}

#endif

}  // namespace uzswap::zsmalloc_hooks

#endif  // UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_
