// SPDX-License-Identifier: Apache-2.0
// What z3fold's tests must see and steer: how many page locks a thread holds,
// that nothing which may sleep happens under one, and on which CPU it runs.
// Only in builds with UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_ZPOOL_FOLD_HOOKS_H_
#define UZSWAP_ZPOOL_FOLD_HOOKS_H_

#include "base/check.h"
#include "base/os.h"

namespace uzswap::fold_hooks {

#ifdef UZSWAP_TEST_HOOKS

struct Hooks {
  // A page lock was got; how many this thread holds now.
  void (*page_locked)(int held);
  // A page was taken off its list to be emptied; its lock is free.
  void (*claimed)();
  // An object was copied to another page; its handle does not say so yet.
  void (*copied)();
  int cpu;  // 0: the real one; n: CPU n - 1
};
inline constinit Hooks hooks{};
inline constinit thread_local int page_locks_held = 0;

inline void PageLocked() {
  ++page_locks_held;
  // One page lock is what a pass may ever hold.
  CHECK(page_locks_held == 1);
  if (hooks.page_locked) hooks.page_locked(page_locks_held);
}
inline void PageUnlocked() { --page_locks_held; }
inline void MaySleep() { CHECK(page_locks_held == 0); }
inline void Claimed() {
  if (hooks.claimed) hooks.claimed();
}
inline void Copied() {
  if (hooks.copied) hooks.copied();
}
inline unsigned CurrentCpu() {
  return hooks.cpu != 0 ? static_cast<unsigned>(hooks.cpu - 1)
                        : os::CurrentCpu();
}

#else

inline void PageLocked() {}
inline void PageUnlocked() {}
inline void MaySleep() {}
inline void Claimed() {}
inline void Copied() {}
inline unsigned CurrentCpu() { return os::CurrentCpu(); }

#endif

}  // namespace uzswap::fold_hooks

#endif  // UZSWAP_ZPOOL_FOLD_HOOKS_H_
