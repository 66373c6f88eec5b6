// SPDX-License-Identifier: Apache-2.0
// Makes this kernel look like another one. Only in builds with
// UZSWAP_TEST_HOOKS; nothing otherwise. Set before uzswap_open.
#ifndef UZSWAP_PAGER_TEST_HOOKS_H_
#define UZSWAP_PAGER_TEST_HOOKS_H_

namespace uzswap {

struct PagerTestHooks {
  bool no_move;          // before Linux 6.8
  bool no_batched_drop;  // before Linux 6.14
  bool no_wide_protect;  // before Linux 6.3, and all mappings are of one page
  bool thp_always;       // transparent_hugepage/enabled is [always]
};

#ifdef UZSWAP_TEST_HOOKS
inline constinit PagerTestHooks pager_test_hooks{};
#else
inline constexpr PagerTestHooks pager_test_hooks{};
#endif

}  // namespace uzswap

#endif  // UZSWAP_PAGER_TEST_HOOKS_H_
