// SPDX-License-Identifier: Apache-2.0
#include "device/segment_table.h"

#include <algorithm>

namespace uzswap {
namespace {

// What an entry of zswap can number; address space, used as needed.
constexpr uint64_t kMaxObjects = uint64_t{1} << 31;
// Segments in buffers.
constexpr uint64_t kMoreSegments = 16;

}  // namespace

Status SegmentTable::Init(uint64_t max_segments) {
  const uint64_t segments = std::min(max_segments, kMaxObjects) + kMoreSegments;
  UZSWAP_RETURN_IF_ERROR(segments_.Init(segments));
  return objects_.Init(kMaxObjects);
}

void SegmentTable::Release() {
  objects_.Release();
  segments_.Release();
}

uint32_t SegmentTable::TakeObject() {
  uint32_t number = free_object_;
  if (number != 0) {
    free_object_ = objects_[number].next;
  } else {
    if (object_end_ == objects_.count()) return 0;
    number = object_end_++;
  }
  ++objects_used_;
  return number;
}

uint32_t SegmentTable::TakeSegment() {
  uint32_t number = free_segment_;
  if (number != 0) {
    free_segment_ = segments_[number].first;
  } else {
    if (segment_end_ == segments_.count()) return 0;
    number = segment_end_++;
  }
  segments_[number] = Segment{};
  return number;
}

void SegmentTable::PutObject(uint32_t number) {
  objects_[number] = {
      .segment = 0, .next = free_object_, .prev = 0, .offset = 0, .length = 0};
  free_object_ = number;
  --objects_used_;
}

void SegmentTable::PutSegment(uint32_t number) {
  segments_[number] = Segment{};
  segments_[number].first = free_segment_;
  free_segment_ = number;
}

void SegmentTable::Link(uint32_t object, uint32_t segment, uint32_t tag_bytes) {
  Object& o = objects_[object];
  Segment& s = segments_[segment];
  o.segment = segment;
  o.prev = 0;
  o.next = s.first;
  if (s.first != 0) objects_[s.first].prev = object;
  s.first = object;
  s.live_bytes += o.length + tag_bytes;
}

void SegmentTable::Unlink(uint32_t object, uint32_t tag_bytes) {
  Object& o = objects_[object];
  Segment& s = segments_[o.segment];
  if (o.prev != 0) {
    objects_[o.prev].next = o.next;
  } else {
    s.first = o.next;
  }
  if (o.next != 0) objects_[o.next].prev = o.prev;
  s.live_bytes -= o.length + tag_bytes;
  o.segment = 0;
}

void SegmentTable::CheckInvariants(uint32_t tag_bytes) const {
  uint64_t linked = 0;
  for (uint32_t i = 1; i < segment_end_; ++i) {
    const Segment& s = segments_[i];
    if (s.state == SegmentState::kFree) continue;
    uint32_t live = 0;
    uint32_t prev = 0;
    for (uint32_t o = s.first; o != 0; o = objects_[o].next) {
      CHECK(objects_[o].segment == i);
      CHECK(objects_[o].prev == prev);
      CHECK(objects_[o].length >= 1 && objects_[o].length <= kPageSize);
      CHECK(objects_[o].offset + objects_[o].length + tag_bytes <=
            s.used_bytes);
      live += objects_[o].length + tag_bytes;
      prev = o;
      ++linked;
    }
    CHECK(live == s.live_bytes);
    CHECK(s.live_bytes <= s.used_bytes && s.used_bytes <= kExtentBytes);
  }
  CHECK(linked == objects_used_);
}

}  // namespace uzswap
