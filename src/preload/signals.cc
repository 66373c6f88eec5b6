// SPDX-License-Identifier: Apache-2.0
// The table of the program's signal actions and the three handlers that the
// kernel really calls: SIGBUS (a managed page is missing), SIGSYS (a system
// call from an unpatched place), and one wrapper for all handlers of the
// program. Each runs on our alternate stack with every signal blocked that can
// be, so none of them meets another half done.
#include "preload/signals.h"

#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include <cstring>

#include "base/mutex.h"
#include "base/os.h"
#include "preload/arguments.h"
#include "preload/control.h"
#include "preload/report.h"
#include "preload/thread.h"

extern "C" {
__attribute__((visibility("hidden"))) void uzswap_own_restorer();
__attribute__((visibility("hidden"))) void uzswap_program_restorer();
__attribute__((visibility("hidden"))) void uzswap_entry_dispatched();
}

namespace uzswap::preload {

void EnterHandler(int signal, const siginfo_t* info, ucontext_t* context,
                  const KernelAction& action);

namespace {

constexpr uint64_t kSaRestorer = 0x04000000;
constexpr int kUserDispatch = 2;  // SYS_USER_DISPATCH in si_code

constinit LockClass action_class{"signal actions"};
constinit Mutex action_mutex{action_class};
// What the program asked for; meaningful where `set`. Guarded by action_mutex,
// which is only taken with signals blocked.
constinit ProgramAction actions[kSignals + 1] = {};

ProgramAction& ActionOf(int signal) {
  ThreadBlock& block = ThisThread();
  if (block.vfork_depth == 0) return actions[signal];
  ProgramAction& own = block.child_actions[signal];
  if (!own.set) own = actions[signal];
  return own;
}

bool IsFunction(uint64_t handler) {
  return handler != reinterpret_cast<uint64_t>(SIG_DFL) &&
         handler != reinterpret_cast<uint64_t>(SIG_IGN);
}

// The program's action for a signal that is being delivered.
KernelAction Take(int signal) {
  ScopedLock lock(action_mutex);
  KernelAction& kept = ActionOf(signal).action;
  const KernelAction action = kept;
  if (IsFunction(action.handler) && (action.flags & SA_RESETHAND) != 0) {
    kept.handler = reinterpret_cast<uint64_t>(SIG_DFL);
  }
  return action;
}

// What the kernel would have done had we not taken the signal. The faulting
// instruction, or the pending signal, then meets the default action.
void FallBackToDefault(int signal, const siginfo_t& info) {
  const KernelAction action = Take(signal);
  const bool from_user = info.si_code <= 0;
  if (from_user && action.handler == reinterpret_cast<uint64_t>(SIG_IGN)) {
    return;
  }
  PublishReport(UZSWAP_RECORD_LIVE);
  const KernelAction none{};
  (void)RawSigaction(signal, &none, nullptr);
  if (from_user) {
    (void)os::Syscall(SYS_tgkill, os::ProcessId(), os::ThreadId(), signal);
  }
}

void OnProgramSignal(int signal, siginfo_t* info, void* context) {
  if (!DeliverToProgram(signal, info, static_cast<ucontext_t*>(context))) {
    // Only a race with a sigaction to default gets here.
    FallBackToDefault(signal, *info);
  }
}

void OnSigbus(int signal, siginfo_t* info, void* context) {
  constexpr greg_t kWrite = 2;  // of the page fault's error code
  const auto* uc = static_cast<const ucontext_t*>(context);
  const bool write = (uc->uc_mcontext.gregs[REG_ERR] & kWrite) != 0;
  if (info->si_code > 0 && uzswap_handle_fault(info->si_addr, write) == 0) {
    PublishNowAndThen();
    if (ControlIsNew()) TakeControl();
    return;
  }
  if (!DeliverToProgram(signal, info, static_cast<ucontext_t*>(context))) {
    FallBackToDefault(signal, *info);
  }
}

void OnSigsys(int signal, siginfo_t* info, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  greg_t& rip = uc->uc_mcontext.gregs[REG_RIP];
  greg_t& rsp = uc->uc_mcontext.gregs[REG_RSP];
  if (info->si_code != kUserDispatch) {  // a seccomp filter of the program's
    if (!DeliverToProgram(signal, info, uc)) {
      FallBackToDefault(signal, *info);
    }
    return;
  }
  if (uc->uc_mcontext.gregs[REG_RAX] == SYS_rt_sigreturn) {
    rip = reinterpret_cast<greg_t>(&uzswap_program_restorer);
    return;
  }
  rsp -= 128 + 8;
  *reinterpret_cast<greg_t*>(rsp) = rip;
  rip = reinterpret_cast<greg_t>(&uzswap_entry_dispatched);
}

using Handler = void (*)(int, siginfo_t*, void*);

KernelAction Ours(Handler handler, uint64_t flags) {
  return {.handler = reinterpret_cast<uint64_t>(handler),
          .flags = flags | SA_SIGINFO | SA_ONSTACK | kSaRestorer,
          .restorer = reinterpret_cast<uint64_t>(&uzswap_own_restorer),
          .mask = ~kNeverBlocked};
}

// Makes the kernel do what `wanted` needs. SIGBUS and SIGSYS stay ours.
int64_t Install(int signal, const KernelAction& wanted) {
  if (signal == SIGBUS || signal == SIGSYS) return 0;
  if (!IsFunction(wanted.handler)) {
    return RawSigaction(signal, &wanted, nullptr);
  }
  const uint64_t keep =
      wanted.flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESETHAND |
                      0x800 /* SA_EXPOSE_TAGBITS */);
  const KernelAction ours = Ours(&OnProgramSignal, keep);
  return RawSigaction(signal, &ours, nullptr);
}

int64_t Current(int signal, KernelAction* old) {
  {
    ScopedLock lock(action_mutex);
    const ProgramAction& kept = ActionOf(signal);
    if (kept.set) {
      *old = kept.action;
      return 0;
    }
  }
  return RawSigaction(signal, nullptr, old);
}

int64_t Sigaction(const SyscallFrame& frame) {
  const int signal = static_cast<int>(frame.rdi);
  if (frame.r10 != sizeof(uint64_t)) return -EINVAL;
  if (signal < 1 || signal > kSignals) return -EINVAL;
  KernelAction wanted{};
  if (frame.rsi != 0 &&
      SafeRead(frame.rsi, &wanted, sizeof(wanted)) != sizeof(wanted)) {
    return -EFAULT;
  }
  if (frame.rsi != 0 && (signal == SIGKILL || signal == SIGSTOP)) {
    return -EINVAL;
  }
  wanted.mask &= ~(SignalBit(SIGKILL) | SignalBit(SIGSTOP));
  KernelAction old{};
  const uint64_t mask = os::BlockSignals();
  int64_t r = Current(signal, &old);
  if (r == 0 && frame.rsi != 0) {
    // Remembered before it is installed: the wrapper may run at once.
    {
      ScopedLock lock(action_mutex);
      ProgramAction& kept = ActionOf(signal);
      kept.action = wanted;
      kept.set = true;
    }
    r = Install(signal, wanted);
  }
  os::RestoreSignals(mask);
  if (r == 0 && frame.rdx != 0 &&
      SafeWrite(frame.rdx, &old, sizeof(old)) != sizeof(old)) {
    return -EFAULT;
  }
  return r;
}

int64_t Pass(const SyscallFrame& frame) {
  return os::Syscall(
      frame.number(), static_cast<int64_t>(frame.rdi),
      static_cast<int64_t>(frame.rsi), static_cast<int64_t>(frame.rdx),
      static_cast<int64_t>(frame.r10), static_cast<int64_t>(frame.r8),
      static_cast<int64_t>(frame.r9));
}

// Runs the call with the mask that argument `which` points to replaced by a
// copy that lacks SIGBUS and SIGSYS.
int64_t WithMask(const SyscallFrame& frame, int which) {
  SyscallFrame call = frame;
  Pins pins;
  (void)PinArguments(call, pins);
  uint64_t mask = 0;
  uint64_t* slots[6] = {&call.rdi, &call.rsi, &call.rdx,
                        &call.r10, &call.r8,  &call.r9};
  int64_t r = -EFAULT;
  if (*slots[which] == 0) {
    r = Pass(call);
  } else if (SafeRead(*slots[which], &mask, sizeof(mask)) == sizeof(mask)) {
    mask &= ~kNeverBlocked;
    *slots[which] = reinterpret_cast<uint64_t>(&mask);
    r = Pass(call);
  }
  pins.Release();
  return r;
}

// SIGBUS and SIGSYS are never blocked; a program that asks is told what it set.
int64_t Sigprocmask(const SyscallFrame& frame) {
  if (frame.r10 != sizeof(uint64_t)) return -EINVAL;
  ThreadBlock& block = ThisThread();
  const uint64_t believed = block.blocked;
  uint64_t set = 0;
  if (frame.rsi != 0) {
    if (SafeRead(frame.rsi, &set, sizeof(set)) != sizeof(set)) return -EFAULT;
    const uint64_t ours = set & kNeverBlocked;
    if (frame.rdi == SIG_BLOCK) block.blocked |= ours;
    if (frame.rdi == SIG_UNBLOCK) block.blocked &= ~ours;
    if (frame.rdi == SIG_SETMASK) block.blocked = ours;
    set &= ~kNeverBlocked;
  }
  uint64_t old = 0;
  const int64_t r =
      os::Syscall(SYS_rt_sigprocmask, static_cast<int64_t>(frame.rdi),
                  frame.rsi == 0 ? 0 : reinterpret_cast<int64_t>(&set),
                  reinterpret_cast<int64_t>(&old), sizeof(set));
  if (r < 0 || frame.rdx == 0) return r;
  old |= believed;
  return SafeWrite(frame.rdx, &old, sizeof(old)) == sizeof(old) ? 0 : -EFAULT;
}

// pselect6's sixth argument is { const sigset_t*, size_t }.
int64_t Pselect(const SyscallFrame& frame) {
  struct {
    uint64_t set;
    uint64_t bytes;
  } pair{};
  SyscallFrame call = frame;
  uint64_t mask = 0;
  if (frame.r9 != 0) {
    if (SafeRead(frame.r9, &pair, sizeof(pair)) != sizeof(pair)) {
      return -EFAULT;
    }
    if (pair.set != 0) {
      if (SafeRead(pair.set, &mask, sizeof(mask)) != sizeof(mask)) {
        return -EFAULT;
      }
      mask &= ~kNeverBlocked;
      pair.set = reinterpret_cast<uint64_t>(&mask);
    }
    call.r9 = reinterpret_cast<uint64_t>(&pair);
  }
  Pins pins;
  (void)PinArguments(call, pins);
  const int64_t r = Pass(call);
  pins.Release();
  return r;
}

int64_t Sigaltstack(const SyscallFrame& frame) {
  ThreadBlock& block = ThisThread();
  const stack_t current = block.program_stack;
  const uint64_t base = reinterpret_cast<uint64_t>(current.ss_sp);
  const bool enabled = (current.ss_flags & SS_DISABLE) == 0;
  const bool on = enabled && frame.rsp() - base <= current.ss_size;
  if (frame.rdi != 0) {
    stack_t wanted{};
    if (SafeRead(frame.rdi, &wanted, sizeof(wanted)) != sizeof(wanted)) {
      return -EFAULT;
    }
    if (on) return -EPERM;
    const int mode = wanted.ss_flags & ~static_cast<int>(1u << 31);
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) return -EINVAL;
    if (mode == SS_DISABLE) {
      wanted.ss_sp = nullptr;
      wanted.ss_size = 0;
    } else if (wanted.ss_size < 2048) {  // the kernel's MINSIGSTKSZ
      return -ENOMEM;
    }
    wanted.ss_flags = mode == SS_DISABLE ? SS_DISABLE : 0;
    block.program_stack = wanted;
  }
  if (frame.rsi != 0) {
    stack_t old = current;
    if (on) old.ss_flags |= SS_ONSTACK;
    if (SafeWrite(frame.rsi, &old, sizeof(old)) != sizeof(old)) {
      return -EFAULT;
    }
  }
  return 0;
}

}  // namespace

