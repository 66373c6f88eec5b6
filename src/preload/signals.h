// SPDX-License-Identifier: Apache-2.0
// The program's signals, virtual where ours stand in their way: its handlers
// are entered through ours, its alternate stack is only remembered, and SIGBUS
// and SIGSYS are in no mask it sets.
#ifndef UZSWAP_PRELOAD_SIGNALS_H_
#define UZSWAP_PRELOAD_SIGNALS_H_

#include <signal.h>
#include <ucontext.h>

#include <cstdint>

#include "preload/syscall_frame.h"
#include "preload/thread.h"

namespace uzswap::preload {

constexpr uint64_t SignalBit(int signal) { return uint64_t{1} << (signal - 1); }
inline constexpr uint64_t kNeverBlocked = SignalBit(SIGBUS) | SignalBit(SIGSYS);

// Installs our SIGBUS and SIGSYS handlers. 0 or -errno.
int InstallHandlers();

// rt_sigaction rt_sigprocmask rt_sigsuspend sigaltstack and the calls that take
// a mask for their duration. True: *result is set.
bool SignalCall(const SyscallFrame& frame, int64_t* result);

// Continues the interrupted thread in the program's handler for `signal`, on
// the stack the program would have had, when our handler returns. False: the
// program has no handler (default or ignored).
bool DeliverToProgram(int signal, const siginfo_t* info, ucontext_t* context);

// In the child of a fork: nobody else can be holding the table.
void ResetSignalsInChild();

int64_t RawSigaction(int signal, const KernelAction* action, KernelAction* old);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_SIGNALS_H_
