// SPDX-License-Identifier: Apache-2.0
// Full memory barriers that every build understands. ThreadSanitizer knows of
// no fence (and gcc refuses them there), so its build gets the processor's, and
// learns who is ordered after whom from the counters around it (counters.h).
#ifndef UZSWAP_BASE_FENCE_H_
#define UZSWAP_BASE_FENCE_H_

#include <atomic>

namespace uzswap {

#ifdef __SANITIZE_THREAD__
inline void FullFence() { asm volatile("mfence" ::: "memory"); }
#else
inline void FullFence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
#endif

}  // namespace uzswap

#endif  // UZSWAP_BASE_FENCE_H_
