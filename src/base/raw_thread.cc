// SPDX-License-Identifier: Apache-2.0
// Layout of the memory, from below: guard page, stack, thread-local area, one
// page at the thread pointer (the C library's header of a thread: its own
// address at 0 and 16, zero elsewhere).
#include "base/raw_thread.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/os.h"
#include "base/page.h"
#include "base/thread_table.h"

// Calls entry(argument) on the new thread; entry must not return. Both stand on
// the new stack, at the address given. Returns as the system call does.
extern "C" __attribute__((visibility("hidden"))) long uzswap_raw_clone(
    unsigned long flags, void* stack, void* parent_tid, void* child_tid,
    void* tls);

namespace uzswap {
namespace {

constexpr size_t kBytes =
    kPageSize + RawThread::kStackBytes + RawThread::kTlsBytes + kPageSize;
constexpr size_t kThreadPointer = kBytes - kPageSize;
static_assert(RawThread::kStackBytes % kPageSize == 0);
static_assert(RawThread::kTlsBytes % kPageSize == 0);

constexpr unsigned long kFlags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
    CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;

// At the top of the new stack.
struct alignas(16) Begin {
  void (*main)(Begin* begin);  // popped by uzswap_raw_clone
  Begin* self;                 // popped by uzswap_raw_clone
  RawThread::Entry entry;
  void* argument;
};

void Main(Begin* begin) {
  // SIGBUS and SIGSYS too: the program's handlers must never run here.
  const uint64_t all = ~uint64_t{0};
  (void)os::Syscall(SYS_rt_sigprocmask, SIG_BLOCK,
                    reinterpret_cast<int64_t>(&all), 0, sizeof(all));
  (void)os::Syscall(SYS_prctl, PR_SET_NAME,
                    reinterpret_cast<int64_t>("uzswap-worker"));
  begin->entry(begin->argument);
  thread_table::Leave();
  for (;;) (void)os::Syscall(SYS_exit, 0);
}

}  // namespace

Status RawThread::MapOnce() {
  if (memory_ != nullptr) return kOk;
  const Result<void*> r = os::Map(kBytes);
  if (!r.ok()) return r.status();
  const Status guarded = Status::FromReturn(
      os::Syscall(SYS_mprotect, reinterpret_cast<int64_t>(r.value()), kPageSize,
                  PROT_NONE));
  if (!guarded.ok()) {
    os::Unmap(r.value(), kBytes).Ignore();  // the first error is reported
    return guarded;
  }
  memory_ = static_cast<char*>(r.value());
  return kOk;
}

Status RawThread::Start(Entry entry, void* argument) {
  AwaitMemory();
  UZSWAP_RETURN_IF_ERROR(MapOnce());
  // The thread before left its thread-locals; these must be zero again.
  UZSWAP_RETURN_IF_ERROR(os::Drop(memory_ + kPageSize, kBytes - kPageSize));
  char* const thread_pointer = memory_ + kThreadPointer;
  void* const header = thread_pointer;
  *reinterpret_cast<void**>(thread_pointer) = header;
  *reinterpret_cast<void**>(thread_pointer + 16) = header;
  auto* const begin = reinterpret_cast<Begin*>(memory_ + kPageSize +
                                               kStackBytes - sizeof(Begin));
  *begin = {.main = Main, .self = begin, .entry = entry, .argument = argument};
  // Signals that were open in the new thread until it blocks them could run a
  // handler of the program on its small stack.
  const uint64_t mask = os::BlockSignals();
  const long r = uzswap_raw_clone(kFlags, begin, &tid_, &tid_, thread_pointer);
  os::RestoreSignals(mask);
  if (r > 0) {
    last_tid_.store(static_cast<uint32_t>(r), std::memory_order_relaxed);
  }
  return Status::FromReturn(r);
}

void RawThread::Join() const {
  AwaitMemory();
  const uint32_t last = last_tid_.load(std::memory_order_relaxed);
  if (last == 0) return;
  // Bounded, for the number may be another thread's by now.
  const int process = os::ProcessId();
  for (int i = 0; i < 10000; ++i) {
    if (os::Syscall(SYS_tgkill, process, last, 0) < 0) return;
    os::Yield();
  }
}

void RawThread::AwaitMemory() const {
  for (bool waited = false;; waited = true) {
    const uint32_t tid = tid_.load(std::memory_order_acquire);
    if (tid == 0) {
      // The kernel wakes only one of those who wait.
      if (waited) os::FutexWakeShared(&tid_, INT32_MAX);
      return;
    }
    os::FutexWaitShared(&tid_, tid).Ignore();  // every wake-up looks again
  }
}

void RawThread::Release() {
  Join();
  if (memory_ == nullptr) return;
  CHECK(os::Unmap(memory_, kBytes).ok());
  memory_ = nullptr;
}

}  // namespace uzswap
