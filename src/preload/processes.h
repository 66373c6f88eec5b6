// SPDX-License-Identifier: Apache-2.0
// Threads and processes: clone, fork, vfork, exec, exit.
#ifndef UZSWAP_PRELOAD_PROCESSES_H_
#define UZSWAP_PRELOAD_PROCESSES_H_

#include <cstdint>

#include "preload/syscall_frame.h"
#include "preload/thread.h"

namespace uzswap::preload {

// True: *result is set. exit and exit_group do not return; vfork resumes the
// program from memory and does not return either.
bool ProcessCall(SyscallFrame& frame, int64_t* result);

// execve, execveat: the path, argv and envp in memory that the kernel can read
// at any time, gone again if the call fails.
int64_t Exec(const SyscallFrame& frame);
// A vfork child that became another program left its copies with the parent.
void FreeExecCopy(ThreadBlock& block);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_PROCESSES_H_
