// SPDX-License-Identifier: Apache-2.0
// Makes the k-th call of os::Map in the process fail.
#ifndef UZSWAP_BASE_MAP_FAILURE_H_
#define UZSWAP_BASE_MAP_FAILURE_H_

#include "base/failure_countdown.h"

namespace uzswap::map_failure {

inline constinit FailureCountdown countdown;

#ifdef UZSWAP_TEST_HOOKS
inline void FailNth(uint64_t k) { countdown.FailNth(k); }
#endif
inline bool ShouldFail() { return countdown.ShouldFail(); }

}  // namespace uzswap::map_failure

#endif  // UZSWAP_BASE_MAP_FAILURE_H_
