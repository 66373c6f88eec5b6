// SPDX-License-Identifier: Apache-2.0
// A system call leaves vector registers alone; codecs do not. What may run a
// codec on behalf of a system call goes through here.
#ifndef UZSWAP_PRELOAD_VECTORS_H_
#define UZSWAP_PRELOAD_VECTORS_H_

#include <cstddef>
#include <cstdint>

extern "C" {
// entry.S: calls fn(argument) with vector and x87 state saved around it.
__attribute__((visibility("hidden"))) int64_t uzswap_call_saving_vectors(
    int64_t (*fn)(void*), void* argument);
// uzswap_pin, wherever it may have to bring pages in.
__attribute__((visibility("hidden"))) int uzswap_pin_saving_vectors(
    const void* address, size_t length);
}

namespace uzswap::preload {

// Finds out how large the state is. False: the processor has no XSAVE.
bool MeasureVectors();

// uzswap_prepare_fork and uzswap_child_after_fork.
void PrepareForkSavingVectors();
int ChildAfterForkSavingVectors();
// uzswap_finish_work, or uzswap_forbid_threads.
void FinishWorkSavingVectors(bool for_ever);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_VECTORS_H_
