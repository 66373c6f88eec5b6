// SPDX-License-Identifier: Apache-2.0
// A thread of ours for what has to happen while the program sleeps: memory that
// others need is given back, memory that is idle is compressed. It exists only
// where that can be asked of the process (docs/design.md, "The keeper"), waits
// on a futex that other processes wake, and runs one bounded step at a time.
// When only it is left of the process's threads it ends, and the process with
// it.
//
// Threads: any. Signals: blocked by the caller.
#ifndef UZSWAP_PAGER_KEEPER_H_
#define UZSWAP_PAGER_KEEPER_H_

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "base/raw_thread.h"

namespace uzswap {

// Invariant: one thread at most; running_ from before its start until it has
// nothing left to do.
class Keeper {
 public:
  // The longest time between two steps.
  static constexpr int64_t kPeriodNs = 1000000000;

  // False: no more steps, the thread ends.
  using Step = bool (*)(void* argument);

  constexpr Keeper() = default;
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Makes the thread, unless there is one, it is forbidden, or there is no
  // memory for it (then a later call may do). It steps at once, when *wake
  // changes, and every period. `wake` stays mapped. Nothing happens in a vfork
  // child: a thread of its own would end with it; nor in builds whose run-time
  // library must know every thread (sanitizers).
  void Ensure(Step step, void* argument, uint32_t* wake);
  // Afterwards there is no thread. It may be made again by Ensure.
  void Stop();
  // The same until LetGo; calls add up.
  void HoldOff();
  void LetGo() { holds_.fetch_sub(1, std::memory_order_relaxed); }
  // The same for ever, also in forked children.
  void Forbid();
  // The process that Ensure works in: this one.
  void BindToProcess();
  // Gives the thread's memory back. REQUIRES: Stop, and no Ensure any more.
  void Release();
  void ResetInChild();

  // For long steps: Stop waits for the end of one.
  bool stopping() const { return stop_.load(std::memory_order_acquire); }
  bool running() const { return running_.load(std::memory_order_acquire); }

 private:
  static void ThreadMain(void* keeper);
  void Run();
  void StopLocked() UZSWAP_REQUIRES(mutex_);

  static LockClass lock_class_;
  // Of starting and stopping; never waited for by who starts.
  Mutex mutex_{lock_class_};
  RawThread thread_ UZSWAP_GUARDED_BY(mutex_);
  std::atomic<int> holds_{0};
  std::atomic<bool> running_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> forbidden_{false};
  std::atomic<int> process_{0};
  // Written before the thread starts.
  Step step_ = nullptr;
  void* argument_ = nullptr;
  uint32_t* wake_ = nullptr;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_KEEPER_H_
