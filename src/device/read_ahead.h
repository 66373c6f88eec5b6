// SPDX-License-Identifier: Apache-2.0
// Parts of segments that were read before anybody asked for all of them. Pages
// that left together lie together, and often come back together: when reads
// follow each other through a segment, the next one brings more than its
// object, twice as much each time, up to a whole segment, as long as most of it
// is used.
//
// Apart from that, a caller may know what is likely to be wanted with an object
// that follows nothing, and say so (ReadAround).
//
// A part is named by the serial number of its segment. A segment is written
// once, so the bytes under a number never change, and no part is ever stale,
// whatever becomes of the extent; bytes that turn out wrong are dropped and
// read again.
#ifndef UZSWAP_DEVICE_READ_AHEAD_H_
#define UZSWAP_DEVICE_READ_AHEAD_H_

#include <cstddef>
#include <cstdint>

#include "base/page.h"
#include "base/status.h"
#include "device/device.h"
#include "device/storage.h"

namespace uzswap {

// Bytes [from, to) of the segment with that serial number.
struct SegmentPart {
  uint64_t serial;
  uint32_t from;
  uint32_t to;
};

// Invariants: a buffer is at most kExtentBytes, and what is held lies in it;
// hits are only counted while something is held. Not locked: the log does that.
class ReadAhead {
 public:
  // Sequences that are followed at the same time.
  static constexpr unsigned kStreams = 8;
  static constexpr unsigned kNone = kStreams;

  // `alignment` of the storage: see Storage::alignment.
  Status Init(size_t alignment);
  void Release();

  // The bytes, or nullptr. They are valid until the lock is let go.
  const std::byte* Find(const SegmentPart& object);
  // The same for somebody who does not want it yet: no sign of a sequence.
  const std::byte* Peek(const SegmentPart& object) const;

  // What to read so as to have the object. kNone in `buffer`: only the object,
  // straight to where it is wanted; where the storage wants alignment, it
  // means that all buffers are being read into and the caller has to wait.
  // Otherwise the buffer is the caller's until Arrived.
  struct Plan {
    unsigned buffer;
    SegmentPart part;  // contains the object
    bool around;       // and what was likely to be wanted with it
  };
  // `end`: bytes in the segment. A sequence is followed whatever else is said
  // to be around its objects.
  Plan Begin(const SegmentPart& object, uint32_t end, const ReadAround& around);
  // Where `part` of a plan goes to.
  std::byte* At(unsigned buffer) const {
    return memory_ + buffer * kExtentBytes;
  }
  // The object only, in a buffer that the caller has already.
  SegmentPart Least(const SegmentPart& object, uint32_t end) const;
  // The caller is done; what is in the buffer may be used by others, or not.
  void Arrived(const Plan& plan, bool good);
  // What is held of it is wrong.
  void Forget(uint64_t serial);

  void ResetInChild();
  // Memory that was ever used.
  ByteCount bytes() const { return touched_bytes_; }
  void CheckInvariants() const;

 private:
  struct Stream {
    uint64_t serial;  // of the object that was read last; 0: never used
    uint32_t end;     // where that ended
    uint32_t window;  // bytes to read at once; 0: one object
    uint64_t used;    // clock_ then
    // The buffer of that place.
    SegmentPart held;  // serial 0: nothing
    uint32_t hits;     // bytes of it that were asked for
    uint32_t touched;  // most that was ever in it
    bool busy;         // somebody reads into it
  };

  static bool Follows(const Stream& stream, const SegmentPart& object);
  static void Adapt(Stream& stream, const SegmentPart& object);
  static SegmentPart Wanted(const Stream& stream, const SegmentPart& object,
                            uint32_t end, const ReadAround& around);
  unsigned HolderOf(const SegmentPart& object) const;
  Stream* StreamOf(const SegmentPart& object);

  std::byte* memory_ = nullptr;  // kStreams buffers
  uint32_t alignment_ = 1;
  uint64_t clock_ = 0;
  ByteCount touched_bytes_ = 0;
  Stream streams_[kStreams] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_READ_AHEAD_H_
