// SPDX-License-Identifier: Apache-2.0
#include "preload/thread.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/os.h"

__thread uzswap::preload::Tls uzswap_tls;

namespace uzswap::preload {
namespace {

constexpr size_t kBlockBytes =
    PageCeil(sizeof(ThreadBlock)) + kAlternateStackBytes + kPrivateStackBytes;

constexpr int kSetSyscallUserDispatch = 59;  // PR_SET_SYSCALL_USER_DISPATCH
constexpr int kDispatchOn = 1;

}  // namespace

size_t ThreadBlockBytes() { return kBlockBytes; }

void* ThreadBlockMapping(ThreadBlock* block) { return block; }

ThreadBlock* NewThreadBlock() {
  const Result<void*> mapped = os::Map(kBlockBytes, /*sparse=*/true);
  if (!mapped.ok()) return nullptr;
  auto* block = static_cast<ThreadBlock*>(mapped.value());
  char* after =
      static_cast<char*>(mapped.value()) + PageCeil(sizeof(ThreadBlock));
  // The alternate stack comes last: what would overflow it hits the private
  // stack first, and the block's own fields only after both.
  block->private_stack = after;
  block->alternate_stack = after + kPrivateStackBytes;
  block->program_stack.ss_flags = SS_DISABLE;
  return block;
}

void FreeThreadBlock(ThreadBlock* block) {
  CHECK(os::Unmap(block, kBlockBytes).ok());
}

stack_t AlternateStack(const ThreadBlock& block) {
  return {.ss_sp = block.alternate_stack,
          .ss_flags = 0,
          .ss_size = kAlternateStackBytes};
}

void AttachThread(ThreadBlock* block) {
  uzswap_tls.block = block;
  uzswap_tls.private_top =
      reinterpret_cast<uint64_t>(block->private_stack) + kPrivateStackBytes;
  const stack_t stack = AlternateStack(*block);
  const int64_t r =
      os::Syscall(SYS_sigaltstack, reinterpret_cast<int64_t>(&stack), 0);
  CHECK(r == 0);
}

ThreadBlock& ThisThread() { return *uzswap_tls.block; }

int ArmDispatch() {
  const auto begin = reinterpret_cast<int64_t>(__start_uzswap_syscall_text);
  const auto end = reinterpret_cast<int64_t>(__stop_uzswap_syscall_text);
  return static_cast<int>(os::Syscall(SYS_prctl, kSetSyscallUserDispatch,
                                      kDispatchOn, begin, end - begin, 0));
}

}  // namespace uzswap::preload
