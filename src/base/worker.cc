// SPDX-License-Identifier: Apache-2.0
// One mutex guards everything; it is never held while an item runs, a thread is
// started, or anybody sleeps. Whoever sets runner_ from kNone owns the queue's
// front until it sets it back, which it does under the mutex in the same step
// that finds the queue empty: so nothing is queued and forgotten.
#include "base/worker.h"

#include "base/os.h"
#include "base/watchdog.h"

namespace uzswap {
namespace {

constinit std::atomic<Worker::Starter> starter{nullptr};

}  // namespace

constinit LockClass Worker::lock_class_{"worker"};
constinit LockClass Worker::completion_class_{"(completion)worker"};

void Worker::SetStarter(Starter function) {
  starter.store(function, std::memory_order_release);
}

void Worker::BindToProcess() {
  process_.store(os::ProcessId(), std::memory_order_relaxed);
}

bool Worker::InOtherProcess() const {
  const int process = process_.load(std::memory_order_relaxed);
  return process != 0 && process != os::ProcessId();
}

bool Worker::Queue(Work& work) {
  bool start = false;
  {
    ScopedLock lock(mutex_);
    if (work.queued || stopped_) return false;
    work.queued = true;
    work.ticket = ++last_ticket_;
    queue_.PushBack(&work);
    start = ClaimThreadStart();
  }
  if (start) StartThread();
  return true;
}

bool Worker::ClaimThreadStart() {
  // No thread is started between PrepareFork and the fork: a child would find
  // it half made.
  if (runner_ != Runner::kNone || queue_.empty() || forks_ != 0) return false;
  if (threads_forbidden_.load(std::memory_order_relaxed)) return false;
  if (InOtherProcess()) return false;
  runner_ = Runner::kThread;
  return true;
}

void Worker::StartThread() {
  const Starter function = starter.load(std::memory_order_acquire);
  const Status started = function != nullptr ? function(ThreadMain, this)
                                             : thread_.Start(ThreadMain, this);
  if (started.ok()) return;
  ScopedLock lock(mutex_);
  runner_ = Runner::kNone;
  Changed();
}

void Worker::ThreadMain(void* worker) {
  static_cast<Worker*>(worker)->RunAll(Runner::kThread);
}

void Worker::RunPending() {
  {
    ScopedLock lock(mutex_);
    if (runner_ != Runner::kNone || queue_.empty() || forks_ != 0) return;
    if (InOtherProcess()) return;
    runner_ = Runner::kCaller;
  }
  RunAll(Runner::kCaller);
}

void Worker::RunStranded() {
  bool start = false;
  {
    ScopedLock lock(mutex_);
    start = ClaimThreadStart();
  }
  if (start) StartThread();
  RunPending();  // does nothing if there is a thread
}

void Worker::RunAll(Runner runner) {
  ScopedLock lock(mutex_);
  DCHECK(runner_ == runner);
  runner_tid_.store(os::ThreadId(), std::memory_order_relaxed);
  for (;;) {
    ParkWhileForking();
    Work* work = queue_.PopFront();
    if (work == nullptr) break;
    RunOne(work);
  }
  runner_tid_.store(0, std::memory_order_relaxed);
  runner_ = Runner::kNone;
  Changed();
}

// Afterwards the item may not exist any more.
void Worker::RunOne(Work* work) {
  void (*const run)(Work*) = work->run;
  LockClass* const lock_class = work->lock_class;
  work->queued = false;
  current_ = work;
  current_ticket_ = work->ticket;
  mutex_.Unlock();
  {
    const WatchdogScope watched("work");
    lockdep::WorkBegin(completion_class_);
    if (lock_class != nullptr) lockdep::WorkBegin(*lock_class);
    run(work);
    if (lock_class != nullptr) lockdep::WorkEnd(*lock_class);
    lockdep::WorkEnd(completion_class_);
  }
  mutex_.Lock();
  current_ = nullptr;
  Changed();
}

bool Worker::OnRunner() const {
  return runner_tid_.load(std::memory_order_relaxed) == os::ThreadId();
}

bool Worker::Unfinished(const Work& work, uint64_t ticket) const {
  return (work.queued && work.ticket <= ticket) ||
         (current_ == &work && current_ticket_ <= ticket);
}

void Worker::Flush(Work& work) {
  lockdep::CompletionWait(completion_class_);
  if (work.lock_class != nullptr) lockdep::CompletionWait(*work.lock_class);
  CHECK(!OnRunner());
  uint64_t ticket = 0;
  {
    ScopedLock lock(mutex_);
    ticket = work.queued ? work.ticket : current_ticket_;
  }
  for (;;) {
    RunPending();
    ScopedLock lock(mutex_);
    if (!Unfinished(work, ticket)) return;
    if (runner_ != Runner::kNone || forks_ != 0) Wait();
  }
}

bool Worker::Cancel(Work& work) {
  const bool on_runner = OnRunner();
  if (!on_runner) lockdep::CompletionWait(completion_class_);
  if (work.lock_class != nullptr) lockdep::CompletionWait(*work.lock_class);
  bool was_queued = false;
  ScopedLock lock(mutex_);
  for (;;) {
    if (work.queued) {
      queue_.Remove(&work);
      work.queued = false;
      was_queued = true;
      Changed();
    }
    if (current_ != &work) return was_queued;
    CHECK(!on_runner);
    Wait();
  }
}

void Worker::WaitIdle() {
  lockdep::CompletionWait(completion_class_);
  CHECK(!OnRunner());
  for (;;) {
    RunPending();
    ScopedLock lock(mutex_);
    if (runner_ == Runner::kNone && queue_.empty()) break;
    if (runner_ != Runner::kNone || forks_ != 0) Wait();
  }
}

void Worker::Drain() {
  WaitIdle();
  thread_.Join();
}

void Worker::StopAll() {
  {
    ScopedLock lock(mutex_);
    stopped_ = true;
  }
  WaitIdle();
  thread_.Release();
}

void Worker::YieldPoint() {
  DCHECK(OnRunner());
  DCHECK(lockdep::HeldCount() == 0);
  Watchdog::Step();
  if (forks_.load(std::memory_order_relaxed) == 0) return;
  ScopedLock lock(mutex_);
  ParkWhileForking();
}

void Worker::ParkWhileForking() {
  if (forks_ == 0) return;
  parked_ = true;
  Changed();
  while (forks_ != 0) Wait();
  parked_ = false;
}

void Worker::PrepareFork() {
  lockdep::CompletionWait(completion_class_);
  CHECK(!OnRunner());
  ScopedLock lock(mutex_);
  ++forks_;
  while (runner_ != Runner::kNone && !parked_) Wait();
}

void Worker::LockForFork() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  mutex_.Lock();
  fork_locker_tid_.store(os::ThreadId(), std::memory_order_relaxed);
}

