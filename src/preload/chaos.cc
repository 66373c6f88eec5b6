// SPDX-License-Identifier: Apache-2.0
#include "preload/chaos.h"

#include <linux/sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <uzswap/uzswap.h>

#include "base/os.h"
#include "preload/thread.h"

#ifdef UZSWAP_TEST_HOOKS

extern "C" {
// In entry_chaos.S: clone with a new stack and thread pointer, running
// uzswap_chaos_main there.
__attribute__((visibility("hidden"))) int64_t uzswap_chaos_clone(
    uint64_t flags, void* stack, void* thread_pointer);
__attribute__((visibility("hidden"))) void uzswap_chaos_main();
}

namespace {

constinit uint64_t period_ms = 0;

}  // namespace

// No libc underneath: this thread has no pthread. All signals stay blocked (it
// inherits the mask of StartChaos), and it touches no managed memory.
void uzswap_chaos_main() {
  using namespace uzswap;
  timespec period{.tv_sec = static_cast<time_t>(period_ms / 1000),
                  .tv_nsec = static_cast<long>(period_ms % 1000) * 1000000};
  for (;;) {
    (void)os::Syscall(SYS_nanosleep, reinterpret_cast<int64_t>(&period), 0);
    (void)uzswap_evict_all();
  }
}

namespace uzswap::preload {

void SetChaos(uint64_t milliseconds) { period_ms = milliseconds; }

void ChaosBeforeFork() {
  if (period_ms != 0) (void)uzswap_evict_all();
}

void StartChaos() {
  if (period_ms == 0) return;
  constexpr size_t kStack = 256 * 1024;
  constexpr size_t kTls = 64 * 1024;
  const Result<void*> mapped = os::Map(kStack + 2 * kTls, /*sparse=*/true);
  CHECK(mapped.ok());
  char* base = static_cast<char*>(mapped.value());
  // Initial-exec thread-locals lie below the thread pointer, whose first word
  // must point to itself.
  char* thread_pointer = base + kStack + kTls;
  *reinterpret_cast<void**>(thread_pointer) = thread_pointer;
  const uint64_t mask = os::BlockSignals();
  constexpr uint64_t kFlags = CLONE_VM | CLONE_FS | CLONE_FILES |
                              CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                              CLONE_SETTLS;
  const int64_t r = uzswap_chaos_clone(kFlags, base + kStack, thread_pointer);
  CHECK(r > 0);
  os::RestoreSignals(mask);
}

}  // namespace uzswap::preload

#else

namespace uzswap::preload {
void SetChaos(uint64_t) {}
void StartChaos() {}
void ChaosBeforeFork() {}
}  // namespace uzswap::preload

#endif  // UZSWAP_TEST_HOOKS
