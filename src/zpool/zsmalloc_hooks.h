// SPDX-License-Identifier: Apache-2.0
// What zsmalloc's tests must see, and moments at which they do something: no
// lock is held then, except at the end of a hold. Only in builds with
// UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_
#define UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_

#include "base/page.h"

namespace uzswap::zsmalloc_hooks {

#ifdef UZSWAP_TEST_HOOKS

struct Hooks {
  // Frames are about to be taken from or given back to the system.
  void (*system_call)();
  // Free knows the place of an object, and has not locked its class yet.
  void (*located)();
  // An object has a place, and is not there yet.
  void (*placed)();
  // Compaction is about to release the lock of a class.
  void (*compacted)(unsigned objects_seen, ByteCount bytes_moved);
};
inline constinit Hooks hooks{};

inline void SystemCall() {
  if (hooks.system_call) hooks.system_call();
}
inline void Located() {
  if (hooks.located) hooks.located();
}
inline void Placed() {
  if (hooks.placed) hooks.placed();
}
inline void Compacted(unsigned objects_seen, ByteCount bytes_moved) {
  if (hooks.compacted) hooks.compacted(objects_seen, bytes_moved);
}

#else

inline void SystemCall() {}
inline void Located() {}
inline void Placed() {}
inline void Compacted(unsigned, ByteCount) {}

#endif

}  // namespace uzswap::zsmalloc_hooks

#endif  // UZSWAP_ZPOOL_ZSMALLOC_HOOKS_H_
