// SPDX-License-Identifier: Apache-2.0
// Places where a test can step between two moves of a writeback or of a pool's
// destruction, or take entry memory away. Only in builds with
// UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_ZSWAP_TEST_HOOKS_H_
#define UZSWAP_ZSWAP_TEST_HOOKS_H_

#include "base/page.h"

namespace uzswap {

struct ZswapTestHooks {
  void (*after_select)(Slot slot);   // victim chosen, not yet claimed
  void (*before_finish)(Slot slot);  // on the device, table not yet told
  bool (*no_entry)();                // true: Store gets no entry
  void (*before_replace)();          // migrated, table not yet told
  void (*in_acquire)();    // the current pool seen, not yet referenced
  void (*after_grace)();   // before empty pools are looked for
  void (*pool_visited)();  // found on a walk over all pools, not yet used
  void (*before_return)(Slot slot);  // back in the pool, table not yet told
  unsigned swapin_window;            // in place of what was measured, unless 0
};

#ifdef UZSWAP_TEST_HOOKS
inline constinit ZswapTestHooks zswap_test_hooks{};
inline void HookAfterSelect(Slot slot) {
  if (zswap_test_hooks.after_select) zswap_test_hooks.after_select(slot);
}
inline void HookBeforeFinish(Slot slot) {
  if (zswap_test_hooks.before_finish) zswap_test_hooks.before_finish(slot);
}
inline bool HookNoEntry() {
  return zswap_test_hooks.no_entry && zswap_test_hooks.no_entry();
}
inline void HookBeforeReplace() {
  if (zswap_test_hooks.before_replace) zswap_test_hooks.before_replace();
}
inline void HookInAcquire() {
  if (zswap_test_hooks.in_acquire) zswap_test_hooks.in_acquire();
}
inline void HookAfterGrace() {
  if (zswap_test_hooks.after_grace) zswap_test_hooks.after_grace();
}
inline void HookPoolVisited() {
  if (zswap_test_hooks.pool_visited) zswap_test_hooks.pool_visited();
}
inline void HookBeforeReturn(Slot slot) {
  if (zswap_test_hooks.before_return) zswap_test_hooks.before_return(slot);
}
inline unsigned HookSwapInWindow(unsigned measured) {
  const unsigned forced = zswap_test_hooks.swapin_window;
  return forced != 0 ? forced : measured;
}
#else
inline void HookAfterSelect(Slot) {}
inline void HookBeforeFinish(Slot) {}
inline bool HookNoEntry() { return false; }
inline void HookBeforeReplace() {}
inline void HookInAcquire() {}
inline void HookAfterGrace() {}
inline void HookPoolVisited() {}
inline void HookBeforeReturn(Slot) {}
inline unsigned HookSwapInWindow(unsigned measured) { return measured; }
#endif

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_TEST_HOOKS_H_