int64_t RawSigaction(int signal, const KernelAction* action,
                     KernelAction* old) {
  return os::Syscall(SYS_rt_sigaction, signal,
                     reinterpret_cast<int64_t>(action),
                     reinterpret_cast<int64_t>(old), sizeof(uint64_t));
}

int InstallHandlers() {
  const struct {
    int signal;
    Handler handler;
  } ours[] = {{SIGBUS, &OnSigbus}, {SIGSYS, &OnSigsys}};
  for (const auto& [signal, handler] : ours) {
    KernelAction old{};
    const KernelAction action = Ours(handler, 0);
    const int64_t r = RawSigaction(signal, &action, &old);
    if (r < 0) return static_cast<int>(r);
    actions[signal].action = old;
    actions[signal].set = true;
  }
  // A parent may have left them blocked; a forced signal would then kill.
  const uint64_t mask = kNeverBlocked;
  return static_cast<int>(os::Syscall(SYS_rt_sigprocmask, SIG_UNBLOCK,
                                      reinterpret_cast<int64_t>(&mask), 0,
                                      sizeof(mask)));
}

bool DeliverToProgram(int signal, const siginfo_t* info, ucontext_t* context) {
  const KernelAction action = Take(signal);
  if (!IsFunction(action.handler)) return false;
  EnterHandler(signal, info, context, action);
  return true;
}

void ResetSignalsInChild() { action_mutex.ResetInChild(); }

bool SignalCall(const SyscallFrame& frame, int64_t* result) {
  switch (frame.number()) {
    case SYS_rt_sigaction:
      *result = Sigaction(frame);
      return true;
    case SYS_rt_sigprocmask:
      *result = Sigprocmask(frame);
      return true;
    case SYS_rt_sigsuspend:
      *result = WithMask(frame, 0);
      return true;
    case SYS_ppoll:
      *result = WithMask(frame, 3);
      return true;
    case SYS_epoll_pwait:
      *result = WithMask(frame, 4);
      return true;
    case SYS_epoll_pwait2:
      *result = WithMask(frame, 4);
      return true;
    case SYS_pselect6:
      *result = Pselect(frame);
      return true;
    case SYS_sigaltstack:
      *result = Sigaltstack(frame);
      return true;
    default:
      return false;
  }
}

}  // namespace uzswap::preload
