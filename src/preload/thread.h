// SPDX-License-Identifier: Apache-2.0
// What uzswap keeps for each thread of the program, in one unmanaged mapping:
// the alternate stack of our handlers, a private stack for system calls made
// on a managed stack, and the thread's virtual signal state.
#ifndef UZSWAP_PRELOAD_THREAD_H_
#define UZSWAP_PRELOAD_THREAD_H_

#include <signal.h>

#include <cstddef>
#include <cstdint>

#include "preload/syscall_frame.h"

namespace uzswap::preload {

// entry.S reads a copy of the frame at offset 0.
struct VforkContext {
  SyscallFrame frame;
  SyscallFrame* place;  // where the frame was on the program's stack
};

inline constexpr size_t kAlternateStackBytes = 128 * 1024;
inline constexpr size_t kPrivateStackBytes = 64 * 1024;
inline constexpr size_t kSigreturnBytes = 24 * 1024;  // AMX state is 8 KiB
inline constexpr int kVforkDepth = 4;

struct ThreadBlock {
  stack_t program_stack;  // the program's sigaltstack, which it never gets
  uint64_t blocked;       // of SIGBUS and SIGSYS, what it believes to block
  void* exec_copy;        // strings of an exec in flight (also a vfork child's)
  size_t exec_copy_bytes;
  int vfork_depth;
  VforkContext vfork[kVforkDepth];
  char* alternate_stack;
  char* private_stack;
  alignas(64) char sigreturn[kSigreturnBytes];

  bool OnPrivateStack(uint64_t rsp) const {
    const auto base = reinterpret_cast<uint64_t>(private_stack);
    return rsp - base < kPrivateStackBytes;
  }
};

// entry.S: private_top at offset 0, frame at 8.
struct Tls {
  uint64_t private_top;  // where the private stack is free, growing down
  SyscallFrame* frame;   // the program's frame behind the private stack
  ThreadBlock* block;
};

// Memory for a thread; -ENOMEM as nullptr. Nothing is installed yet.
ThreadBlock* NewThreadBlock();
void FreeThreadBlock(ThreadBlock* block);
size_t ThreadBlockBytes();
void* ThreadBlockMapping(ThreadBlock* block);

// Makes `block` this thread's: alternate stack, thread-local pointers.
void AttachThread(ThreadBlock* block);
// The alternate stack of the calling thread, as the kernel must know it.
stack_t AlternateStack(const ThreadBlock& block);
ThreadBlock& ThisThread();

// From now on this thread's system calls outside our section raise SIGSYS.
// Returns 0 or -errno (EINVAL: the kernel has no Syscall User Dispatch).
int ArmDispatch();

}  // namespace uzswap::preload

extern "C" {
extern __thread uzswap::preload::Tls uzswap_tls
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
}

#endif  // UZSWAP_PRELOAD_THREAD_H_
