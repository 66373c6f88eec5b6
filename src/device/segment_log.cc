// SPDX-License-Identifier: Apache-2.0
// The life of a log; what comes in and what is read. Writing out and cleaning:
// segment_clean.cc.
#include "device/segment_log.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/os.h"
#include "device/nbd_address.h"

namespace uzswap {

constinit LockClass SegmentLog::lock_class_{"segment log"};

namespace {

// To what SetSize can raise a file: 1 TiB. It costs addresses only.
constexpr uint64_t kRoomToGrow = (uint64_t{1} << 40) / kExtentBytes;

}  // namespace

// ---- coming in

Result<ObjectId> SegmentLog::Write(std::span<const std::byte> object) {
  CHECK(!object.empty() && object.size() <= kPageSize);
  ScopedLock lock(mutex_);
  for (;;) {
    if (!can_write_) return Status::Error(ENOSPC);
    if (filling_ == 0) OpenFilling();
    if (filling_ != 0 && HasRoom(filling_, object.size())) {
      return AppendNew(object);
    }
    UZSWAP_RETURN_IF_ERROR(MakeRoom());
  }
}

bool SegmentLog::HasRoom(uint32_t segment, size_t bytes) {
  return table_.segment(segment).used_bytes + bytes + sealer_.tag_bytes() <=
         kExtentBytes;
}

Result<ObjectId> SegmentLog::AppendNew(std::span<const std::byte> content) {
  const uint32_t object = table_.TakeObject();
  if (object == 0) return Status::Error(ENOSPC);
  Append(filling_, object, content);
  live_bytes_ += content.size() + sealer_.tag_bytes();
  objects_.fetch_add(1, std::memory_order_relaxed);
  CountMemory();
  return ObjectId{object};
}

// REQUIRES: there is room; the object is in no segment.
void SegmentLog::Append(uint32_t segment, uint32_t object,
                        std::span<const std::byte> content) {
  Segment& s = table_.segment(segment);
  DCHECK(s.state == SegmentState::kFilling);
  const uint32_t offset = s.used_bytes;
  sealer_.Seal(StampOf(s, offset), content, BufferAt(s.buffer) + offset);
  s.used_bytes += static_cast<uint32_t>(content.size() + sealer_.tag_bytes());
  table_.object(object).offset = static_cast<uint16_t>(offset);
  table_.object(object).length = static_cast<uint16_t>(content.size());
  table_.Link(object, segment, static_cast<uint32_t>(sealer_.tag_bytes()));
}

uint32_t SegmentLog::OpenSegment(unsigned first, unsigned end) {
  unsigned buffer = first;
  while (buffer < end && buffers_[buffer] != 0) ++buffer;
  if (buffer == end) return 0;
  const uint32_t number = table_.TakeSegment();
  if (number == 0) return 0;
  Segment& s = table_.segment(number);
  s.state = SegmentState::kFilling;
  s.buffer = static_cast<uint8_t>(buffer);
  s.serial = next_serial_++;
  s.key = sealer_.HoldCurrent();
  buffers_[buffer] = number;
  buffers_touched_ |= 1u << buffer;
  CountMemory();
  return number;
}

// Not while something waits to be written again: that comes first.
void SegmentLog::OpenFilling() {
  if (!stuck_) filling_ = OpenSegment(0, kBuffers - kCleanerBuffers);
}

// Nothing is added to it any more. No segment: nothing happens.
void SegmentLog::Close(uint32_t& segment) {
  if (segment == 0) return;
  table_.segment(segment).state = SegmentState::kFull;
  FreeIfEmpty(segment);
  segment = 0;
}

// The segment that fills has too little room for an object. Returns when there
// may be room; the caller looks again.
Status SegmentLog::MakeRoom() {
  Close(filling_);
  if (busy_) {
    OpenFilling();
    if (filling_ == 0) WaitForTurn();
    return kOk;
  }
  busy_ = true;
  const Status s = WriteFull();
  stuck_ = !s.ok();
  if (s.ok()) CloseHoles();
  EndTurn();
  return s;
}

void SegmentLog::WaitForTurn() {
  const uint32_t turn = turns_.load(std::memory_order_relaxed);
  mutex_.Unlock();
  os::FutexWait(&turns_, turn, -1).Ignore();  // the caller looks again
  mutex_.Lock();
}

void SegmentLog::EndTurn() {
  busy_ = false;
  TellWaiters();
}

void SegmentLog::TellWaiters() {
  turns_.fetch_add(1, std::memory_order_relaxed);
  os::FutexWake(&turns_, INT32_MAX);
}

// They wait for a buffer only where reads need one.
void SegmentLog::TellWaitingReaders() {
  if (storage_->alignment() != 1) TellWaiters();
}

// ---- the end of objects and segments

void SegmentLog::Free(ObjectId id) {
  const auto number = static_cast<uint32_t>(id);
  ScopedLock lock(mutex_);
  const Object& o = table_.object(number);
  const uint32_t segment = o.segment;
  CHECK(segment != 0);
  const size_t bytes = o.length + sealer_.tag_bytes();
  live_bytes_ -= bytes;
  if (table_.segment(segment).state == SegmentState::kWritten) {
    stored_live_ -= bytes;
  }
  table_.Unlink(number, static_cast<uint32_t>(sealer_.tag_bytes()));
  table_.PutObject(number);
  objects_.fetch_sub(1, std::memory_order_relaxed);
  FreeIfEmpty(segment);
}

void SegmentLog::FreeIfEmpty(uint32_t segment) {
  Segment& s = table_.segment(segment);
  if (s.first != 0 || s.readers != 0) return;
  if (s.state == SegmentState::kWritten) {
    storage_->Free(s.extent);
    --written_segments_;
    stored_bytes_ -= s.used_bytes;
  } else if (s.state == SegmentState::kFull) {
    buffers_[s.buffer] = 0;
  } else {
    return;  // somebody fills or writes it
  }
  sealer_.Drop(s.key);
  table_.PutSegment(segment);
}

// ---- accounts, fork, end

PageCount SegmentLog::size() const {
  return size_.load(std::memory_order_relaxed) * kExtentPages;
}

void SegmentLog::SetSize(PageCount pages) {
  size_.store(std::clamp<uint64_t>(pages / kExtentPages, 1, storage_->size()),
              std::memory_order_relaxed);
}

void SegmentLog::CountMemory() {
  ByteCount bytes = PageCeil(sizeof(*this)) + table_.bytes() + sealer_.bytes() +
                    read_ahead_.bytes();
  if (scratch_touched_) bytes += kExtentBytes + kPageSize;
  for (unsigned b = 0; b < kBuffers; ++b) {
    if ((buffers_touched_ >> b & 1) != 0) bytes += kExtentBytes;
  }
  memory_.store(bytes, std::memory_order_relaxed);
}

ByteCount SegmentLog::metadata_bytes() const {
  return memory_.load(std::memory_order_relaxed) + storage_->metadata_bytes();
}

DeviceStats SegmentLog::Stats() {
  ScopedLock lock(mutex_);
  return {.written_bytes = written_bytes_.load(std::memory_order_relaxed),
          .cleaned_bytes = cleaned_bytes_.load(std::memory_order_relaxed),
          .live_bytes = live_bytes_,
          .garbage_bytes = stored_bytes_ - stored_live_,
          .corrupt_reads = corrupt_reads_.load(std::memory_order_relaxed),
          .reads = reads_.load(std::memory_order_relaxed),
          .read_bytes = read_bytes_.load(std::memory_order_relaxed),
          .alignment = storage_->alignment()};
}

// What the child has in buffers was sealed with a key that the parent goes on
// with, at the same serial numbers: it is sealed anew, where it lies.
Status SegmentLog::ChildAfterFork() {
  mutex_.ResetInChild();
  ScopedLock lock(mutex_);
  busy_ = false;
  written_bytes_.store(0, std::memory_order_relaxed);
  cleaned_bytes_.store(0, std::memory_order_relaxed);
  corrupt_reads_.store(0, std::memory_order_relaxed);
  reads_.store(0, std::memory_order_relaxed);
  read_bytes_.store(0, std::memory_order_relaxed);
  read_ahead_.ResetInChild();
  const Status storage = storage_->ChildAfterFork();
  // Also without room: the page of the ancestors' keys has to be locked again.
  const Status sealer = sealer_.ChildAfterFork();
  can_write_ = storage.ok() && sealer.ok();
  if (!can_write_) return Status::Error(ENOSPC);
  if (!sealer_.encrypts()) return kOk;
  for (const uint32_t segment : buffers_) {
    if (segment != 0) Reseal(segment);
  }
  return kOk;
}

void SegmentLog::Reseal(uint32_t segment) {
  Segment& s = table_.segment(segment);
  const Segment old = s;
  s.serial = next_serial_++;
  s.key = sealer_.HoldCurrent();
  for (uint32_t o = s.first; o != 0; o = table_.object(o).next) {
    const Object& object = table_.object(o);
    std::byte* const at = BufferAt(s.buffer) + object.offset;
    const std::span<std::byte> content(at, object.length);
    CHECK(
        sealer_.Open(StampOf(old, object.offset), content, at + object.length));
    sealer_.Seal(StampOf(s, object.offset), content, at);
  }
  sealer_.Drop(old.key);
}

void SegmentLog::CheckInvariants() {
  ScopedLock lock(mutex_);
  table_.CheckInvariants(static_cast<uint32_t>(sealer_.tag_bytes()));
  uint64_t written = 0;
  ByteCount live = 0;
  ByteCount stored = 0;
  ByteCount stored_live = 0;
  uint32_t keys[Sealer::kKeys] = {};
  ++keys[sealer_.current()];
  for (uint32_t i = 1; i < table_.segment_end(); ++i) {
    const Segment& s = table_.segment(i);
    if (s.state == SegmentState::kFree) continue;
    live += s.live_bytes;
    ++keys[s.key];
    CHECK((s.state == SegmentState::kFilling) ==
          (i == filling_ || i == target_));
    if (s.state != SegmentState::kWritten) {
      CHECK(buffers_[s.buffer] == i);
      continue;
    }
    CHECK(s.first != 0 || s.readers != 0);
    ++written;
    stored += s.used_bytes;
    stored_live += s.live_bytes;
  }
  CHECK(written == written_segments_ && written == storage_->used());
  CHECK(live == live_bytes_);
  CHECK(stored == stored_bytes_ && stored_live == stored_live_);
  CHECK(table_.objects_used() == used());
  read_ahead_.CheckInvariants();
  for (unsigned k = 0; k < Sealer::kKeys; ++k) {
    CHECK(keys[k] == sealer_.users(static_cast<uint8_t>(k)));
  }
  storage_->CheckInvariants();
}

Status SegmentLog::Init(Protection protection) {
  ScopedLock lock(mutex_);
  UZSWAP_RETURN_IF_ERROR(sealer_.Init(protection));
  UZSWAP_RETURN_IF_ERROR(table_.Init(storage_->size()));
  UZSWAP_RETURN_IF_ERROR(read_ahead_.Init(storage_->alignment()));
  const Result<void*> memory = os::Map(kMemoryBytes);
  if (!memory.ok()) return memory.status();
  buffer_memory_ = static_cast<std::byte*>(memory.value());
  scratch_ = buffer_memory_ + kBuffers * kExtentBytes;
  CountMemory();
  return kOk;
}

void SegmentLog::Destroy() {
  {
    ScopedLock lock(mutex_);
    sealer_.Release();
    table_.Release();
    read_ahead_.Release();
    if (buffer_memory_ != nullptr) {
      CHECK(os::Unmap(buffer_memory_, kMemoryBytes).ok());
    }
  }
  storage_->Destroy();
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

Result<Device*> NewSegmentLog(Storage* storage, Protection protection) {
  const Result<void*> memory = os::Map(PageCeil(sizeof(SegmentLog)));
  if (!memory.ok()) {
    storage->Destroy();
    return memory.status();
  }
  auto* log = new (memory.value()) SegmentLog(storage);
  if (const Status s = log->Init(protection); !s.ok()) {
    log->Destroy();
    return s;
  }
  return static_cast<Device*>(log);
}

Result<Device*> NewDevice(const DeviceConfig& config) {
  const uint64_t extents = config.size / kExtentPages;
  if (extents == 0) return Status::Error(EINVAL);
  const uint64_t most = std::max(extents, kRoomToGrow);
  const Result<Storage*> storage =
      IsNbd(config.path)
          ? NewNbdStorage(config.path, most,
                          {config.leases, config.timeout_seconds})
          : NewFileStorage(config.path, most, config.direct);
  if (!storage.ok()) return storage.status();
  const Result<Device*> log = NewSegmentLog(storage.value(), config.protection);
  if (log.ok()) log.value()->SetSize(config.size);
  return log;
}

Result<Device*> NewFileDevice(const char* path, PageCount size,
                              Protection protection) {
  return NewDevice({.path = path, .size = size, .protection = protection});
}

}  // namespace uzswap
