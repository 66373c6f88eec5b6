// SPDX-License-Identifier: Apache-2.0
// A device as a log. Objects are sealed (seal.h) and appended to a segment in a
// buffer; a full segment is written in one piece. What is in a buffer is read
// from there, so an object exists from the moment that Write returns, and a
// segment counts as written only when the storage has said so about all of it:
// after a failure it stays in its buffer and is written again before anything
// else. Freeing leaves holes; a segment without objects gives its extent back.
// How they are closed: segment_clean.cc.
//
// One thread at a time has the turn: it writes and cleans, without the lock
// while the storage works. Others go on in a second buffer meanwhile.
#ifndef UZSWAP_DEVICE_SEGMENT_LOG_H_
#define UZSWAP_DEVICE_SEGMENT_LOG_H_

#include <atomic>

#include "base/mutex.h"
#include "device/device.h"
#include "device/read_ahead.h"
#include "device/seal.h"
#include "device/segment_table.h"
#include "device/storage.h"

namespace uzswap {

// Invariants: segments that are not written are in a buffer, and buffers_[b]
// names the one in b; the storage has as many extents in use as segments are
// written; filling_ and target_ are kFilling, and no other is.
class SegmentLog final : public Device {
 public:
  // Two for what comes in; two for the cleaner, one of which may be full and
  // not to be written yet when it starts.
  static constexpr unsigned kBuffers = 4;
  static constexpr unsigned kCleanerBuffers = 2;

  explicit SegmentLog(Storage* storage)
      : storage_(storage), size_(storage->size()) {}
  Status Init(Protection protection);

  Result<ObjectId> Write(std::span<const std::byte> object) override;
  Status ReadWith(ObjectId id, std::span<std::byte> object,
                  ReadAround& around) override;
  Status ReadHeld(ObjectId id, std::span<std::byte> object) override;
  void Free(ObjectId id) override;

  PageCount size() const override;
  void SetSize(PageCount pages) override;
  uint64_t used() const override {
    return objects_.load(std::memory_order_relaxed);
  }
  ByteCount metadata_bytes() const override;
  DeviceStats Stats() override;
  size_t Descriptors(int* fds, size_t capacity) override {
    return storage_->Descriptors(fds, capacity);
  }

  void PrepareFork() override {}
  void ParentAfterFork() override { storage_->ParentAfterFork(); }
  Status ChildAfterFork() override;
  void CheckInvariants() override;
  void Destroy() override;

 private:
  // An object in a segment that is cleaned.
  struct Left {
    uint16_t offset;
    uint16_t length;
  };
  // The shortest object is one byte and a checksum.
  static constexpr size_t kMostLeft = kExtentBytes / (1 + sizeof(uint64_t));
  static constexpr size_t kMemoryBytes =
      (kBuffers + 1) * kExtentBytes + PageCeil(kMostLeft * sizeof(Left));
  enum class From { kBuffer, kReadAhead, kStorage };

  // An object that is on its way back, in a segment that is held.
  struct Reading {
    uint32_t number;
    uint32_t offset;
    Segment segment;  // as it was
    SegmentPart part;
    From from;
    ReadAhead::Plan plan;  // if from the storage
    std::byte tag[Sealer::kMaxTagBytes];
  };

  // Coming in.
  bool HasRoom(uint32_t segment, size_t bytes) UZSWAP_REQUIRES(mutex_);
  Result<ObjectId> AppendNew(std::span<const std::byte> content)
      UZSWAP_REQUIRES(mutex_);
  void Append(uint32_t segment, uint32_t object,
              std::span<const std::byte> content) UZSWAP_REQUIRES(mutex_);
  Status MakeRoom() UZSWAP_REQUIRES(mutex_);
  // 0: no buffer of [first, end) is free.
  uint32_t OpenSegment(unsigned first, unsigned end) UZSWAP_REQUIRES(mutex_);
  void OpenFilling() UZSWAP_REQUIRES(mutex_);
  void Close(uint32_t& segment) UZSWAP_REQUIRES(mutex_);
  void WaitForTurn() UZSWAP_REQUIRES(mutex_);
  void EndTurn() UZSWAP_REQUIRES(mutex_);
  void TellWaiters();

  // Going out; the first six with the turn. They let the lock go for a while.
  Status WriteFull() UZSWAP_REQUIRES(mutex_);
  Status WriteOut(uint32_t segment) UZSWAP_REQUIRES(mutex_);
  bool OverSize(const Segment& segment) const UZSWAP_REQUIRES(mutex_);
  void CloseHoles() UZSWAP_REQUIRES(mutex_);
  bool Clean() UZSWAP_REQUIRES(mutex_);
  bool Empty(uint32_t victim) UZSWAP_REQUIRES(mutex_);
  std::span<const Left> ListVictim(const Segment& victim)
      UZSWAP_REQUIRES(mutex_);
  Status OpenVictim(const Segment& victim, std::span<const Left> left);
  void Move(uint32_t object) UZSWAP_REQUIRES(mutex_);
  uint32_t NextFull() UZSWAP_REQUIRES(mutex_);
  uint32_t PickVictim() UZSWAP_REQUIRES(mutex_);
  bool RoomToMove(uint32_t bytes) UZSWAP_REQUIRES(mutex_);
  void OpenTarget(size_t bytes) UZSWAP_REQUIRES(mutex_);

