// SPDX-License-Identifier: Apache-2.0
// Makes the k-th allocation of frames or metadata inside any zpool of the
// process fail.
#ifndef UZSWAP_ZPOOL_FAILURE_H_
#define UZSWAP_ZPOOL_FAILURE_H_

#include "base/failure_countdown.h"

namespace uzswap::zpool_failure {

inline constinit FailureCountdown countdown;

#ifdef UZSWAP_TEST_HOOKS
inline void FailNth(uint64_t k) { countdown.FailNth(k); }
#endif
inline bool ShouldFail() { return countdown.ShouldFail(); }

}  // namespace uzswap::zpool_failure

#endif  // UZSWAP_ZPOOL_FAILURE_H_
