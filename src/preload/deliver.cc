// SPDX-License-Identifier: Apache-2.0
// Signal frames by hand. The kernel has delivered the signal to our alternate
// stack, because the program's own stack may be evicted and the kernel cannot
// push a frame there. Here the frame is rebuilt where the program expects it
// (user-mode writes may fault), and the kernel's frame is changed so that
// returning from our handler enters the program's. The way back is
// uzswap_program_restorer in entry.S.
#include <ucontext.h>

#include <cstring>

#include "base/os.h"
#include "preload/signals.h"
#include "preload/thread.h"

extern "C" {
__attribute__((visibility("hidden"))) void uzswap_program_restorer();
__attribute__((visibility("hidden"))) void* uzswap_prepare_sigreturn(
    void* context);
}

namespace uzswap::preload {
namespace {

// The kernel's ucontext: glibc's is longer, but the kernel writes only this.
constexpr size_t kContextBytes = 8 + 8 + sizeof(stack_t) + 256 + 8;
static_assert(offsetof(ucontext_t, uc_sigmask) == kContextBytes - 8);

// struct _fpx_sw_bytes in the legacy area's spare words says how long it is.
constexpr size_t kLegacyBytes = 512;
constexpr size_t kSwBytesOffset = 464;
constexpr uint32_t kExtendedMagic = 0x46505853;
constexpr uint64_t kDirectionFlag = 0x400, kTrapFlag = 0x100;

size_t VectorStateBytes(const void* state) {
  if (state == nullptr) return 0;
  uint32_t words[2];
  memcpy(words, static_cast<const char*>(state) + kSwBytesOffset,
         sizeof(words));
  return words[0] == kExtendedMagic ? words[1] : kLegacyBytes;
}

void* VectorState(const ucontext_t& context) {
  return context.uc_mcontext.fpregs;
}

uint64_t Get(const ucontext_t& context, int which) {
  return static_cast<uint64_t>(context.uc_mcontext.gregs[which]);
}

void Set(ucontext_t& context, int which, uint64_t value) {
  context.uc_mcontext.gregs[which] = static_cast<greg_t>(value);
}

template <typename T>
uint64_t Address(T* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

bool Within(const stack_t& stack, uint64_t rsp) {
  return (stack.ss_flags & SS_DISABLE) == 0 &&
         rsp - reinterpret_cast<uint64_t>(stack.ss_sp) < stack.ss_size;
}

// The stack pointer of the program at the moment of the signal.
uint64_t ProgramStack(const ThreadBlock& block, ucontext_t& context) {
  const uint64_t rsp = Get(context, REG_RSP);
  if (!block.OnPrivateStack(rsp)) return rsp;
  // Inside one of our system calls: calls the handler makes must not use the
  // part of the private stack that is in use. entry.S puts the value back.
  // So deep on it stand only calls that were left by longjmp.
  constexpr uint64_t kTooDeep = kPrivateStackBytes / 4;
  const auto base = reinterpret_cast<uint64_t>(block.private_stack);
  uzswap_tls.private_top =
      rsp - 256 - base < kTooDeep ? base + kPrivateStackBytes : rsp - 256;
  return reinterpret_cast<uint64_t>(uzswap_tls.frame);
}

uint64_t Choose(const ThreadBlock& block, const KernelAction& action,
                ucontext_t& context) {
  const uint64_t rsp = ProgramStack(block, context);
  const stack_t& own = block.program_stack;
  const bool wants =
      (action.flags & SA_ONSTACK) != 0 && (own.ss_flags & SS_DISABLE) == 0;
  if (wants && !Within(own, rsp)) {
    return reinterpret_cast<uint64_t>(own.ss_sp) + own.ss_size;
  }
  return rsp - 128;
}

}  // namespace

void EnterHandler(int signal, const siginfo_t* info, ucontext_t* context,
                  const KernelAction& action) {
  ThreadBlock& block = ThisThread();
  uint64_t at = Choose(block, action, *context);
  const size_t vector_bytes = VectorStateBytes(VectorState(*context));
  at = (at - vector_bytes) & ~uint64_t{63};
  const uint64_t vectors = at;
  memcpy(reinterpret_cast<void*>(vectors), VectorState(*context), vector_bytes);

  // struct rt_sigframe { restorer; ucontext; siginfo }, so that at the
  // handler's first instruction rsp + 8 is a multiple of 16.
  at -= 8 + kContextBytes + sizeof(siginfo_t);
  at = (at & ~uint64_t{15}) - 8;
  auto* frame = reinterpret_cast<uint64_t*>(at);
  auto* copy = reinterpret_cast<ucontext_t*>(at + 8);
  auto* info_copy = reinterpret_cast<siginfo_t*>(at + 8 + kContextBytes);
  frame[0] = reinterpret_cast<uint64_t>(&uzswap_program_restorer);
  memcpy(copy, context, kContextBytes);
  memcpy(info_copy, info, sizeof(*info));
  copy->uc_stack = block.program_stack;
  uint64_t mask;
  memcpy(&mask, &context->uc_sigmask, sizeof(mask));
  const uint64_t seen = mask | block.blocked;
  memcpy(&copy->uc_sigmask, &seen, sizeof(seen));
  copy->uc_mcontext.fpregs =
      vector_bytes == 0 ? nullptr : reinterpret_cast<fpregset_t>(vectors);

  Set(*context, REG_RIP, action.handler);
  Set(*context, REG_RSP, at);
  Set(*context, REG_RDI, static_cast<uint64_t>(signal));
  Set(*context, REG_RSI, Address(info_copy));
  Set(*context, REG_RDX, Address(copy));
  Set(*context, REG_RAX, 0);
  Set(*context, REG_EFL,
      Get(*context, REG_EFL) & ~(kDirectionFlag | kTrapFlag));

  mask |= action.mask;
  if ((action.flags & SA_NODEFER) == 0) mask |= SignalBit(signal);
  block.blocked |= mask & kNeverBlocked;
  mask &= ~kNeverBlocked;
  memcpy(&context->uc_sigmask, &mask, sizeof(mask));
}

}  // namespace uzswap::preload

// The program's handler has returned: its frame, which it may have changed, is
// copied to where the kernel can read it. Signals are blocked.
void* uzswap_prepare_sigreturn(void* context) {
  using namespace uzswap::preload;
  ThreadBlock& block = ThisThread();
  const auto* from = static_cast<const ucontext_t*>(context);
  const void* state = from->uc_mcontext.fpregs;
  const size_t bytes = VectorStateBytes(state);
  char* area = block.sigreturn;
  CHECK(bytes + kContextBytes + 64 <= kSigreturnBytes);
  memcpy(area, state, bytes);
  auto* to = reinterpret_cast<ucontext_t*>(area + ((bytes + 63) & ~size_t{63}));
  memcpy(to, from, kContextBytes);
  to->uc_mcontext.fpregs =
      bytes == 0 ? nullptr : reinterpret_cast<fpregset_t>(area);
  to->uc_stack = AlternateStack(block);
  uint64_t mask;
  memcpy(&mask, &to->uc_sigmask, sizeof(mask));
  block.blocked = mask & kNeverBlocked;
  mask &= ~kNeverBlocked;
  memcpy(&to->uc_sigmask, &mask, sizeof(mask));
  return to;
}