  // Coming back.
  void BeginRead(ObjectId id, std::span<std::byte> object,
                 const ReadAround& around, Reading& reading);
  void Hold(ObjectId id, std::span<std::byte> object, Reading& reading)
      UZSWAP_REQUIRES(mutex_);
  void TakeSealed(Reading& reading, const std::byte* from,
                  std::span<std::byte> object) const;
  ReadAhead::Plan PlanRead(const Reading& reading, const ReadAround& around)
      UZSWAP_REQUIRES(mutex_);
  Status Fetch(Reading& reading, std::span<std::byte> object,
               const ReadAhead::Plan& plan);
  Status FetchAgain(Reading& reading, std::span<std::byte> object,
                    Status first);
  bool Open(const Reading& reading, std::span<std::byte> object);
  void CountRead(ByteCount bytes);
  void TellWaitingReaders();
  Stamp StampOf(const Segment& segment, uint32_t offset) const;
  SegmentPart PartOf(const Segment& segment, uint32_t offset,
                     size_t length) const;
  void DropReader(uint32_t segment) UZSWAP_REQUIRES(mutex_);
  void FreeIfEmpty(uint32_t segment) UZSWAP_REQUIRES(mutex_);
  void Reseal(uint32_t segment) UZSWAP_REQUIRES(mutex_);
  std::byte* BufferAt(unsigned buffer) const {
    return buffer_memory_ + buffer * kExtentBytes;
  }
  void CountMemory() UZSWAP_REQUIRES(mutex_);

  Storage* const storage_;

  mutable Mutex mutex_{lock_class_};  // never held across I/O
  Sealer sealer_;
  SegmentTable table_ UZSWAP_GUARDED_BY(mutex_);
  ReadAhead read_ahead_;                // by who has mutex_, but for At
  std::byte* buffer_memory_ = nullptr;  // kBuffers, and scratch_
  uint32_t buffers_[kBuffers] UZSWAP_GUARDED_BY(mutex_) = {};
  unsigned buffers_touched_ UZSWAP_GUARDED_BY(mutex_) = 0;  // bits
  uint32_t filling_ UZSWAP_GUARDED_BY(mutex_) = 0;  // takes what comes in
  uint32_t target_ UZSWAP_GUARDED_BY(mutex_) = 0;   // takes what is moved
  uint64_t next_serial_ UZSWAP_GUARDED_BY(mutex_) = 1;
  uint32_t victim_cursor_ UZSWAP_GUARDED_BY(mutex_) = 1;
  uint64_t written_segments_ UZSWAP_GUARDED_BY(mutex_) = 0;
  ByteCount stored_bytes_ UZSWAP_GUARDED_BY(mutex_) = 0;  // in written ones
  ByteCount stored_live_ UZSWAP_GUARDED_BY(mutex_) = 0;
  ByteCount live_bytes_ UZSWAP_GUARDED_BY(mutex_) = 0;  // everywhere
  bool can_write_ UZSWAP_GUARDED_BY(mutex_) = true;
  bool stuck_ UZSWAP_GUARDED_BY(mutex_) = false;  // the last turn failed
  bool any_unreadable_ UZSWAP_GUARDED_BY(mutex_) = false;  // to be forgiven
  bool busy_ UZSWAP_GUARDED_BY(mutex_) = false;  // somebody has the turn
  // Of who has the turn: a segment that is cleaned, and where its objects lie.
  std::byte* scratch_ = nullptr;
  bool scratch_touched_ UZSWAP_GUARDED_BY(mutex_) = false;

  std::atomic<uint32_t> turns_{0};  // futex: changes when a turn ends
  std::atomic<uint64_t> objects_{0};
  std::atomic<ByteCount> memory_{0};
  std::atomic<ByteCount> written_bytes_{0};
  std::atomic<ByteCount> cleaned_bytes_{0};
  std::atomic<uint64_t> corrupt_reads_{0};
  std::atomic<uint64_t> reads_{0};
  std::atomic<ByteCount> read_bytes_{0};
  std::atomic<uint64_t> size_;  // extents that may be in use

  static LockClass lock_class_;
};

// Takes the storage over, also when it fails.
Result<Device*> NewSegmentLog(Storage* storage, Protection protection);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_SEGMENT_LOG_H_
