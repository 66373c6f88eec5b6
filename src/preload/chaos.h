// SPDX-License-Identifier: Apache-2.0
// Chaos mode, for tests (UZSWAP_TEST_HOOKS): a thread of uzswap's own evicts
// everything every UZSWAP_CHAOS milliseconds, so that every access of the
// program meets pages that are gone, leaving or coming back; and so are all
// when a fork begins.
#ifndef UZSWAP_PRELOAD_CHAOS_H_
#define UZSWAP_PRELOAD_CHAOS_H_

#include <cstdint>

namespace uzswap::preload {

// 0: none. Remembered for forked children.
void SetChaos(uint64_t milliseconds);
void StartChaos();
void ChaosBeforeFork();

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_CHAOS_H_
