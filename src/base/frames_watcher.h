// SPDX-License-Identifier: Apache-2.0
// After a fork the frames of a pool are its child's, too, until one of the two
// writes to them or gives them back: then there is a second frame, or none has
// become free. Whoever counts frames is told before, while he wants to be.
#ifndef UZSWAP_BASE_FRAMES_WATCHER_H_
#define UZSWAP_BASE_FRAMES_WATCHER_H_

#include <atomic>
#include <cstddef>

namespace uzswap {

class FramesWatcher {
 public:
  // From any thread, with locks of the pool held.
  virtual void WillWrite(const void* at, size_t bytes) = 0;

 protected:
  ~FramesWatcher() = default;
};

// nullptr: nobody. A watcher outlives all pools.
inline constinit std::atomic<FramesWatcher*> frames_watcher{nullptr};

// The bytes are about to be written to, or their frames to be given back.
inline void WillWrite(const void* at, size_t bytes) {
  FramesWatcher* const watcher = frames_watcher.load(std::memory_order_acquire);
  if (__builtin_expect(watcher != nullptr, 0)) watcher->WillWrite(at, bytes);
}

}  // namespace uzswap

#endif  // UZSWAP_BASE_FRAMES_WATCHER_H_
