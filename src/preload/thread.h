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

// As the kernel's struct sigaction for rt_sigaction.
struct KernelAction {
  uint64_t handler;
  uint64_t flags;
  uint64_t restorer;
  uint64_t mask;
};

// What the program asked for, for one signal; meaningful where `set`.
struct ProgramAction {
  bool set;
  KernelAction action;
};
inline constexpr int kSignals = 64;

// entry.S reads a copy of the frame at offset 0 and the mask at 136.
struct VforkContext {
  SyscallFrame frame;
  SyscallFrame* place;  // where the frame was on the program's stack
  uint64_t signal_mask;
  uint64_t private_top;
  SyscallFrame* outer_frame;
};
static_assert(offsetof(VforkContext, signal_mask) == 136);

inline constexpr size_t kAlternateStackBytes = 128 * 1024;
inline constexpr size_t kPrivateStackBytes = 256 * 1024;
inline constexpr size_t kSigreturnBytes = 24 * 1024;  // AMX state is 8 KiB
inline constexpr int kVforkDepth = 4;

struct ThreadBlock {
  stack_t program_stack;  // the program's sigaltstack, which it never gets
  uint64_t blocked;       // of SIGBUS and SIGSYS, what it believes to block
  void* exec_copy;        // strings of an exec in flight (also a vfork child's)
  size_t exec_copy_bytes;
  // Above 0 this memory is lent to a vfork child: its sigactions are its own
  // (in the kernel too) and must not become the parent's.
  int vfork_depth;
  ProgramAction child_actions[kSignals + 1];
  uint64_t robust_list;  // head, as the kernel was told
  // Of a thread that starts on a managed stack, until it can fault by itself.
  uint64_t start_stack;
  uint64_t start_stack_bytes;
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
