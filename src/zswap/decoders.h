// SPDX-License-Identifier: Apache-2.0
// What turns the objects on the device back into pages. An object is written as
// the compressor of its pool made it, and may stay longer than that pool: so it
// refers to a decoder, which is a compressor's table, a level and one
// workspace. Pools with the same of both share one.
#ifndef UZSWAP_ZSWAP_DECODERS_H_
#define UZSWAP_ZSWAP_DECODERS_H_

#include <uzswap/compressor.h>

#include <atomic>

#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

using DecoderIndex = uint8_t;

// A decoder lives as long as somebody refers to it: pools and entries. The
// first reference is a pool's; an entry's is taken while its pool has one.
class Decoders {
 public:
  // Many more than there can be pools.
  static constexpr unsigned kMax = 128;

  // A reference to the decoder for this kind, which is made if there is none.
  // ENOSPC: kMax kinds have objects on the device. ENOMEM. REQUIRES: one thread
  // at a time; the compressor accepted the level.
  Result<DecoderIndex> Acquire(const uzswap_compressor& plugin, int level);
  // REQUIRES: somebody else has a reference meanwhile.
  void Hold(DecoderIndex index);
  void Drop(DecoderIndex index);

  // Replaces the first `bytes` bytes of the page by what they decompress to.
  // EIO: they are not one page's worth of compressed data.
  Status Decode(DecoderIndex index, MutablePage page, size_t bytes);

  ByteCount bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint32_t references(DecoderIndex index) const {
    return decoders_[index].references.load(std::memory_order_relaxed);
  }
  void ResetLocksInChild();

 private:
  static constexpr uint32_t kEnding = uint32_t{1} << 31;
  static LockClass lock_class_;

  // Invariant: without references there is no memory.
  struct Decoder {
    std::atomic<uint32_t> references{0};
    int level = 0;
    const uzswap_compressor* plugin = nullptr;
    Mutex mutex{lock_class_};     // of what follows
    std::byte* memory = nullptr;  // a page, and the workspace
    size_t memory_bytes = 0;
    bool ready = false;  // init was called
  };

  bool TryShare(Decoder& decoder, const uzswap_compressor& plugin, int level);

  Decoder decoders_[kMax];
  std::atomic<ByteCount> bytes_{0};  // that may be resident
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_DECODERS_H_
