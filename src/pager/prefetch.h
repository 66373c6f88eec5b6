// SPDX-License-Identifier: Apache-2.0
// Recognises threads of sequential faults, upwards or downwards, and says how
// many pages to bring at once: the window doubles at each fault of a stream
// (2, 4 … 32) and starts again when the stream breaks.
//
// Threads: any; a contended look answers "one page" instead of waiting.
#ifndef UZSWAP_PAGER_PREFETCH_H_
#define UZSWAP_PAGER_PREFETCH_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/page.h"

namespace uzswap {

struct PrefetchWindow {
  uint64_t pages;  // the faulting one included
  bool down;       // towards lower addresses
};

class Prefetcher {
 public:
  static constexpr uint64_t kMaxPages = 32;

  PrefetchWindow Next(Slot slot);
  void ResetInChild() { mutex_.ResetInChild(); }

 private:
  static constexpr size_t kStreams = 16;
  // Pages that stayed resident make holes in a stream.
  static constexpr uint64_t kReach = 8;

  struct Stream {
    uint64_t last;    // slot of the last fault
    uint32_t window;  // pages brought then
    bool down;
    uint32_t used;  // clock_ at that time; 0: never
  };
  static bool Continues(const Stream& stream, uint64_t slot, bool down);

  static LockClass lock_class_;
  Mutex mutex_{lock_class_};
  std::array<Stream, kStreams> streams_ UZSWAP_GUARDED_BY(mutex_) = {};
  uint32_t clock_ UZSWAP_GUARDED_BY(mutex_) = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PREFETCH_H_
