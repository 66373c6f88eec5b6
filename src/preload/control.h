// SPDX-License-Identifier: Apache-2.0
// Parameters set from outside (`uzswap set`). They come through the memory that
// `uzswap run` shares with us (include/uzswap/report.h); nothing interrupts the
// program for them. It looks whether there is something new at its safe points:
// after a fault was served, and before and after a system call.
#ifndef UZSWAP_PRELOAD_CONTROL_H_
#define UZSWAP_PRELOAD_CONTROL_H_

#include <atomic>
#include <cstdint>

namespace uzswap::preload {

// The newest request, in shared memory; a constant 0 if nothing is shared.
extern const std::atomic<uint32_t>* control_newest;
// The newest request of which this process has seen the end.
extern std::atomic<uint32_t> control_seen;

inline bool ControlIsNew() {
  return control_newest->load(std::memory_order_relaxed) !=
         control_seen.load(std::memory_order_relaxed);
}

// Takes what is new, acknowledges it and brings the record up to date. Does
// nothing if another thread is at it, or in a vfork child. REQUIRES: no lock of
// the engine is held. Codecs may run: vector registers are lost.
void TakeControl();
void TakeControlSavingVectors();

// At the start, when everything else is ready: the values of the moment.
void StartControl();
// In the child of a fork, which has a record of its own.
void ForkControl();

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_CONTROL_H_
