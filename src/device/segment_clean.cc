// SPDX-License-Identifier: Apache-2.0
// The other end of the log: segments are written out, and holes closed.
//
// The cleaner moves the objects of a segment with many holes to one of its own,
// when the storage says that it is full, or half of it is holes. Since that
// copies to memory first, it needs no room on the storage: the extent is free
// when the last object has moved, and then takes what waits in the buffers. So
// a storage can be full to the last extent and still be cleaned.
#include <algorithm>

#include "device/segment_log.h"

namespace uzswap {
namespace {

// Holes that a segment must have to be worth its copying, so that a storage can
// be used up to seven eighths.
constexpr uint32_t kLeastGarbage = kExtentBytes / 8;
// Segments looked at for the one with the least to copy, and found unreadable
// before it is enough for now.
constexpr uint32_t kWindow = 1024;
constexpr unsigned kAttempts = 4;
// Segments cleaned for one write: a full storage needs eight for one extent.
constexpr unsigned kMostAtOnce = 16;

constexpr size_t AlignUp(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) & ~(alignment - 1);
}

}  // namespace

// All that is full. Cleans where there is no room. REQUIRES: the turn.
Status SegmentLog::WriteFull() {
  for (unsigned cleaned = 0;;) {
    const uint32_t full = NextFull();
    if (full == 0) return kOk;
    const Status s = WriteOut(full);
    if (s.ok()) continue;
    if (s.error() != ENOSPC || ++cleaned > kMostAtOnce || !Clean()) return s;
  }
}

// What the cleaner wrote down anew made more room than it takes.
bool SegmentLog::OverSize(const Segment& segment) const {
  return segment.buffer < kBuffers - kCleanerBuffers &&
         written_segments_ >= size_.load(std::memory_order_relaxed);
}

// The cleaner's first: it needs its buffers to make more room.
uint32_t SegmentLog::NextFull() {
  uint32_t oldest = 0;
  for (unsigned b = kBuffers; b-- > 0;) {
    const uint32_t number = buffers_[b];
    if (number == 0) continue;
    const Segment& s = table_.segment(number);
    if (s.state != SegmentState::kFull) continue;
    if (b >= kBuffers - kCleanerBuffers) return number;
    if (oldest == 0 || s.serial < table_.segment(oldest).serial) {
      oldest = number;
    }
  }
  return oldest;
}

Status SegmentLog::WriteOut(uint32_t segment) {
  Segment& s = table_.segment(segment);
  if (OverSize(s)) return Status::Error(ENOSPC);
  s.state = SegmentState::kWriting;
  const std::span<const std::byte> bytes(
      BufferAt(s.buffer), AlignUp(s.used_bytes, storage_->alignment()));
  mutex_.Unlock();
  const Result<Extent> extent = storage_->Write(bytes);
  mutex_.Lock();
  if (extent.ok()) {
    s.extent = extent.value();
    s.state = SegmentState::kWritten;
    buffers_[s.buffer] = 0;
    TellWaiters();  // of the buffer; what the turn does next may take long
    ++written_segments_;
    stored_bytes_ += s.used_bytes;
    stored_live_ += s.live_bytes;
    written_bytes_.fetch_add(bytes.size(), std::memory_order_relaxed);
  } else {
    s.state = SegmentState::kFull;
  }
  FreeIfEmpty(segment);
  return extent.status();
}

// Bounded, so that no write takes long: what is left is done at the next one.
void SegmentLog::CloseHoles() {
  constexpr uint64_t kTooFewToClean = 16;
  constexpr unsigned kAtOnce = 3;
  for (unsigned i = 0; i < kAtOnce; ++i) {
    const bool holes = written_segments_ >= kTooFewToClean &&
                       stored_bytes_ - stored_live_ > stored_bytes_ / 2;
    const bool worthwhile =
        holes || written_segments_ > size_.load(std::memory_order_relaxed);
    if (!worthwhile || !Clean() || !WriteFull().ok()) return;
  }
}

// Empties one segment. False: there is none with enough holes, no room to move
// what is in it, or its objects cannot be read. REQUIRES: the turn.
bool SegmentLog::Clean() {
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    const uint32_t victim = PickVictim();
    if (victim == 0) return false;
    if (!RoomToMove(table_.segment(victim).live_bytes)) return false;
    // Kept until its last object has moved, also if others free them.
    ++table_.segment(victim).readers;
    const bool empty = Empty(victim);
    DropReader(victim);
    if (empty) return true;
  }
  return false;
}