void Worker::ParentAfterFork() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  // Only this thread can have stored its own number.
  if (fork_locker_tid_.load(std::memory_order_relaxed) == os::ThreadId()) {
    fork_locker_tid_.store(0, std::memory_order_relaxed);
  } else {
    mutex_.Lock();
  }
  --forks_;
  Changed();
  const bool start = ClaimThreadStart();
  mutex_.Unlock();
  if (start) StartThread();
}

// Nobody else exists here, so there is nothing to lock.
void Worker::ChildAfterFork() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  mutex_.ResetInChild();
  fork_locker_tid_.store(0, std::memory_order_relaxed);
  forks_.store(0, std::memory_order_relaxed);
  if (process_.load(std::memory_order_relaxed) != 0) BindToProcess();
  if (current_ != nullptr && !current_->queued) {
    current_->queued = true;
    current_->ticket = current_ticket_;
    queue_.PushFront(current_);
  }
  current_ = nullptr;
  runner_ = Runner::kNone;
  runner_tid_.store(0, std::memory_order_relaxed);
  parked_ = false;
  waiters_ = 0;
  thread_.ResetInChild();
}

void Worker::Wait() {
  const uint32_t seen = changes_.load(std::memory_order_relaxed);
  ++waiters_;
  mutex_.Unlock();
  lockdep::WaitBegin(completion_class_, nullptr);
  os::FutexWait(&changes_, seen, -1).Ignore();  // the caller looks again
  lockdep::WaitEnd();
  mutex_.Lock();
  --waiters_;
}

void Worker::Changed() {
  changes_.fetch_add(1, std::memory_order_relaxed);
  if (waiters_ > 0) os::FutexWake(&changes_, 1 << 30);
}

void Worker::CheckInvariants() {
  ScopedLock lock(mutex_);
  queue_.CheckInvariants();
  for (const Work* work = queue_.Front(); work != nullptr;
       work = queue_.Next(const_cast<Work*>(work))) {
    CHECK(work->queued && work->ticket <= last_ticket_);
  }
  CHECK(current_ == nullptr || runner_ != Runner::kNone);
  CHECK(!parked_ || runner_ != Runner::kNone);
}

}  // namespace uzswap
