// SPDX-License-Identifier: Apache-2.0
// Work that may sleep, put off from a place that may not: the kernel's ordered
// workqueue. Its thread is started when work is queued and ends when there is
// none, so that a program we live in has no permanent thread of ours. Work runs
// one item at a time, in the order of queueing, with all signals blocked, and
// must touch no managed memory.
//
// Threads: any. Signals: blocked by the caller (rule F4), as for every lock.
// In debug builds lockdep knows that Flush, Cancel, Drain, StopAll and
// PrepareFork wait for what an item takes.
#ifndef UZSWAP_BASE_WORKER_H_
#define UZSWAP_BASE_WORKER_H_

#include <atomic>
#include <cstdint>

#include "base/list.h"
#include "base/mutex.h"
#include "base/raw_thread.h"

namespace uzswap {

// Embedded in what it works on. All-zero bytes besides run are a valid item
// that is not queued. run may free it, or queue it again. lock_class names its
// completion to lockdep and may be null; it must not be the class of a lock.
struct Work {
  void (*run)(Work* work) = nullptr;
  LockClass* lock_class = nullptr;
  // The worker's. queued from Queue until just before run is called.
  ListLink link = {};
  uint64_t ticket = 0;  // of the last Queue
  bool queued = false;
};

// Invariants: what is in queue_ is queued, with rising tickets unless a fork
// put the first back; current_ is null while there is no runner; one runner at
// most, the thread or a caller that lends itself.
class Worker {
 public:
  // Starts a thread that calls entry(argument) once, with all signals blocked,
  // and ends. Called where a fault is served: no allocation that may fault.
  using Starter = Status (*)(RawThread::Entry entry, void* argument);

  constexpr Worker() = default;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // False if it is queued already or the worker was stopped. An item that runs
  // can be queued again, and then runs once more. Never fails for lack of
  // memory or threads: the item then waits for the next Queue, RunPending or
  // Flush. Takes one lock, innermost of all.
  bool Queue(Work& work) UZSWAP_EXCLUDES(mutex_);
  // Runs what is queued on this thread, unless somebody is at it already.
  void RunPending() UZSWAP_EXCLUDES(mutex_);
  // Sees to it that what is queued is run: by a thread, else by this one. For
  // work that found no thread when it was queued. Cheap if there is none.
  void RunStranded() UZSWAP_EXCLUDES(mutex_);
  // No thread is started from now on, also not in forked children.
  void ForbidThreads() { threads_forbidden_.store(true); }
  // The caller's process is the one that work is done in. A vfork child shares
  // our memory, but its threads end with it: what it queues waits for us.
  void BindToProcess();

  // These sleep; not to be called by an item that runs on this worker (Cancel
  // may be, for another item).
  //
  // Until the item, as queued before the call, has run or was cancelled.
  void Flush(Work& work) UZSWAP_EXCLUDES(mutex_);
  // Afterwards it is neither queued nor running. True if it was queued and so
  // was kept from running.
  bool Cancel(Work& work) UZSWAP_EXCLUDES(mutex_);
  // Until nothing is queued or running and the thread has ended.
  void Drain() UZSWAP_EXCLUDES(mutex_);
  // Refuses new work for good, drains, gives the thread's memory back.
  void StopAll() UZSWAP_EXCLUDES(mutex_);

  // For long items: a point at which the item could as well be started again
  // from the beginning, and no lock is held. A fork happens here or at the end.
  void YieldPoint() UZSWAP_EXCLUDES(mutex_);

  // Around fork. PrepareFork comes first, with no lock held that an item takes,
  // and waits until the running item ends or yields. LockForFork comes last,
  // with all other locks held; it may be left out if no other thread can queue.
  // In the child lockdep::ResetThread has been called; an item that had yielded
  // is queued again, first, and starts at the next Queue, RunPending or Flush.
  void PrepareFork() UZSWAP_EXCLUDES(mutex_);
  void LockForFork();
  void ParentAfterFork();
  void ChildAfterFork();

  // Nullptr: RawThread (the default). For builds whose run-time library must
  // know every thread. Before the first Queue.
  static void SetStarter(Starter starter);

  // Dies at the first broken invariant.
  void CheckInvariants() UZSWAP_EXCLUDES(mutex_);

 private:
  enum class Runner { kNone, kThread, kCaller };

  static void ThreadMain(void* worker);
  // REQUIRES: runner_ was set to kThread / for this thread.
  void StartThread() UZSWAP_EXCLUDES(mutex_);
  void RunAll(Runner runner) UZSWAP_EXCLUDES(mutex_);
  void RunOne(Work* work) UZSWAP_REQUIRES(mutex_);
  void WaitIdle() UZSWAP_EXCLUDES(mutex_);
  bool OnRunner() const;
  bool Unfinished(const Work& work, uint64_t ticket) const
      UZSWAP_REQUIRES(mutex_);
  bool ClaimThreadStart() UZSWAP_REQUIRES(mutex_);
  bool InOtherProcess() const;
  void ParkWhileForking() UZSWAP_REQUIRES(mutex_);
  // A condition variable: Wait returns after a Changed, or earlier.
  void Wait() UZSWAP_REQUIRES(mutex_);
  void Changed() UZSWAP_REQUIRES(mutex_);

  static LockClass lock_class_;
  static LockClass completion_class_;

  Mutex mutex_{lock_class_};
  List<Work, &Work::link> queue_ UZSWAP_GUARDED_BY(mutex_);
  Runner runner_ UZSWAP_GUARDED_BY(mutex_) = Runner::kNone;
  Work* current_ UZSWAP_GUARDED_BY(mutex_) = nullptr;  // only compared
  uint64_t current_ticket_ UZSWAP_GUARDED_BY(mutex_) = 0;
  uint64_t last_ticket_ UZSWAP_GUARDED_BY(mutex_) = 0;
  bool parked_ UZSWAP_GUARDED_BY(mutex_) = false;  // the runner waits for forks
  bool stopped_ UZSWAP_GUARDED_BY(mutex_) = false;
  uint32_t waiters_ UZSWAP_GUARDED_BY(mutex_) = 0;
  // Changed under mutex_, read without it.
  std::atomic<uint32_t> forks_{0};  // PrepareForks not yet ended
  std::atomic<uint32_t> changes_{0};
  std::atomic<int> runner_tid_{0};       // 0: it has not begun to run
  std::atomic<int> fork_locker_tid_{0};  // holds mutex_ from LockForFork on
  std::atomic<int> process_{0};          // 0: any
  std::atomic<bool> threads_forbidden_{false};
  RawThread thread_;  // its Start belongs to who set runner_ to kThread
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_WORKER_H_
