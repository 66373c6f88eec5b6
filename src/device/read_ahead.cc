// SPDX-License-Identifier: Apache-2.0
#include "device/read_ahead.h"

#include <algorithm>

#include "base/os.h"

namespace uzswap {
namespace {

constexpr uint32_t kFirstWindow = 8 << 10;
constexpr uint32_t kMaxWindow = kExtentBytes;
// Objects that were freed or stayed in memory make holes in a sequence.
constexpr uint32_t kReach = 8 << 10;
// Segments of the cleaner and of other threads lie in between.
constexpr uint64_t kNextSegments = 4;

constexpr size_t kMemoryBytes = ReadAhead::kStreams * kExtentBytes;

}  // namespace

Status ReadAhead::Init(size_t alignment) {
  CHECK(alignment >= 1 && alignment <= kPageSize);
  alignment_ = static_cast<uint32_t>(alignment);
  const Result<void*> memory = os::Map(kMemoryBytes, /*sparse=*/true);
  if (!memory.ok()) return memory.status();
  memory_ = static_cast<std::byte*>(memory.value());
  return kOk;
}

void ReadAhead::Release() {
  if (memory_ == nullptr) return;
  CHECK(os::Unmap(memory_, kMemoryBytes).ok());
  memory_ = nullptr;
}

// kNone: nobody holds all of it.
unsigned ReadAhead::HolderOf(const SegmentPart& object) const {
  for (unsigned i = 0; i < kStreams; ++i) {
    const SegmentPart& held = streams_[i].held;
    if (held.serial == object.serial && object.from >= held.from &&
        object.to <= held.to && !streams_[i].busy) {
      return i;
    }
  }
  return kNone;
}

const std::byte* ReadAhead::Find(const SegmentPart& object) {
  const unsigned i = HolderOf(object);
  if (i == kNone) return nullptr;
  Stream& stream = streams_[i];
  stream.serial = object.serial;
  stream.end = object.to;
  stream.hits += object.to - object.from;
  stream.used = ++clock_;
  return At(i) + (object.from - stream.held.from);
}

const std::byte* ReadAhead::Peek(const SegmentPart& object) const {
  const unsigned i = HolderOf(object);
  if (i == kNone) return nullptr;
  return At(i) + (object.from - streams_[i].held.from);
}

// Batches of pages are read upwards, but they may follow each other downwards:
// the same segment again, or one before it, is the same stream.
bool ReadAhead::Follows(const Stream& stream, const SegmentPart& object) {
  if (stream.serial == 0) return false;
  if (object.serial == stream.serial) return true;
  if (object.serial > stream.serial) {
    return object.serial - stream.serial <= kNextSegments &&
           object.from <= kReach;
  }
  return stream.window != 0 && stream.serial - object.serial <= kNextSegments;
}

// Before the next read of a stream: how useful was the last one?
void ReadAhead::Adapt(Stream& stream, const SegmentPart& object) {
  if (stream.window == 0) {
    const bool next =
        object.serial != stream.serial ||
        (object.from >= stream.end && object.from - stream.end <= kReach);
    if (next) stream.window = kFirstWindow;
    return;
  }
  const uint32_t held = stream.held.to - stream.held.from;
  if (stream.hits >= held / 2) {
    stream.window = std::min(kMaxWindow, stream.window * 2);
  } else if (stream.hits < held / 4) {
    stream.window = stream.window > kFirstWindow ? stream.window / 2 : 0;
  }
}

// The one that it follows, else the least recently used; nullptr: all are busy.
ReadAhead::Stream* ReadAhead::StreamOf(const SegmentPart& object) {
  Stream* oldest = nullptr;
  for (Stream& stream : streams_) {
    if (stream.busy) continue;
    if (Follows(stream, object)) {
      Adapt(stream, object);
      return &stream;
    }
    if (oldest == nullptr || stream.used < oldest->used) oldest = &stream;
  }
  if (oldest != nullptr) oldest->window = 0;
  return oldest;
}

SegmentPart ReadAhead::Least(const SegmentPart& object, uint32_t end) const {
  // Where there is an alignment, segments are written in multiples of it.
  const uint32_t mask = alignment_ - 1;
  return {object.serial, object.from & ~mask,
          std::max(object.to, (std::min(object.to, end) + mask) & ~mask)};
}

SegmentPart ReadAhead::Wanted(const Stream& stream, const SegmentPart& object,
                              uint32_t end, const ReadAround& around) {
  SegmentPart wanted = object;
  const uint32_t after =
      stream.window != 0 ? std::min(end, object.from + stream.window)
                         : object.to + std::min(around.after, end - object.to);
  wanted.to = std::max(object.to, after);
  if (stream.window == 0) wanted.from -= std::min(around.before, object.from);
  return wanted;
}

ReadAhead::Plan ReadAhead::Begin(const SegmentPart& object, uint32_t end,
                                 const ReadAround& around) {
  DCHECK(object.to <= end);
  Stream* const stream = StreamOf(object);
  if (stream == nullptr) return {kNone, object, false};
  stream->serial = object.serial;
  stream->end = object.to;
  stream->used = ++clock_;
  const bool alone = around.before == 0 && around.after == 0;
  if (stream->window == 0 && alone && alignment_ == 1) {
    return {kNone, object, false};
  }
  const SegmentPart part = Least(Wanted(*stream, object, end, around), end);
  const uint32_t bytes = part.to - part.from;
  const auto touched = static_cast<uint32_t>(PageCeil(bytes));
  if (touched > stream->touched) {
    touched_bytes_ += touched - stream->touched;
    stream->touched = touched;
  }
  stream->busy = true;
  stream->held = {};
  stream->hits = 0;
  return {static_cast<unsigned>(stream - streams_), part,
          !alone && stream->window == 0};
}

void ReadAhead::Arrived(const Plan& plan, bool good) {
  if (plan.buffer == kNone) return;
  Stream& stream = streams_[plan.buffer];
  DCHECK(stream.busy);
  stream.busy = false;
  if (good) {
    stream.held = plan.part;
    stream.hits = stream.end - std::min(stream.end, plan.part.from);
  } else {
    stream.window = 0;
  }
}

void ReadAhead::Forget(uint64_t serial) {
  for (Stream& stream : streams_) {
    if (stream.held.serial != serial) continue;
    stream.held = {};
    stream.hits = 0;
    stream.window = 0;
  }
}

void ReadAhead::ResetInChild() {
  for (Stream& stream : streams_) stream.busy = false;
}

void ReadAhead::CheckInvariants() const {
  ByteCount touched = 0;
  for (const Stream& stream : streams_) {
    const SegmentPart& held = stream.held;
    CHECK(held.from <= held.to && held.to <= kExtentBytes);
    CHECK(held.to - held.from <= stream.touched);
    CHECK(stream.touched <= kExtentBytes);
    CHECK(held.serial != 0 || stream.hits == 0);
    CHECK(stream.window <= kMaxWindow);
    touched += stream.touched;
  }
  CHECK(touched == touched_bytes_);
}

}  // namespace uzswap
