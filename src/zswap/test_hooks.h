// SPDX-License-Identifier: Apache-2.0
// Places where a test can step between two moves of a writeback, or take entry
// memory away. Only in builds with UZSWAP_TEST_HOOKS; nothing otherwise.
#ifndef UZSWAP_ZSWAP_TEST_HOOKS_H_
#define UZSWAP_ZSWAP_TEST_HOOKS_H_

#include "base/page.h"

namespace uzswap {

struct ZswapTestHooks {
  void (*after_select)(Slot slot);   // victim chosen, not yet claimed
  void (*before_finish)(Slot slot);  // on the device, table not yet told
  bool (*no_entry)();                // true: Store gets no entry
  void (*after_grace)();  // the reaper is about to look for the empty
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
inline void HookAfterGrace() {
  if (zswap_test_hooks.after_grace) zswap_test_hooks.after_grace();
}
#else
inline void HookAfterGrace() {}
inline void HookAfterSelect(Slot) {}
inline void HookBeforeFinish(Slot) {}
inline bool HookNoEntry() { return false; }
#endif

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_TEST_HOOKS_H_
