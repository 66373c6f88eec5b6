// SPDX-License-Identifier: Apache-2.0
#include "pager/prefetch.h"

namespace uzswap {

constinit LockClass Prefetcher::lock_class_{"prefetch"};

bool Prefetcher::Continues(const Stream& stream, uint64_t slot, bool down) {
  // A stream of one fault has no direction yet.
  if (stream.used == 0 || (stream.window > 1 && stream.down != down)) {
    return false;
  }
  const uint64_t distance = down ? stream.last - slot : slot - stream.last;
  return distance >= stream.window && distance < stream.window + kReach;
}

PrefetchWindow Prefetcher::Next(Slot page) {
  if (!mutex_.TryLock()) return {.pages = 1, .down = false};
  const uint64_t slot = Index(page);
  Stream* oldest = &streams_[0];
  Stream* found = nullptr;
  bool down = false;
  for (Stream& stream : streams_) {
    if (Continues(stream, slot, false) || Continues(stream, slot, true)) {
      found = &stream;
      down = !Continues(stream, slot, false);
      break;
    }
    if (stream.used < oldest->used) oldest = &stream;
  }
  if (found != nullptr) {
    found->window =
        static_cast<uint32_t>(std::min<uint64_t>(kMaxPages, found->window * 2));
  } else {
    found = oldest;
    found->window = 1;
  }
  found->last = slot;
  found->down = down;
  found->used = ++clock_;
  const PrefetchWindow window{.pages = found->window, .down = down};
  mutex_.Unlock();
  return window;
}

}  // namespace uzswap
