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

// All of it or nothing: what was moved without an extent becoming free would
// fill the cleaner's buffers, and a full storage could not be cleaned any more.
bool SegmentLog::Empty(uint32_t victim) {
  const Segment segment = table_.segment(victim);
  const std::span<const Left> left = ListVictim(segment);
  mutex_.Unlock();
  // What is wrong may have become so on its way.
  Status s = OpenVictim(segment, left);
  if (s.error() == EBADMSG) s = OpenVictim(segment, left);
  mutex_.Lock();
  if (!s.ok()) {
    table_.segment(victim).corrupt = s.error() == EBADMSG;
    table_.segment(victim).unreadable = true;
    any_unreadable_ = true;
    return false;
  }
  for (;;) {
    const uint32_t object = table_.segment(victim).first;
    if (object == 0) return true;
    Move(object);
    // Others wait for the lock; they can only make it fewer.
    mutex_.Unlock();
    mutex_.Lock();
  }
}

// Where its objects lie.
std::span<const SegmentLog::Left> SegmentLog::ListVictim(
    const Segment& victim) {
  scratch_touched_ = true;
  CountMemory();
  auto* const list = reinterpret_cast<Left*>(scratch_ + kExtentBytes);
  size_t count = 0;
  for (uint32_t o = victim.first; o != 0; o = table_.object(o).next) {
    CHECK(count < kMostLeft);
    list[count++] = {table_.object(o).offset, table_.object(o).length};
  }
  return {list, count};
}

// Brings all objects of a segment to where they lay in it, in scratch_, opened.
// EBADMSG: one at least is not what was written.
Status SegmentLog::OpenVictim(const Segment& victim,
                              std::span<const Left> left) {
  SegmentPart part{victim.serial, victim.used_bytes, 0};
  for (const Left& one : left) {
    const SegmentPart its = PartOf(victim, one.offset, one.length);
    part.from = std::min(part.from, its.from);
    part.to = std::max(part.to, its.to);
  }
  if (left.empty()) return kOk;
  part = read_ahead_.Least(part, victim.used_bytes);
  const size_t bytes = part.to - part.from;
  CountRead(bytes);
  UZSWAP_RETURN_IF_ERROR(storage_->Read(victim.extent, part.from,
                                        {scratch_ + part.from, bytes}, {}));
  for (const Left& one : left) {
    const std::span<std::byte> content(scratch_ + one.offset, one.length);
    if (!sealer_.Open(StampOf(victim, one.offset), content,
                      content.data() + one.length)) {
      return Status::Error(EBADMSG);
    }
  }
  return kOk;
}

// From scratch_ to the segment that takes what is moved.
void SegmentLog::Move(uint32_t object) {
  const uint32_t offset = table_.object(object).offset;
  const size_t length = table_.object(object).length;
  OpenTarget(length);
  const auto tag_bytes = static_cast<uint32_t>(sealer_.tag_bytes());
  table_.Unlink(object, tag_bytes);
  Append(target_, object, {scratch_ + offset, length});
  stored_live_ -= length + tag_bytes;
  cleaned_bytes_.fetch_add(length + tag_bytes, std::memory_order_relaxed);
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
