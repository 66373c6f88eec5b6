// SPDX-License-Identifier: Apache-2.0
// Which descriptors are the engine's changes while the program runs: a fork
// opens files, and the last page that is freed closes one. Who hides them from
// the program remembers the epoch, and asks again when it is another.
#ifndef UZSWAP_BASE_OWN_DESCRIPTORS_H_
#define UZSWAP_BASE_OWN_DESCRIPTORS_H_

#include <atomic>
#include <cstdint>

namespace uzswap {

inline constinit std::atomic<uint32_t> own_descriptors_epoch{0};

// To be called before a descriptor is opened or closed, under the lock under
// which it is told: who sees the new epoch then waits for the new answer.
inline void OwnDescriptorsChange() {
  own_descriptors_epoch.fetch_add(1, std::memory_order_acq_rel);
}

}  // namespace uzswap

#endif  // UZSWAP_BASE_OWN_DESCRIPTORS_H_
