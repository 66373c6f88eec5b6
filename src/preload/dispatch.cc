// SPDX-License-Identifier: Apache-2.0
// Every system call of the program passes here.
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include "base/os.h"
#include "preload/arguments.h"
#include "preload/control.h"
#include "preload/handlers.h"
#include "preload/processes.h"
#include "preload/report.h"
#include "preload/signals.h"
#include "preload/syscall_frame.h"
#include "preload/thread.h"
#include "preload/vectors.h"

extern "C" {
__attribute__((visibility("hidden"))) void uzswap_dispatch(
    uzswap::preload::SyscallFrame* frame);
__attribute__((visibility("hidden"))) int uzswap_stack_is_managed(
    const void* frame);
}

namespace uzswap::preload {
namespace {

constexpr int kSetSyscallUserDispatch = 59;

int64_t Raw(const SyscallFrame& call) {
  return os::Syscall(
      call.number(), static_cast<int64_t>(call.rdi),
      static_cast<int64_t>(call.rsi), static_cast<int64_t>(call.rdx),
      static_cast<int64_t>(call.r10), static_cast<int64_t>(call.r8),
      static_cast<int64_t>(call.r9));
}

// Any call that only reads and writes memory: pin, do, unpin.
int64_t Ordinary(const SyscallFrame& frame) {
  SyscallFrame call = frame;
  Pins pins;
  const bool listed = PinArguments(call, pins);
  int64_t r = Raw(call);
  if (!listed) {
    CountUnlisted();
    if (r == -EFAULT) {
      PinMore(call, pins);
      r = Raw(call);
    }
  }
  r = FinishTransfer(frame, call, r, pins);
  pins.Release();
  return r;
}

// Words the kernel writes or reads at moments of its own choosing stay pinned
// for the life of the thread.
int64_t Lasting(const SyscallFrame& frame, uint64_t bytes) {
  if (frame.number() == SYS_set_robust_list) {
    ThisThread().robust_list = frame.rdi;
  }
  if (frame.rdi != 0) {
    (void)uzswap_pin_saving_vectors(reinterpret_cast<void*>(frame.rdi), bytes);
  }
  return Ordinary(frame);
}

// The kernel refuses some calls to a process with threads, and a filter of the
// program's may kill it for making one: ours is not to be noticed.
int64_t WithoutOurThread(const SyscallFrame& frame, bool for_ever) {
  // In a vfork child it is another process's.
  if (!OwnsReport()) return Ordinary(frame);
  FinishWorkSavingVectors(for_ever);
  const int64_t r = Ordinary(frame);
  if (!for_ever) uzswap_allow_threads();
  return r;
}

int64_t Prctl(const SyscallFrame& frame) {
  // Two masters cannot dispatch one thread's calls.
  if (frame.rdi == kSetSyscallUserDispatch) return -EINVAL;
  switch (frame.rdi) {
    case PR_SET_SECCOMP:
      return WithoutOurThread(frame, /*for_ever=*/true);
    case PR_CAPBSET_DROP:
    case PR_SET_SECUREBITS:
    case PR_SET_NO_NEW_PRIVS:
      return WithoutOurThread(frame, /*for_ever=*/false);
    default:
      return Ordinary(frame);
  }
}

bool Special(SyscallFrame& frame, int64_t* result) {
  switch (frame.number()) {
    case SYS_futex:
      return false;  // the most frequent ones do not look far
    case SYS_read:
    case SYS_write:
      return DescriptorCall(frame, result);
    case SYS_prctl:
      *result = Prctl(frame);
      return true;
    case SYS_seccomp:
      if (frame.rdi > SECCOMP_SET_MODE_FILTER) return false;  // a question
      *result = WithoutOurThread(frame, /*for_ever=*/true);
      return true;
    case SYS_unshare:
    case SYS_setns:
    // Credentials are a thread's: ours would keep those of before.
    case SYS_setuid:
    case SYS_setgid:
    case SYS_setreuid:
    case SYS_setregid:
    case SYS_setresuid:
    case SYS_setresgid:
    case SYS_setgroups:
    case SYS_setfsuid:
    case SYS_setfsgid:
    case SYS_capset:
    case SYS_landlock_restrict_self:
      *result = WithoutOurThread(frame, /*for_ever=*/false);
      return true;
    case SYS_set_tid_address:
      *result = Lasting(frame, sizeof(int));
      return true;
    case SYS_set_robust_list:
      *result = Lasting(frame, 24);
      return true;
    case SYS_rseq:
      *result = Lasting(frame, frame.rsi);
      return true;
    default:
      return MemoryCall(frame, result) || DescriptorCall(frame, result) ||
             SignalCall(frame, result) || ProcessCall(frame, result);
  }
}

}  // namespace
}  // namespace uzswap::preload

void uzswap_dispatch(uzswap::preload::SyscallFrame* frame) {
  using namespace uzswap::preload;
  CountCall(frame->origin != 0);
  if (ControlIsNew()) TakeControlSavingVectors();
  int64_t result = 0;
  if (!Special(*frame, &result)) result = Ordinary(*frame);
  frame->set_result(result);
  if (ControlIsNew()) TakeControlSavingVectors();  // it may have slept
}

int uzswap_stack_is_managed(const void* frame) {
  // What lies below is what we are about to use.
  constexpr size_t kReach = 16 * 1024;
  // An alternate stack may be as small as 2 KiB: it is the program's alone.
  const stack_t& stack = uzswap::preload::ThisThread().program_stack;
  if ((stack.ss_flags & SS_DISABLE) == 0 &&
      reinterpret_cast<uintptr_t>(frame) -
              reinterpret_cast<uintptr_t>(stack.ss_sp) <
          stack.ss_size) {
    return 1;
  }
  return uzswap_is_managed(static_cast<const char*>(frame) - kReach, kReach);
}