bool SegmentLog::Empty(uint32_t victim) {
  const bool have = ReadVictim(victim);
  for (;;) {
    const uint32_t object = table_.segment(victim).first;
    if (object == 0) return true;
    const Moved moved = Move(victim, object, have);
    if (moved == Moved::kYes) continue;
    table_.segment(victim).corrupt = moved == Moved::kCorrupt;
    table_.segment(victim).unreadable = true;
    any_unreadable_ = true;
    return false;
  }
}

// All that is left of it, and the holes between, to where it lay. False: some
// of it cannot be read, and each object has to be tried by itself.
bool SegmentLog::ReadVictim(uint32_t victim) {
  const Segment segment = table_.segment(victim);
  SegmentPart part{segment.serial, segment.used_bytes, 0};
  for (uint32_t o = segment.first; o != 0; o = table_.object(o).next) {
    const Object& object = table_.object(o);
    const SegmentPart one = PartOf(segment, object.offset, object.length);
    part.from = std::min(part.from, one.from);
    part.to = std::max(part.to, one.to);
  }
  if (part.to == 0) return false;
  scratch_touched_ = true;
  CountMemory();
  mutex_.Unlock();
  const bool have = ReadSealed(segment, part);
  mutex_.Lock();
  return have;
}

bool SegmentLog::ReadSealed(const Segment& victim, const SegmentPart& part) {
  const SegmentPart whole = read_ahead_.Least(part, victim.used_bytes);
  const size_t bytes = whole.to - whole.from;
  CountRead(bytes);
  return storage_
      ->Read(victim.extent, whole.from, {scratch_ + whole.from, bytes}, {})
      .ok();
}

// Yes also if the object was freed meanwhile. `have`: it lies in scratch_.
SegmentLog::Moved SegmentLog::Move(uint32_t victim, uint32_t object,
                                   bool have) {
  const Segment segment = table_.segment(victim);
  const uint32_t offset = table_.object(object).offset;
  const size_t length = table_.object(object).length;
  const std::span<std::byte> content(scratch_ + offset, length);
  const std::byte* const tag = content.data() + length;
  const Stamp stamp = StampOf(segment, offset);
  mutex_.Unlock();
  bool right = have && sealer_.Open(stamp, content, tag);
  bool read = true;
  if (!right) {
    read = ReadSealed(segment, PartOf(segment, offset, length));
    right = read && sealer_.Open(stamp, content, tag);
  }
  mutex_.Lock();
  const Object& o = table_.object(object);
  if (o.segment != victim || o.offset != offset) return Moved::kYes;
  if (!right) return read ? Moved::kCorrupt : Moved::kReadFailed;
  OpenTarget(length);
  const auto tag_bytes = static_cast<uint32_t>(sealer_.tag_bytes());
  table_.Unlink(object, tag_bytes);
  Append(target_, object, content);
  stored_live_ -= length + tag_bytes;
  cleaned_bytes_.fetch_add(length + tag_bytes, std::memory_order_relaxed);
  return Moved::kYes;
}

// In one segment, or also in a second one, where everything fits.
bool SegmentLog::RoomToMove(uint32_t bytes) {
  if (target_ != 0 &&
      bytes <= kExtentBytes - table_.segment(target_).used_bytes) {
    return true;
  }
  return std::any_of(buffers_ + kBuffers - kCleanerBuffers, buffers_ + kBuffers,
                     [](uint32_t segment) { return segment == 0; });
}

void SegmentLog::OpenTarget(size_t bytes) {
  if (target_ != 0 && !HasRoom(target_, bytes)) Close(target_);
  if (target_ != 0) return;
  target_ = OpenSegment(kBuffers - kCleanerBuffers, kBuffers);
  CHECK(target_ != 0);  // RoomToMove
}

// The one with the fewest live bytes of the next kWindow; of more, if none of
// those will do. 0: none has enough holes; those that could not be read get
// another chance then, for that may have passed.
uint32_t SegmentLog::PickVictim() {
  const uint32_t end = table_.segment_end();
  uint32_t best = 0;
  for (uint32_t seen = 1; seen < end; ++seen) {
    if (++victim_cursor_ >= end) victim_cursor_ = 1;
    const Segment& s = table_.segment(victim_cursor_);
    // An empty one is only waiting for somebody who reads it.
    if (s.state == SegmentState::kWritten && !s.unreadable && s.first != 0 &&
        s.live_bytes + kLeastGarbage <= kExtentBytes &&
        (best == 0 || s.live_bytes < table_.segment(best).live_bytes)) {
      best = victim_cursor_;
    }
    if (best != 0 && seen % kWindow == 0) break;
  }
  if (best != 0 || !any_unreadable_) return best;
  any_unreadable_ = false;
  for (uint32_t i = 1; i < end; ++i) {
    Segment& s = table_.segment(i);
    s.unreadable = s.corrupt;
  }
  return PickVictim();
}

}  // namespace uzswap
