// SPDX-License-Identifier: Apache-2.0
// A thread made by the clone system call alone, inside a program whose thread
// library must not know of it. It runs engine code only: no libc beyond memory
// copying, no managed memory, all signals blocked.
//
// It has a stack and a zero-filled thread-local area of its own, so
// thread-local variables of the engine must be zero-initialised. Both are kept
// for the next thread. An object runs one thread at a time.
#ifndef UZSWAP_BASE_RAW_THREAD_H_
#define UZSWAP_BASE_RAW_THREAD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace uzswap {

// Invariant: tid_ is not 0 from the start of a thread until after its last
// instruction; only then is its memory touched. The kernel counts it among the
// threads of the process for a moment longer.
class RawThread {
 public:
  static constexpr size_t kStackBytes = 256 * 1024;
  // Of all modules together, below the thread pointer (x86-64 ABI, variant II).
  static constexpr size_t kTlsBytes = 128 * 1024;

  using Entry = void (*)(void* argument);

  constexpr RawThread() = default;
  RawThread(const RawThread&) = delete;
  RawThread& operator=(const RawThread&) = delete;

  // Runs entry(argument) on a new thread, after the one before has ended (which
  // is waited for). Never called by two threads at once. ENOMEM, EAGAIN: the
  // system has no memory or no more threads.
  Status Start(Entry entry, void* argument);
  // Returns when the thread, if any, does not exist any more.
  void Join() const;
  // Joins and gives the memory back.
  void Release();
  // In the child after fork, where the thread does not exist.
  void ResetInChild() {
    tid_.store(0, std::memory_order_relaxed);
    last_tid_.store(0, std::memory_order_relaxed);
  }

 private:
  Status MapOnce();
  void AwaitMemory() const;

  char* memory_ = nullptr;
  // Set by the kernel, cleared and woken by it at the very end of the thread.
  mutable std::atomic<uint32_t> tid_{0};
  std::atomic<uint32_t> last_tid_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_RAW_THREAD_H_
