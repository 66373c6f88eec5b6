// SPDX-License-Identifier: Apache-2.0
#include "base/grace.h"

#include "base/os.h"

namespace uzswap {

constinit LockClass Grace::lock_class_{"grace period"};

// Those who left are counted first: a reader that is missed among them is then
// surely counted among those who entered.
bool Grace::IsEmpty(unsigned phase) const {
  const uint64_t left = counts_.SumInOrder(LeftIn(phase));
  return counts_.SumInOrder(EnteredIn(phase)) == left;
}

void Grace::WaitEmpty(unsigned phase) const {
  constexpr int kYields = 100;
  for (int tries = 0; !IsEmpty(phase); ++tries) {
    if (tries < kYields) {
      os::Yield();
    } else {
      uint32_t never = 0;
      os::FutexWait(&never, 0, 100'000).Ignore();  // a short sleep
    }
  }
}

// A reader may have looked at phase_ long ago and enter only now, so both
// phases are waited for, the one that nobody enters any more first.
void Grace::Synchronize() {
  ScopedLock lock(mutex_);
  const unsigned now = phase_.load(std::memory_order_relaxed) & 1;
  WaitEmpty(now ^ 1);
  phase_.fetch_add(1, std::memory_order_seq_cst);
  WaitEmpty(now);
}

void Grace::ResetInChild() {
  mutex_.ResetInChild();
  counts_.Reset();
}

}  // namespace uzswap
