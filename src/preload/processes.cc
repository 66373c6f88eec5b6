// SPDX-License-Identifier: Apache-2.0
// clone in its four shapes. A thread (or a posix_spawn child) starts on another
// stack: its frame is put there and entry.S continues from it. A fork copies
// memory: the engine is locked around the raw call, and the child cuts itself
// loose before it returns to the program. vfork shares memory AND stack: parent
// and child both resume from a copy of the frame in unmanaged memory. clone3
// answers ENOSYS, as the default container profiles do; libc then uses clone.
#include "preload/processes.h"

#include <linux/sched.h>
#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include <cstring>

#include "base/os.h"
#include "preload/arguments.h"
#include "preload/chaos.h"
#include "preload/control.h"
#include "preload/handlers.h"
#include "preload/report.h"
#include "preload/signals.h"
#include "preload/thread.h"
#include "preload/vectors.h"

namespace uzswap::preload {
namespace {

// entry.S reads the first five.
struct CloneStart {
  uint64_t flags;
  SyscallFrame* frame;  // on the new stack
  uint64_t parent_tid;
  uint64_t child_tid;
  uint64_t tls;
  ThreadBlock* block;  // nullptr: keeps the caller's (vfork, fork)
  uint64_t signal_mask;
  bool forked;
};

}  // namespace
}  // namespace uzswap::preload

extern "C" {
#define UZSWAP_HIDDEN __attribute__((visibility("hidden")))
UZSWAP_HIDDEN int64_t uzswap_clone_onto(uzswap::preload::CloneStart* start);
[[noreturn]] UZSWAP_HIDDEN void uzswap_vfork(
    uzswap::preload::VforkContext* context);
[[noreturn]] UZSWAP_HIDDEN void uzswap_unmap_and_exit(void* block, size_t bytes,
                                                      int code);
UZSWAP_HIDDEN void uzswap_thread_start(uzswap::preload::CloneStart* start);
UZSWAP_HIDDEN void* uzswap_vfork_return(uzswap::preload::VforkContext* context,
                                        int64_t result);
}

