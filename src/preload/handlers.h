// SPDX-License-Identifier: Apache-2.0
// System calls that uzswap does itself instead of passing them on. Each handler
// returns the kernel's result (or -errno) for the program.
#ifndef UZSWAP_PRELOAD_HANDLERS_H_
#define UZSWAP_PRELOAD_HANDLERS_H_

#include <cstdint>

#include "preload/syscall_frame.h"

namespace uzswap::preload {

// Sets *result and returns true if the call is one of that family.
// mmap munmap mprotect pkey_mprotect mremap madvise brk mlock mlock2 munlock
// mlockall munlockall shmat remap_file_pages process_madvise …
bool MemoryCall(const SyscallFrame& frame, int64_t* result);
// close close_range dup2 dup3 fcntl io_uring_setup io_setup …: uzswap's own
// descriptors are invisible; what cannot be pinned is refused with ENOSYS.
bool DescriptorCall(const SyscallFrame& frame, int64_t* result);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_HANDLERS_H_
