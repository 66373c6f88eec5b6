// SPDX-License-Identifier: Apache-2.0
#include "compress/offload.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "base/bits.h"
#include "base/os.h"

namespace uzswap {

// One mapping: [OffloadQueue, to a page][records, to a page][pages of slots].
// Sparse, and the lowest free slot is taken first: a slot costs frames only if
// that many jobs were ever under way at once.
Result<OffloadQueue*> OffloadQueue::Create(OffloadDevice& device,
                                           uint64_t rest_ns) {
  const unsigned slots = std::min(device.capacity(), kMaxSlots);
  CHECK(slots > 0);
  const ByteCount records_at = PageCeil(sizeof(OffloadQueue));
  const ByteCount pages_at =
      records_at + PageCeil(slots * OffloadMemory::kRecordBytes);
  const ByteCount mapped = pages_at + 2 * slots * kPageSize;
  const Result<void*> memory = os::Map(mapped, /*sparse=*/true);
  if (!memory.ok()) return memory.status();

  auto* base = static_cast<std::byte*>(memory.value());
  auto* queue = new (base) OffloadQueue(device, rest_ns);
  queue->memory_ = {base + pages_at, base + records_at, slots};
  queue->mapped_bytes_ = mapped;
  queue->free_.store(queue->all_slots(), std::memory_order_relaxed);
  if (const Status s = device.Attach(queue->memory_); !s.ok()) {
    CHECK(os::Unmap(base, mapped).ok());
    return s;
  }
  return queue;
}

Status OffloadQueue::Destroy() {
  if (!forked_) {
    const Status stopped = device_->Stop();
    if (!stopped.ok()) Reap();
    CheckInvariants(/*idle=*/true);
    if (!stopped.ok() && quarantined_.load(std::memory_order_acquire) != 0) {
      Log("a compression device cannot be stopped: its memory is left to it");
      return Status::Error(ETIMEDOUT);
    }
  }
  CHECK(os::Unmap(this, mapped_bytes_).ok());
  return kOk;
}

bool OffloadQueue::Usable() {
  if (gone_.load(std::memory_order_relaxed)) [[unlikely]] {
    return false;
  }
  if (quarantined_.load(std::memory_order_relaxed) != 0) Reap();
  if (hung_.load(std::memory_order_relaxed) != 0) return false;
  uint64_t until = rest_until_ns_.load(std::memory_order_relaxed);
  if (until == 0) [[likely]] {
    return true;
  }
  if (os::MonotonicNs() < until) return false;
  // Unless it has just hung again.
  rest_until_ns_.compare_exchange_strong(until, 0, std::memory_order_relaxed);
  return true;
}

Result<unsigned> OffloadQueue::Acquire() {
  uint64_t free = free_.load(std::memory_order_relaxed);
  // Acquire: what the slot's last user read and wrote is over.
  do {
    if (free == 0) return Status::Error(EBUSY);
  } while (!free_.compare_exchange_weak(free, free & (free - 1),
                                        std::memory_order_acquire,
                                        std::memory_order_relaxed));
  return static_cast<unsigned>(std::countr_zero(free));
}

Status OffloadQueue::Submit(unsigned slot, AcompOp op,
                            std::span<const std::byte> source, size_t room) {
  CHECK(!source.empty() && source.size() <= kPageSize);
  memcpy(memory_.source(slot).data(), source.data(), source.size());
  const Status s = device_->Submit(
      {op, slot, static_cast<uint32_t>(source.size()),
       static_cast<uint32_t>(std::min(room, size_t{kPageSize}))});
  if (s.ok()) {
    Count(Event::kSubmitted);
  } else if (s.error() == ENODEV) {
    gone_.store(true, std::memory_order_relaxed);
  }
  return s;
}

void OffloadQueue::Release(unsigned slot) {
  const uint64_t bit = uint64_t{1} << slot;
  const uint64_t before = free_.fetch_or(bit, std::memory_order_release);
  DCHECK((before & bit) == 0);
}

void OffloadQueue::Abandon(unsigned slot, Why why) {
  const bool hung = why == Why::kHung;
  Count(hung ? Event::kHung : Event::kCancelled);
  if (hung) {
    rest_until_ns_.store(os::MonotonicNs() + rest_ns_,
                         std::memory_order_relaxed);
  }
  if (device_->Cancel(slot).ok()) {
    Release(slot);
    return;
  }
  // In this order: once in quarantine, another thread may take it out again.
  const uint64_t bit = uint64_t{1} << slot;
  if (hung) hung_.fetch_or(bit, std::memory_order_relaxed);
  quarantined_.fetch_or(bit, std::memory_order_release);
}

// Only here do slots leave quarantine, and only because the device said so.
void OffloadQueue::Reap() {
  if (reaping_.exchange(true, std::memory_order_acquire)) return;
  uint64_t left = quarantined_.load(std::memory_order_acquire);
  for (; left != 0; left &= left - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(left));
    OffloadResult ignored;
    if (!device_->Poll(slot, &ignored).ok()) continue;
    const uint64_t bit = uint64_t{1} << slot;
    hung_.fetch_and(~bit, std::memory_order_relaxed);
    quarantined_.fetch_and(~bit, std::memory_order_relaxed);
    Release(slot);
  }
  reaping_.store(false, std::memory_order_release);
}

OffloadStats OffloadQueue::Stats() const {
  const auto sum = [this](Event event) {
    return events_[static_cast<unsigned>(event)].load(
        std::memory_order_relaxed);
  };
  return {
      .submitted = sum(Event::kSubmitted),
      .completed = sum(Event::kCompleted),
      .failed = sum(Event::kFailed),
      .verify_failed = sum(Event::kVerifyFailed),
      .hung = sum(Event::kHung),
      .cancelled = sum(Event::kCancelled),
      .refused = sum(Event::kRefused),
      .busy = sum(Event::kBusy),
      .suspended = sum(Event::kSuspended),
      .in_quarantine = CountBits(quarantined_.load(std::memory_order_relaxed))};
}

void OffloadQueue::ResetInChild() {
  gone_.store(true, std::memory_order_relaxed);
  forked_ = true;
  reaping_.store(false, std::memory_order_relaxed);
  quarantined_.store(0, std::memory_order_relaxed);
  hung_.store(0, std::memory_order_relaxed);
  free_.store(all_slots(), std::memory_order_relaxed);
}

void OffloadQueue::CheckInvariants(bool idle) const {
  CHECK(memory_.slots >= 1 && memory_.slots <= kMaxSlots);
  const uint64_t quarantined = quarantined_.load(std::memory_order_acquire);
  const uint64_t free = free_.load(std::memory_order_acquire);
  const uint64_t hung = hung_.load(std::memory_order_acquire);
  CHECK((free & ~all_slots()) == 0);
  CHECK((quarantined & ~all_slots()) == 0);
  // Others move slots meanwhile, unless it is idle.
  if (!idle) return;
  CHECK((free & quarantined) == 0);
  CHECK((hung & ~quarantined) == 0);
  CHECK((free | quarantined) == all_slots());
}

}  // namespace uzswap
