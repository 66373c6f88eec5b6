// SPDX-License-Identifier: Apache-2.0
// The index of a log: objects, segments, and which object lies in which
// segment. Records of both kinds are named by 32-bit numbers from 1 on and are
// reused; memory is touched as records are used and not given back.
#ifndef UZSWAP_DEVICE_SEGMENT_TABLE_H_
#define UZSWAP_DEVICE_SEGMENT_TABLE_H_

#include <atomic>

#include "base/arena.h"
#include "device/storage.h"

namespace uzswap {

// Invariants of an object in use: it is on the list of its segment; offset +
// length + the tag's bytes <= used_bytes of that segment.
struct Object {
  uint32_t segment;  // 0: not in use
  uint32_t next;     // in the segment, or on the free list
  uint32_t prev;
  uint16_t offset;
  uint16_t length;  // 1 … kPageSize
};
static_assert(sizeof(Object) == 16);
static_assert(kExtentBytes - 1 <= UINT16_MAX);

enum class SegmentState : uint8_t {
  kFree,     // `first` links the free ones
  kFilling,  // in a buffer; grows
  kFull,     // in a buffer; waits to be written, or to be written again
  kWriting,  // in a buffer that is being written
  kWritten,  // on the storage
};

// Invariants: live_bytes = the sum over its objects, tags included; a segment
// in a buffer has one to itself.
struct Segment {
  uint64_t serial;  // never used before with this key
  Extent extent;    // when written
  uint32_t first;   // object
  uint32_t live_bytes;
  uint32_t used_bytes;
  uint32_t readers;  // that look at the bytes without the lock
  SegmentState state;
  uint8_t buffer;  // unless written
  uint8_t key;
  bool unreadable;  // an object in it was not to be had: nothing is moved
  bool corrupt;     // ... and never will be, for its bytes are wrong
};

// Not locked: the log does that.
class SegmentTable {
 public:
  Status Init(uint64_t max_segments);
  void Release();

  Object& object(uint32_t number) { return objects_[number]; }
  Segment& segment(uint32_t number) { return segments_[number]; }

  // 0: there are no more.
  uint32_t TakeObject();
  uint32_t TakeSegment();
  // REQUIRES: it is on no list, and has no objects.
  void PutObject(uint32_t number);
  void PutSegment(uint32_t number);

  // Puts an object with offset and length on the list of a segment, and takes
  // it off.
  void Link(uint32_t object, uint32_t segment, uint32_t tag_bytes);
  void Unlink(uint32_t object, uint32_t tag_bytes);

  uint32_t segment_end() const { return segment_end_; }
  uint64_t objects_used() const { return objects_used_; }
  ByteCount bytes() const {
    return PageCeil(object_end_ * sizeof(Object)) +
           PageCeil(segment_end_ * sizeof(Segment));
  }
  // Dies unless each object is on the list of its segment, and the sums fit.
  void CheckInvariants(uint32_t tag_bytes) const;

 private:
  SparseTable<Object> objects_;
  SparseTable<Segment> segments_;
  uint32_t free_object_ = 0;
  uint32_t free_segment_ = 0;
  uint32_t object_end_ = 1;
  uint32_t segment_end_ = 1;
  uint64_t objects_used_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_SEGMENT_TABLE_H_
