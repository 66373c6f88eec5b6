// SPDX-License-Identifier: Apache-2.0
// The one instance of this process, and the guard of every entry that takes
// locks.
#ifndef UZSWAP_API_INSTANCE_H_
#define UZSWAP_API_INSTANCE_H_

#include <atomic>

#include "base/lockdep.h"
#include "base/os.h"
#include "device/device.h"
#include "pager/pager.h"
#include "zswap/zswap.h"

namespace uzswap {

struct Instance {
  Pager pager;
  Zswap* zswap = nullptr;
  Device* device = nullptr;  // nullptr: no backing store
};

// Written by uzswap_open and uzswap_close only; nullptr: not open.
extern std::atomic<Instance*> instance;

inline Instance* GetInstance() {
  return instance.load(std::memory_order_acquire);
}

// Rule F4: no signal handler of the program runs while a lock is held.
class SignalsBlocked {
 public:
  // The program's own code runs up to here and faults as it likes.
  SignalsBlocked() : old_(os::BlockSignals()) { lockdep::MightFault(); }
  ~SignalsBlocked() { os::RestoreSignals(old_); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  uint64_t old_;
};

inline int Return(Status s) { return -s.error(); }

}  // namespace uzswap

#endif  // UZSWAP_API_INSTANCE_H_
