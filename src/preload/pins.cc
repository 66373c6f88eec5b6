// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/check.h"
#include "base/os.h"
#include "base/page.h"
#include "preload/arguments.h"
#include "preload/pager_ops.h"
#include "preload/safe_copy.h"

namespace uzswap::preload {
namespace {

constexpr uint64_t kLarge = 64 << 10;  // smaller ranges are not accounted

constinit std::atomic<uint64_t> pin_limit{Pins::kMaxBytes};
constinit std::atomic<uint64_t> large_pinned{0};

const void* PageAt(uint64_t address) {
  return reinterpret_cast<const void*>(address);
}

// The part of [address, address + bytes) that can be memory; empty if none.
struct Span {
  uint64_t first;
  uint64_t end;
};

Span PagesOf(uint64_t address, uint64_t bytes) {
  // Nothing is mapped at page 0, and NULL is the most frequent pointer.
  if (bytes == 0 || address < kPageSize || address >= kAddressLimit) {
    return {0, 0};
  }
  const uint64_t end = address + std::min(bytes, kAddressLimit - address);
  return {PageFloor(address), PageCeil(end)};
}

}  // namespace

void SetPinLimit(uint64_t memory_limit) {
  const uint64_t quarter = PageFloor(memory_limit / 4);
  pin_limit.store(std::clamp(quarter, Pins::kAlwaysBytes, Pins::kMaxBytes),
                  std::memory_order_relaxed);
}

void Pins::Release() {
  if (message_original_ != 0) WriteMessageBack();
  for (size_t i = 0; i < count_; ++i) {
    const Range& range = at(i);
    kPager.unpin(PageAt(range.address), range.bytes);
    if (range.bytes > kLarge) {
      large_pinned.fetch_sub(range.bytes, std::memory_order_relaxed);
    }
  }
  if (more_ != nullptr) {
    // Cannot fail: it is a mapping of our own.
    os::Unmap(more_, (capacity_ - kInline) * sizeof(Range)).Ignore();
    more_ = nullptr;
  }
  count_ = 0;
  capacity_ = kInline;
  transfer_bytes_ = 0;
}

void Pins::Add(uint64_t address, uint64_t bytes) {
  const auto [first, end] = PagesOf(address, bytes);
  if (first == end || !IsManaged(first, end - first)) return;
  if (Covered(first, end)) return;
  Pin(first, std::min(end - first, kMaxBytes));
}

uint64_t Pins::AddTransfer(uint64_t address, uint64_t bytes) {
  const auto [first, end] = PagesOf(address, bytes);
  if (first == end || !IsManaged(first, end - first)) return bytes;
  if (Covered(first, end)) return bytes;
  const uint64_t allowed = std::min(end - first, Allowance());
  if (allowed == 0) return 0;
  transfer_bytes_ += allowed;
  Pin(first, allowed);
  return allowed == end - first ? bytes : first + allowed - address;
}

bool Pins::AddIfResident(uint64_t address, uint64_t bytes) {
  DCHECK(address % kPageSize == 0 && bytes % kPageSize == 0);
  if (!Reserve()) return false;
  if (kPager.pin_resident(PageAt(address), bytes) != 0) return false;
  Record(address, bytes);
  return true;
}

uint64_t Pins::ShortIovec(uint64_t base, uint64_t bytes) {
  iovec_ = {reinterpret_cast<void*>(base), bytes};
  return reinterpret_cast<uint64_t>(&iovec_);
}

uint64_t Pins::ShortMessage(const mmsghdr& message, uint64_t original,
                            bool has_length) {
  memcpy(&message_, &message, sizeof(message));
  message_original_ = original;
  message_has_length_ = has_length;
  return reinterpret_cast<uint64_t>(&message_);
}

// Of a header the kernel sets the length of the name, and from the length of
// the control data to the end. Its pointers must stay the program's.
void Pins::WriteMessageBack() {
  const msghdr& header = message_.msg_hdr;
  constexpr size_t kName = offsetof(msghdr, msg_namelen);
  constexpr size_t kTail = offsetof(msghdr, msg_controllen);
  const size_t end = message_has_length_
                         ? offsetof(mmsghdr, msg_len) + sizeof(message_.msg_len)
                         : offsetof(msghdr, msg_flags) + sizeof(int);
  // A header that was unmapped meanwhile is the program's affair.
  (void)WritePinned(message_original_ + kName, &header.msg_namelen,
                    sizeof(header.msg_namelen));
  (void)WritePinned(message_original_ + kTail, &header.msg_controllen,
                    end - kTail);
  message_original_ = 0;
}

void Pins::CheckInvariants() const {
  CHECK(count_ <= capacity_);
  CHECK((capacity_ == kInline) == (more_ == nullptr));
  for (size_t i = 0; i < count_; ++i) {
    CHECK(at(i).bytes > 0);
    CHECK((at(i).address | at(i).bytes) % kPageSize == 0);
  }
}

// Neighbouring arguments are often parts of one object: only the last range is
// asked.
bool Pins::Covered(uint64_t first, uint64_t end) const {
  if (count_ == 0) return false;
  const Range& last = at(count_ - 1);
  return first >= last.address && end <= last.address + last.bytes;
}

bool Pins::Grow() {
  constexpr size_t kFirst = 1024;  // as many as one writev has buffers
  const size_t old = capacity_ - kInline;
  const size_t wanted = old == 0 ? kFirst : 2 * old;
  const Result<void*> memory = os::Map(wanted * sizeof(Range));
  if (!memory.ok()) return false;
  auto* ranges = static_cast<Range*>(memory.value());
  if (more_ != nullptr) {
    memcpy(ranges, more_, old * sizeof(Range));
    os::Unmap(more_, old * sizeof(Range)).Ignore();  // our own: cannot fail
  }
  more_ = ranges;
  capacity_ = kInline + wanted;
  return true;
}

void Pins::Record(uint64_t address, uint64_t bytes) {
  DCHECK(count_ < capacity_);
  (count_ < kInline ? inline_[count_] : more_[count_ - kInline]) = {address,
                                                                    bytes};
  ++count_;
  if (bytes > kLarge) {
    large_pinned.fetch_add(bytes, std::memory_order_relaxed);
  }
}

// Without memory to record a pin there is none: the call runs unprotected,
// which goes wrong only if the page happens to leave.
void Pins::Pin(uint64_t address, uint64_t bytes) {
  if (!Reserve()) return;
  if (kPager.pin_resident(PageAt(address), bytes) != 0) {
    (void)kPager.pin(PageAt(address), bytes);
  }
  Record(address, bytes);
}

// Others' pins shrink this call's share down to kAlwaysBytes, not below: a
// thread blocked in a large read must not make another's read empty.
uint64_t Pins::Allowance() const {
  const uint64_t limit = pin_limit.load(std::memory_order_relaxed);
  const uint64_t all = large_pinned.load(std::memory_order_relaxed);
  const uint64_t own = limit > transfer_bytes_ ? limit - transfer_bytes_ : 0;
  const uint64_t free = limit > all ? limit - all : 0;
  const uint64_t always =
      kAlwaysBytes > transfer_bytes_ ? kAlwaysBytes - transfer_bytes_ : 0;
  return std::min(own, std::max(free, always));
}

}  // namespace uzswap::preload
