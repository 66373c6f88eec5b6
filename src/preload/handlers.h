// SPDX-License-Identifier: Apache-2.0
// System calls that uzswap does itself instead of passing them on. Each handler
// returns the kernel's result (or -errno) for the program.
#ifndef UZSWAP_PRELOAD_HANDLERS_H_
#define UZSWAP_PRELOAD_HANDLERS_H_

#include <cstdint>

#include "preload/syscall_frame.h"

namespace uzswap::preload {

// Sets *result and returns true if the call is one of that family: mmap munmap
// mprotect pkey_mprotect mremap madvise brk mlock mlock2 mlockall shmat
// process_madvise mseal. What changes no mapping (mincore, msync, munlock) or
// only mappings of files is passed on. Runs with the vector registers saved:
// these calls may run a codec.
bool MemoryCall(const SyscallFrame& frame, int64_t* result);

// close close_range dup dup2 dup3 fcntl: uzswap's own descriptors are invisible
// (EBADF). io_uring_*, io_*: memory in flight there is pinned by nobody, so
// they are refused with ENOSYS.
bool DescriptorCall(const SyscallFrame& frame, int64_t* result);
// Reads the engine's descriptors again. Called at start; later DescriptorCall
// does so itself whenever they have changed (base/own_descriptors.h).
void RefreshDescriptors();
// As RefreshDescriptors, in the child of a fork: its pager has new ones.
void RefreshDescriptorsInChild();

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_HANDLERS_H_
