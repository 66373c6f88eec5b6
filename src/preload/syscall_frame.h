// SPDX-License-Identifier: Apache-2.0
// The program's general registers at one of its system calls. entry.S knows
// this layout; keep both in step (static_asserts below name the offsets).
#ifndef UZSWAP_PRELOAD_SYSCALL_FRAME_H_
#define UZSWAP_PRELOAD_SYSCALL_FRAME_H_

#include <cstddef>
#include <cstdint>

namespace uzswap::preload {

struct SyscallFrame {
  uint64_t r15, r14, r13, r12, rbp, rbx;
  uint64_t r10, r9, r8, rdi, rsi, rdx;
  uint64_t rax;     // number in, result out
  uint64_t origin;  // 0: patched site, 1: dispatched (SIGSYS)
  uint64_t resume;  // where our code continues (stub or program)
  uint64_t rip;     // the program's instruction after `syscall`

  int64_t number() const { return static_cast<int64_t>(rax); }
  uint64_t argument(int i) const {
    const uint64_t all[6] = {rdi, rsi, rdx, r10, r8, r9};
    return all[i];
  }
  void set_result(int64_t result) { rax = static_cast<uint64_t>(result); }
  // The program's stack pointer at the call: the frame lies below its red zone.
  uint64_t rsp() const {
    return reinterpret_cast<uint64_t>(this) + sizeof(*this) + 128;
  }
};
static_assert(sizeof(SyscallFrame) == 128);
static_assert(offsetof(SyscallFrame, rax) == 96);
static_assert(offsetof(SyscallFrame, rip) == 120);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_SYSCALL_FRAME_H_
