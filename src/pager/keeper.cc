// SPDX-License-Identifier: Apache-2.0
#include "pager/keeper.h"

#include <climits>

#include "base/os.h"

namespace uzswap {

void Keeper::BindToProcess() {
  process_.store(os::ProcessId(), std::memory_order_relaxed);
}

void Keeper::Ensure(Step step, void* argument, uint32_t* wake) {
  if (running() || forbidden_.load(std::memory_order_relaxed)) return;
  if (wake == nullptr ||
      os::ProcessId() != process_.load(std::memory_order_relaxed)) {
    return;
  }
  if (running_.exchange(true, std::memory_order_acq_rel)) return;
  stop_.store(false, std::memory_order_relaxed);
  step_ = step;
  argument_ = argument;
  wake_ = wake;
  if (!thread_.Start(ThreadMain, this).ok()) {
    running_.store(false, std::memory_order_release);
  }
}

void Keeper::ThreadMain(void* keeper) { static_cast<Keeper*>(keeper)->Run(); }

void Keeper::Run() {
  for (;;) {
    const uint32_t seen = __atomic_load_n(wake_, __ATOMIC_ACQUIRE);
    if (stop_.load(std::memory_order_acquire) || !step_(argument_)) break;
    os::FutexWaitShared(wake_, seen, kPeriodNs).Ignore();
  }
  running_.store(false, std::memory_order_release);
}

void Keeper::Stop() {
  if (!running()) return;
  stop_.store(true, std::memory_order_release);
  __atomic_fetch_add(wake_, 1, __ATOMIC_RELEASE);
  os::FutexWakeShared(wake_, INT_MAX);
  thread_.Join();
}

void Keeper::Forbid() {
  forbidden_.store(true, std::memory_order_relaxed);
  Stop();
}

void Keeper::ResetInChild() {
  thread_.ResetInChild();
  running_.store(false, std::memory_order_relaxed);
  stop_.store(false, std::memory_order_relaxed);
  BindToProcess();
}

}  // namespace uzswap
