// SPDX-License-Identifier: Apache-2.0
// Work that a device does beside the CPU (the kernel's asynchronous acomp
// drivers, above all iaa_crypto), without a way for it to harm memory.
//
// A device sees nothing but slots: two pages and a record each, which live as
// long as the queue. Sources are copied in, results copied out by the thread
// that asked. A device that is late, or hangs, owns its slot until it says that
// it is done: the slot is in quarantine, and whoever waited goes on with a
// codec. So no late write can meet memory that was given to somebody else.
#ifndef UZSWAP_COMPRESS_OFFLOAD_H_
#define UZSWAP_COMPRESS_OFFLOAD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

enum class AcompOp : uint8_t { kCompress, kDecompress };

// What a device may touch, from Attach to Stop. Slot i has page i of both
// areas and `kRecordBytes` for descriptor and completion record.
struct OffloadMemory {
  static constexpr size_t kRecordBytes = 128;

  MutablePage source(unsigned slot) const {
    return MutablePage(pages + 2 * slot * kPageSize, kPageSize);
  }
  MutablePage destination(unsigned slot) const {
    return MutablePage(pages + (2 * slot + 1) * kPageSize, kPageSize);
  }
  std::byte* record(unsigned slot) const {
    return records + slot * kRecordBytes;
  }

  std::byte* pages;    // page-aligned
  std::byte* records;  // page-aligned
  unsigned slots;
};

struct OffloadJob {
  AcompOp op;
  unsigned slot;
  uint32_t source_bytes;  // in source(slot)
  uint32_t room;          // in destination(slot)
};

// ENOSPC: does not fit the room (the page does not compress). Any other error:
// the device could not do it, which says nothing about the page.
struct OffloadResult {
  int error;
  uint32_t length;
};

// What a driver implements. Its format is that of the codec it stands beside: a
// page that one has compressed, the other can decompress.
//
// Threads: Submit, Poll and Cancel are called by many, but for one slot by one
// at a time. They run inside page faults of arbitrary programs: no allocation,
// no lock that a thread could hold while it faults, no wait.
class OffloadDevice {
 public:
  // How many jobs it can hold at once, at least one.
  virtual unsigned capacity() const = 0;
  // Once, before anything else. An error (EFAULT: it cannot use this memory)
  // means that the device will not be used.
  virtual Status Attach(const OffloadMemory& memory) = 0;
  // kOk: from now on the slot is the device's. Otherwise nothing was begun.
  // EBUSY: no room now. ENODEV: never again. Others: not this job.
  virtual Status Submit(const OffloadJob& job) = 0;
  // kOk: `result` is set, the slot is the caller's again and will not be
  // touched any more. EINPROGRESS: not yet.
  virtual Status Poll(unsigned slot, OffloadResult* result) = 0;
  // kOk: the job will never touch the slot again; it is the caller's. EBUSY:
  // that cannot be had; Poll will tell when the job is over.
  virtual Status Cancel(unsigned slot) = 0;
  // Once, at the end, with jobs that nobody waits for perhaps still running.
  // kOk: no slot will be touched any more. ETIMEDOUT: not even that is sure.
  virtual Status Stop() = 0;

 protected:
  ~OffloadDevice() = default;
};

// How often what happened; sums since Create.
struct OffloadStats {
  uint64_t submitted;      // jobs that the device took
  uint64_t completed;      // ... and whose result was used (ENOSPC is one)
  uint64_t failed;         // ... and that a codec had to do again
  uint64_t verify_failed;  // ... of which the result was wrong
  uint64_t hung;           // ... and that took longer than the timeout
  uint64_t cancelled;      // ... and that nobody wanted any more
  uint64_t refused;        // jobs the device did not take, a codec did them
  uint64_t busy;           // jobs for which there was no room for too long
  uint64_t suspended;      // pages that went to a codec while a device hung
  unsigned in_quarantine;  // slots, now
};

// The slots of one device. Lock-free, and waits for nothing.
//
// Each slot is in exactly one of these: free_, quarantined_, or one thread's.
// Invariants: free_ & quarantined_ == 0; hung_ is within quarantined_; none of
// them has a bit at or above the number of slots.
class alignas(kCacheLine) OffloadQueue {
 public:
  static constexpr unsigned kMaxSlots = 64;  // bits of a word
  enum class Event {
    kSubmitted,
    kCompleted,
    kFailed,
    kVerifyFailed,
    kHung,
    kCancelled,
    kRefused,
    kBusy,
    kSuspended,
    kCount
  };

  // A device that hung is left alone for `rest_ns`, and until all its late jobs
  // are over. ENOMEM, or what device.Attach said. The device must outlive the
  // queue.
  static Result<OffloadQueue*> Create(OffloadDevice& device, uint64_t rest_ns);
  // Stops the device. If it cannot be stopped and has not given back all slots,
  // their memory is never unmapped (ETIMEDOUT); all else is kOk. REQUIRES:
  // no slot is anybody's.
  Status Destroy();
  OffloadQueue(const OffloadQueue&) = delete;
  OffloadQueue& operator=(const OffloadQueue&) = delete;

  // False while the device hangs, rests, or is gone. Takes back what late jobs
  // have let go of.
  bool Usable();

  // A slot of the calling thread's; EBUSY: none is free.
  Result<unsigned> Acquire();
  // As OffloadDevice::Submit, with a copy of source. After an error the slot is
  // still the caller's. REQUIRES: source fits a page.
  Status Submit(unsigned slot, AcompOp op, std::span<const std::byte> source,
                size_t room);
  Status Poll(unsigned slot, OffloadResult* result) {
    return device_->Poll(slot, result);
  }
  MutablePage source(unsigned slot) const { return memory_.source(slot); }
  ConstPage destination(unsigned slot) const {
    return memory_.destination(slot);
  }
  // REQUIRES: not submitted, or Poll said kOk.
  void Release(unsigned slot);
  // Gives up a submitted job. The slot is free if the device lets go of it now,
  // else in quarantine.
  enum class Why { kHung, kUnwanted };
  void Abandon(unsigned slot, Why why);

  void Count(Event event, uint64_t n = 1) {
    events_[static_cast<unsigned>(event)].fetch_add(n,
                                                    std::memory_order_relaxed);
  }
  OffloadStats Stats() const;
  ByteCount metadata_bytes() const { return mapped_bytes_; }

  // In the child after fork. What the device does, it does to the parent's
  // memory; the child never asks it for anything, not even to stop.
  void ResetInChild();

  // idle: besides, no slot is anybody's.
  void CheckInvariants(bool idle) const;

 private:
  OffloadQueue(OffloadDevice& device, uint64_t rest_ns)
      : device_(&device), rest_ns_(rest_ns) {}

  void Reap();
  uint64_t all_slots() const {
    return ~uint64_t{0} >> (kMaxSlots - memory_.slots);
  }

  // Constant after Create (ResetInChild apart).
  OffloadDevice* const device_;
  const uint64_t rest_ns_;
  OffloadMemory memory_{};
  ByteCount mapped_bytes_ = 0;

  std::atomic<bool> gone_{false};     // ENODEV, or we are a forked child
  bool forked_ = false;               // written by the only thread of a child
  std::atomic<bool> reaping_{false};  // one thread at a time shrinks quarantine
  std::atomic<uint64_t> free_{0};
  std::atomic<uint64_t> quarantined_{0};
  std::atomic<uint64_t> hung_{0};
  std::atomic<uint64_t> rest_until_ns_{0};  // 0: not resting
  std::atomic<uint64_t> events_[static_cast<unsigned>(Event::kCount)] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_COMPRESS_OFFLOAD_H_
