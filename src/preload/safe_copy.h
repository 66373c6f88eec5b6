// SPDX-License-Identifier: Apache-2.0
// Copies between the program's memory and ours that survive any pointer. The
// pages must be pinned already if they are managed: an evicted page looks like
// a bad pointer here.
#ifndef UZSWAP_PRELOAD_SAFE_COPY_H_
#define UZSWAP_PRELOAD_SAFE_COPY_H_

#include <cstddef>
#include <cstdint>

namespace uzswap::preload {

// Bytes copied, from the front; 0 for a bad pointer.
size_t ReadPinned(uint64_t address, void* to, size_t bytes);
size_t WritePinned(uint64_t address, const void* from, size_t bytes);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_SAFE_COPY_H_
