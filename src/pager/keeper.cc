// SPDX-License-Identifier: Apache-2.0
#include "pager/keeper.h"

#include <climits>

#include "base/os.h"

namespace uzswap {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kThreads = false;
#else
constexpr bool kThreads = true;
#endif

}  // namespace

constinit LockClass Keeper::lock_class_{"keeper"};

void Keeper::BindToProcess() {
  process_.store(os::ProcessId(), std::memory_order_relaxed);
}

void Keeper::Ensure(Step step, void* argument, uint32_t* wake) {
  if (!kThreads || running() || wake == nullptr ||
      os::ProcessId() != process_.load(std::memory_order_relaxed) ||
      !mutex_.TryLock()) {
    return;
  }
  if (!running() && !forbidden_.load(std::memory_order_relaxed) &&
      holds_.load(std::memory_order_relaxed) == 0) {
    stop_.store(false, std::memory_order_relaxed);
    step_ = step;
    argument_ = argument;
    wake_ = wake;
    running_.store(true, std::memory_order_release);
    if (!thread_.Start(ThreadMain, this).ok()) {
      running_.store(false, std::memory_order_release);
    }
  }
  mutex_.Unlock();
}

void Keeper::ThreadMain(void* keeper) { static_cast<Keeper*>(keeper)->Run(); }

void Keeper::Run() {
  for (;;) {
    const uint32_t seen = __atomic_load_n(wake_, __ATOMIC_ACQUIRE);
    if (stopping() || !step_(argument_) || stopping()) break;
    os::FutexWaitShared(wake_, seen, kPeriodNs).Ignore();
  }
  running_.store(false, std::memory_order_release);
}

void Keeper::StopLocked() {
  if (!running()) return;
  stop_.store(true, std::memory_order_release);
  __atomic_fetch_add(wake_, 1, __ATOMIC_RELEASE);
  os::FutexWakeShared(wake_, INT_MAX);
  thread_.Join();
}

void Keeper::Stop() {
  ScopedLock lock(mutex_);
  StopLocked();
}

void Keeper::HoldOff() {
  holds_.fetch_add(1, std::memory_order_relaxed);
  Stop();
}

void Keeper::Forbid() {
  forbidden_.store(true, std::memory_order_relaxed);
  Stop();
}

void Keeper::Release() {
  ScopedLock lock(mutex_);
  thread_.Release();
}

void Keeper::ResetInChild() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  mutex_.ResetInChild();
  thread_.ResetInChild();
  running_.store(false, std::memory_order_relaxed);
  stop_.store(false, std::memory_order_relaxed);
  holds_.store(0, std::memory_order_relaxed);
  BindToProcess();
}

}  // namespace uzswap
