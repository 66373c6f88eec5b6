// SPDX-License-Identifier: Apache-2.0
// Grace periods, after the kernel's SRCU: readers mark where they look at
// something that may be taken away; whoever took it out of sight waits, with
// Synchronize, until everybody who could still have seen it has gone. Readers
// never wait, and count on their own CPU's cache line.
//
// What a reader looks at, and what is taken out of sight, must be loaded and
// stored in sequential order: then either the reader is counted, or it sees the
// change.
//
// Threads: any. Readers may sleep. Signals: blocked, as for a lock, because a
// reader that is interrupted for ever keeps Synchronize waiting for ever.
#ifndef UZSWAP_BASE_GRACE_H_
#define UZSWAP_BASE_GRACE_H_

#include <atomic>
#include <cstdint>

#include "base/counters.h"
#include "base/mutex.h"

namespace uzswap {

// Invariants: readers that began in phase p are entered_[p] - left_[p] in sum;
// new readers begin in phase_ & 1.
class Grace {
 public:
  constexpr Grace() = default;
  Grace(const Grace&) = delete;
  Grace& operator=(const Grace&) = delete;

  // One reader; on the stack.
  class Reader {
   public:
    explicit Reader(Grace& grace) : grace_(grace), phase_(grace.Enter()) {}
    ~Reader() { grace_.Leave(phase_); }
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

   private:
    Grace& grace_;
    const unsigned phase_;
  };

  // Returns when every reader that began before the call has ended. Sleeps.
  // REQUIRES: this thread is no reader.
  void Synchronize();

  // In the child after fork, where no reader exists.
  void ResetInChild();

 private:
  enum class Count : unsigned { kEntered0, kEntered1, kLeft0, kLeft1, kCount };
  static Count EnteredIn(unsigned phase) {
    return phase == 0 ? Count::kEntered0 : Count::kEntered1;
  }
  static Count LeftIn(unsigned phase) {
    return phase == 0 ? Count::kLeft0 : Count::kLeft1;
  }

  unsigned Enter() {
    const unsigned phase = phase_.load(std::memory_order_relaxed) & 1;
    counts_.AddInOrder(EnteredIn(phase));
    return phase;
  }
  void Leave(unsigned phase) { counts_.AddInOrder(LeftIn(phase)); }
  bool IsEmpty(unsigned phase) const;
  void WaitEmpty(unsigned phase) const;

  static LockClass lock_class_;
  Mutex mutex_{lock_class_};  // of Synchronize; held while it sleeps
  std::atomic<unsigned> phase_{0};
  PerCpuCounters<Count> counts_;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_GRACE_H_
