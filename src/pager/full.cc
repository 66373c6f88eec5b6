// SPDX-License-Identifier: Apache-2.0
// What happens to a fault for which no room could be made: everything that is
// left is pinned, or does not compress and has nowhere to go (--on-full).
#include <signal.h>
#include <sys/syscall.h>

#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

constexpr int64_t kLookEveryNs = 10000000;
constexpr uint32_t kFullForMs = 200;

// Somebody wants the process to end; its handlers run when it goes on.
bool AskedToEnd() {
  uint64_t pending = 0;
  (void)os::Syscall(SYS_rt_sigpending, reinterpret_cast<int64_t>(&pending),
                    sizeof(pending));
  constexpr auto kBit = [](int number) { return uint64_t{1} << (number - 1); };
  return (pending &
          (kBit(SIGTERM) | kBit(SIGINT) | kBit(SIGHUP) | kBit(SIGQUIT))) != 0;
}

uint64_t MiB(PageCount pages) { return pages * kPageSize >> 20; }

}  // namespace

// True: the pages may be taken all the same.
bool Pager::NoRoom(PageCount pages) {
  Budget& budget = core_.budget;
  uzswap_tree& tree = budget.tree().tree();
  // Below that others have yet to give way, but there is room until then.
  const bool exceeds_own =
      tree.process_limit != 0 && budget.Used() + pages > tree.process_limit;
  const bool exceeds =
      exceeds_own || budget.tree().UsedByAll() + pages > tree.limit;
  const PageCount limit = exceeds_own ? tree.process_limit : tree.limit;
  // Whose memory was full after a measurement does not wait for each of the
  // next.
  const auto now_ms = static_cast<uint32_t>(os::MonotonicNs() / 1000000);
  const uint32_t full_ms = full_ms_.load(std::memory_order_relaxed);
  const bool known_full = full_ms != 0 && now_ms - full_ms < kFullForMs;
  const bool awaits =
      budget.tree().AwaitsMeasurement() ||
      (!exceeds_own && budget.tree().RelativesAwaitMeasurement());
  if (exceeds && !known_full && awaits && patience_to_measure_.Waits(now_ms)) {
    return false;
  }
  if (exceeds && !exceeds_own && budget.tree().OthersGiveWay() &&
      patience_.Waits(now_ms)) {
    return false;
  }
  if (exceeds) {
    __atomic_fetch_add(&tree.times_full, 1, __ATOMIC_RELAXED);
    const uint32_t policy = __atomic_load_n(&tree.on_full, __ATOMIC_RELAXED);
    if (policy == UZSWAP_ON_FULL_WAIT && !AskedToEnd()) return false;
    if (policy == UZSWAP_ON_FULL_KILL) {
      Line line;
      line << "no room can be made in " << MiB(limit) << " MiB: this process, "
           << os::ProcessId() << ", is killed, as --on-full kill says";
      Log(line);
      (void)os::Syscall(SYS_kill, os::ProcessId(), SIGKILL);
    }
    if (!known_full) full_ms_.store(now_ms | 1, std::memory_order_relaxed);
    core_.Count(PagerCounter::limit_exceeded);
    if (!warned_limit_.exchange(true, std::memory_order_relaxed)) {
      Line line;
      line << "the limit of " << MiB(limit)
           << " MiB has to be exceeded by process " << os::ProcessId() << ": "
           << (budget.tree().HasRelatives()
                   ? "what is left is pinned, or forked processes have it in "
                     "common"
                   : "what is left is pinned, or does not compress")
           << "; give more memory or, if there is none, a backing store";
      Log(line);
    }
  }
  budget.Take(pages);
  return true;
}

// No lock is held: another thread may be about to free memory, another process
// to end, the user to raise a limit.
void Pager::WaitForRoom() {
  const uint32_t policy =
      __atomic_load_n(&core_.budget.tree().tree().on_full, __ATOMIC_RELAXED);
  if (policy == UZSWAP_ON_FULL_WAIT &&
      !core_.budget.tree().AwaitsMeasurement() &&
      !waiting_told_.exchange(true, std::memory_order_relaxed)) {
    Line line;
    line << "no room can be made in " << MiB(core_.budget.tree().most())
         << " MiB: process " << os::ProcessId()
         << " waits, as --on-full wait says, until there is some (uzswap set "
         << os::ProcessId() << " memory=SIZE gives it more)";
    Log(line);
  }
  static constinit const uint32_t nobody = 0;
  const uint32_t* wake = core_.budget.tree().wake();
  if (wake == nullptr) wake = &nobody;
  const uint32_t seen = __atomic_load_n(wake, __ATOMIC_ACQUIRE);
  os::FutexWaitShared(wake, seen, kLookEveryNs).Ignore();
}

}  // namespace uzswap