namespace uzswap::preload {
namespace {

bool StartsThread(uint64_t flags) {
  return (flags & CLONE_VM) != 0 && (flags & CLONE_VFORK) == 0;
}

// Memory the kernel writes behind our back for as long as the thread lives:
// its id words and what glibc keeps beside them, when the caller put them into
// memory that is managed.
void PinForLife(uint64_t address, uint64_t bytes) {
  if (address != 0) {
    (void)uzswap_pin_saving_vectors(reinterpret_cast<void*>(address), bytes);
  }
}

constexpr uint64_t kThreadBytes = 4096;  // struct pthread: ids, rseq, robust
constexpr uint64_t kFirstStack = 32 * 1024;

void PinNewThread(const SyscallFrame& frame, ThreadBlock* block) {
  PinForLife(frame.rdx, sizeof(int));
  PinForLife(frame.r10, sizeof(int));
  if ((frame.rdi & CLONE_SETTLS) != 0) PinForLife(frame.r8, kThreadBytes);
  block->start_stack = frame.rsi - kFirstStack;
  block->start_stack_bytes = kFirstStack;
  PinForLife(block->start_stack, kFirstStack);
}

// Where the kernel puts a child's id, or its descriptor.
void PinWords(const SyscallFrame& frame) {
  PinForLife(frame.r10, sizeof(int));
  if ((frame.rdi & (CLONE_PARENT_SETTID | CLONE_PIDFD)) != 0) {
    PinForLife(frame.rdx, sizeof(int));
  }
}

// What the kernel writes to for this thread; the pins of it were the parent's.
void PinThreadInChild() {
  uint64_t thread = 0;
  asm("mov %%fs:0, %0" : "=r"(thread));
  PinForLife(thread, kThreadBytes);
  PinForLife(ThisThread().robust_list, 24);
}

// A robust mutex that the kernel is to find when it walks the list of an
// exiting thread must be resident. 2048 entries is the kernel's limit.
void PinRobustList(uint64_t head) {
  struct {
    uint64_t next;
    int64_t futex_offset;
    uint64_t pending;
  } list{};
  if (head == 0 || SafeRead(head, &list, sizeof(list)) != sizeof(list)) return;
  const auto pin = [&](uint64_t entry) {
    if (entry == 0) return;
    PinForLife(entry, sizeof(entry));
    PinForLife(entry + static_cast<uint64_t>(list.futex_offset), sizeof(int));
  };
  pin(list.pending & ~uint64_t{1});
  uint64_t entry = list.next & ~uint64_t{1};
  for (int i = 0; i < 2048 && entry != head && entry != 0; ++i) {
    pin(entry);
    uint64_t next = 0;
    if (SafeRead(entry, &next, sizeof(next)) != sizeof(next)) return;
    entry = next & ~uint64_t{1};
  }
}

// A child is about to run on our memory. False: too deep.
bool Lend(ThreadBlock& block) {
  if (block.vfork_depth == kVforkDepth) return false;
  if (block.vfork_depth++ == 0) {
    memset(block.child_actions, 0, sizeof(block.child_actions));
  }
  return true;
}

void CutLooseInChild() {
  ResetSignalsInChild();
  const int r = ChildAfterForkSavingVectors();
  if (r != 0) {
    Line line;
    line << "a forked process could not get its own userfaultfd (error " << -r
         << "); it cannot continue without reading wrong data";
    Log(line);
    os::Exit(125);
  }
  PinThreadInChild();
  RefreshDescriptorsInChild();
  ForkReport();
  ForkControl();
  StartChaos();
}

// clone onto another stack.
int64_t CloneOnto(const SyscallFrame& frame) {
  const uint64_t flags = frame.rdi;
  CloneStart local{};
  CloneStart* start = &local;
  ThreadBlock* block = nullptr;
  if (StartsThread(flags)) {
    block = NewThreadBlock();
    if (block == nullptr) return -EAGAIN;
    block->blocked = ThisThread().blocked;
    // The parent's stack may be gone when the child looks at it.
    start = reinterpret_cast<CloneStart*>(block->sigreturn);
    PinNewThread(frame, block);
  } else if ((flags & CLONE_VM) == 0) {
    PinWords(frame);
    // The child writes to its stack before it can bring a page back.
    PinForLife(frame.rsi - kFirstStack, kFirstStack);
  } else if (!Lend(ThisThread())) {
    return -EAGAIN;
  }
  auto* child =
      reinterpret_cast<SyscallFrame*>(frame.rsi - 128 - sizeof(SyscallFrame));
  *start = {.flags = flags,
            .frame = child,
            .parent_tid = frame.rdx,
            .child_tid = frame.r10,
            .tls = frame.r8,
            .block = block,
            .signal_mask = os::BlockSignals(),
            .forked = (flags & CLONE_VM) == 0};
  const uint64_t mask = start->signal_mask;
  const bool forked = start->forked;
  *child = frame;
  child->set_result(0);
  if (forked) PrepareForkSavingVectors();
  const int64_t r = uzswap_clone_onto(start);
  if (forked) uzswap_parent_after_fork();
  if (!forked && block == nullptr) {
    --ThisThread().vfork_depth;
    FreeExecCopy(ThisThread());
  }
  if (r < 0 && block != nullptr) FreeThreadBlock(block);
  os::RestoreSignals(mask);
  return r;
}

// A child with a copy of the memory, on the same stack. Once the fork is
// prepared a fault would wait for ever, and the frame may be on a stack that is
// managed: it is not looked at until both are on their own.
int64_t Fork(const SyscallFrame& frame) {
  const uint64_t mask = os::BlockSignals();
  const SyscallFrame call = frame;
  PrepareForkSavingVectors();
  const int64_t r = os::Syscall(call.number(), static_cast<int64_t>(call.rdi),
                                0, static_cast<int64_t>(call.rdx),
                                static_cast<int64_t>(call.r10),
                                static_cast<int64_t>(call.r8));
  if (r == 0) {
    const int armed = ArmDispatch();
    CHECK(armed == 0);
    CutLooseInChild();
  } else {
    uzswap_parent_after_fork();
  }
  os::RestoreSignals(mask);
  return r;
}

int64_t Vfork(const SyscallFrame& frame) {
  ThreadBlock& block = ThisThread();
  if (!Lend(block)) return -EAGAIN;
  VforkContext& context = block.vfork[block.vfork_depth - 1];
  context = {.frame = frame,
             .place = const_cast<SyscallFrame*>(&frame),
             .signal_mask = os::BlockSignals(),
             .private_top = uzswap_tls.private_top,
             .outer_frame = uzswap_tls.frame};
  uzswap_vfork(&context);
}

int64_t Clone(const SyscallFrame& frame) {
  const uint64_t flags = frame.rdi;
  if (frame.rsi != 0) return CloneOnto(frame);
  if ((flags & CLONE_VM) == 0) {
    PinWords(frame);
    return Fork(frame);
  }
  if ((flags & CLONE_VFORK) != 0) return Vfork(frame);
  return -EINVAL;  // two threads on one stack
}

[[noreturn]] void ExitThread(int code) {
  PinRobustList(ThisThread().robust_list);
  (void)os::BlockSignals();
  ThreadBlock* block = uzswap_tls.block;
  const stack_t off{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  (void)os::Syscall(SYS_sigaltstack, reinterpret_cast<int64_t>(&off), 0);
  uzswap_thread_ends();
  if (os::ThreadId() == os::ProcessId()) {
    // The main thread's exit alone: the process goes on, and so does its block
    // (there is one; the report is still to be written by whoever exits last).
    PublishReport(UZSWAP_RECORD_LIVE);
    for (;;) (void)os::Syscall(SYS_exit, code);
  }
  uzswap_unmap_and_exit(block, ThreadBlockBytes(), code);
}

}  // namespace

bool ProcessCall(SyscallFrame& frame, int64_t* result) {
  switch (frame.number()) {
    case SYS_clone:
      *result = Clone(frame);
      return true;
    case SYS_clone3:
      *result = -ENOSYS;
      return true;
    case SYS_fork:
      frame.rdi = 0;
      *result = Fork(frame);
      return true;
    case SYS_vfork:
      *result = Vfork(frame);
      return true;
    case SYS_execve:
    case SYS_execveat:
      *result = Exec(frame);
      return true;
    case SYS_exit:
      ExitThread(static_cast<int>(frame.rdi));
    case SYS_exit_group:
      if (OwnsReport()) {
        PublishReport(UZSWAP_RECORD_ENDED);
        uzswap_end_in_tree();
      }
      os::Exit(static_cast<int>(frame.rdi));
    default:
      return false;
  }
}

}  // namespace uzswap::preload

// The first thing a child on a new stack does.
void uzswap_thread_start(uzswap::preload::CloneStart* start) {
  using namespace uzswap::preload;
  if (start->block != nullptr) {
    if ((start->flags & CLONE_SETTLS) != 0) {
      AttachThread(start->block);
    } else {
      // It shares the caller's thread-locals, so only the stack is its own.
      const stack_t stack = AlternateStack(*start->block);
      (void)uzswap::os::Syscall(SYS_sigaltstack,
                                reinterpret_cast<int64_t>(&stack), 0);
    }
  }
  const int armed = ArmDispatch();
  CHECK(armed == 0);
  if (start->block != nullptr) {
    uzswap_unpin(reinterpret_cast<void*>(start->block->start_stack),
                 start->block->start_stack_bytes);
  }
  if (start->forked) CutLooseInChild();
  const uint64_t mask = start->signal_mask;
  uzswap::os::RestoreSignals(mask);
}

// Runs in the child, and later in the parent, on the private stack.
void* uzswap_vfork_return(uzswap::preload::VforkContext* context,
                          int64_t result) {
  using namespace uzswap::preload;
  ThreadBlock& block = ThisThread();
  if (result == 0) {
    const int armed = ArmDispatch();
    CHECK(armed == 0);
  } else {
    block.vfork_depth = static_cast<int>(context - block.vfork);
    FreeExecCopy(block);
  }
  uzswap_tls.private_top = context->private_top;
  uzswap_tls.frame = context->outer_frame;
  context->frame.set_result(result);
  *context->place = context->frame;
  return context->place;
}
