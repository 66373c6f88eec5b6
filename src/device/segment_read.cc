// SPDX-License-Identifier: Apache-2.0
// What comes back from a log: from a buffer that is not written yet, from what
// was read ahead, or from the storage. What was read with others and is not
// right is read again by itself before anybody is told: only the object's own
// sectors count.
#include <cstring>

#include "device/segment_log.h"

namespace uzswap {

Stamp SegmentLog::StampOf(const Segment& segment, uint32_t offset) const {
  return {segment.serial, offset, segment.key};
}

SegmentPart SegmentLog::PartOf(const Segment& segment, uint32_t offset,
                               size_t length) const {
  const size_t end = offset + length + sealer_.tag_bytes();
  return {segment.serial, offset, static_cast<uint32_t>(end)};
}

Status SegmentLog::ReadWith(ObjectId id, std::span<std::byte> object,
                            ReadAround& around) {
  Reading reading;
  BeginRead(id, object, around, reading);
  around.from_storage = reading.from == From::kStorage;
  around.brought = around.from_storage && reading.plan.around;
  Status s = kOk;
  if (reading.from == From::kStorage) s = Fetch(reading, object, reading.plan);
  if (!s.ok() || !Open(reading, object)) s = FetchAgain(reading, object, s);
  if (s.error() == EBADMSG) {
    corrupt_reads_.fetch_add(1, std::memory_order_relaxed);
  }
  ScopedLock lock(mutex_);
  DropReader(reading.number);
  return s;
}

// Counts as no use of what is held: nobody has asked for it yet.
Status SegmentLog::ReadHeld(ObjectId id, std::span<std::byte> object) {
  Reading reading;
  {
    ScopedLock lock(mutex_);
    Hold(id, object, reading);
    const std::byte* const from =
        reading.segment.state != SegmentState::kWritten
            ? BufferAt(reading.segment.buffer) + reading.offset
            : read_ahead_.Peek(reading.part);
    if (from == nullptr) {
      DropReader(reading.number);
      return Status::Error(ENODATA);
    }
    TakeSealed(reading, from, object);
  }
  const bool good = Open(reading, object);
  ScopedLock lock(mutex_);
  DropReader(reading.number);
  return good ? kOk : Status::Error(ENODATA);
}

// The object's segment stays until DropReader.
void SegmentLog::Hold(ObjectId id, std::span<std::byte> object,
                      Reading& reading) {
  const Object& o = table_.object(static_cast<uint32_t>(id));
  reading.number = o.segment;
  CHECK(reading.number != 0 && o.length == object.size());
  reading.offset = o.offset;
  ++table_.segment(reading.number).readers;
  reading.segment = table_.segment(reading.number);
  reading.part = PartOf(reading.segment, reading.offset, object.size());
}

// Afterwards either the object is there, sealed, or there is a plan how to get
// it. Its segment is held.
void SegmentLog::BeginRead(ObjectId id, std::span<std::byte> object,
                           const ReadAround& around, Reading& reading) {
  ScopedLock lock(mutex_);
  Hold(id, object, reading);
  const Segment& segment = reading.segment;
  const std::byte* from = nullptr;
  if (segment.state != SegmentState::kWritten) {
    from = BufferAt(segment.buffer) + reading.offset;
    reading.from = From::kBuffer;
  } else {
    from = read_ahead_.Find(reading.part);
    reading.from = from != nullptr ? From::kReadAhead : From::kStorage;
  }
  if (from != nullptr) {
    TakeSealed(reading, from, object);
  } else {
    reading.plan = PlanRead(reading, around);
  }
}

void SegmentLog::TakeSealed(Reading& reading, const std::byte* from,
                            std::span<std::byte> object) const {
  memcpy(object.data(), from, object.size());
  memcpy(reading.tag, from + object.size(), sealer_.tag_bytes());
}

// Waits for a buffer where reads need one.
ReadAhead::Plan SegmentLog::PlanRead(const Reading& reading,
                                     const ReadAround& around) {
  for (;;) {
    const ReadAhead::Plan plan =
        read_ahead_.Begin(reading.part, reading.segment.used_bytes, around);
    if (plan.buffer != ReadAhead::kNone || storage_->alignment() == 1) {
      CountMemory();
      return plan;
    }
    WaitForTurn();
  }
}

// Reads what the plan says; the buffer is given back.
Status SegmentLog::Fetch(Reading& reading, std::span<std::byte> object,
                         const ReadAhead::Plan& plan) {
  if (plan.buffer == ReadAhead::kNone) {
    CountRead(object.size() + sealer_.tag_bytes());
    return storage_->Read(reading.segment.extent, reading.offset, object,
                          {reading.tag, sealer_.tag_bytes()});
  }
  const SegmentPart& part = plan.part;
  std::byte* const to = read_ahead_.At(plan.buffer);
  CountRead(part.to - part.from);
  const Status s = storage_->Read(reading.segment.extent, part.from,
                                  {to, part.to - part.from}, {});
  if (s.ok()) TakeSealed(reading, to + (reading.offset - part.from), object);
  ScopedLock lock(mutex_);
  read_ahead_.Arrived(plan, s.ok());
  TellWaitingReaders();
  return s;
}

// It came with others, and is wrong or did not come at all: once more, alone.
Status SegmentLog::FetchAgain(Reading& reading, std::span<std::byte> object,
                              Status first) {
  const bool alone =
      reading.from == From::kStorage && reading.plan.buffer == ReadAhead::kNone;
  if (alone || reading.from == From::kBuffer) {
    return first.ok() ? Status::Error(EBADMSG) : first;
  }
  ReadAhead::Plan plan{ReadAhead::kNone, reading.part, false};
  {
    ScopedLock lock(mutex_);
    read_ahead_.Forget(reading.segment.serial);
    if (storage_->alignment() != 1) {
      plan = PlanRead(reading, {});
      plan.part = read_ahead_.Least(reading.part, reading.segment.used_bytes);
    }
  }
  UZSWAP_RETURN_IF_ERROR(Fetch(reading, object, plan));
  return Open(reading, object) ? kOk : Status::Error(EBADMSG);
}

bool SegmentLog::Open(const Reading& reading, std::span<std::byte> object) {
  return sealer_.Open(StampOf(reading.segment, reading.offset), object,
                      reading.tag);
}

void SegmentLog::CountRead(ByteCount bytes) {
  reads_.fetch_add(1, std::memory_order_relaxed);
  read_bytes_.fetch_add(bytes, std::memory_order_relaxed);
}

void SegmentLog::DropReader(uint32_t segment) {
  Segment& s = table_.segment(segment);
  DCHECK(s.readers > 0);
  --s.readers;
  FreeIfEmpty(segment);
}

}  // namespace uzswap
