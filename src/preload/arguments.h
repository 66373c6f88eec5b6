// SPDX-License-Identifier: Apache-2.0
// Which memory a system call reads or writes, as one table, and the pins that
// keep it resident while the kernel is at it.
//
// Why pins and not a retry: on an evicted page the kernel answers EFAULT, or
// cuts the transfer short, or drops a datagram half received. So every byte an
// argument names is made resident before the call and stays so until after it.
#ifndef UZSWAP_PRELOAD_ARGUMENTS_H_
#define UZSWAP_PRELOAD_ARGUMENTS_H_

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "preload/syscall_frame.h"

namespace uzswap::preload {

// The pinned ranges of one call in flight. Lives in a dispatch frame, which is
// never managed memory; grows into memory of its own (raw mmap) beyond kInline
// ranges.
//
// Invariants: count_ <= capacity_; capacity_ == kInline iff more_ is null;
// every range is page aligned and was pinned exactly as it is recorded.
class Pins {
 public:
  Pins() {}  // not defaulted: `Pins{}` must not clear inline_ (memset)
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  // Unpins everything; does not touch errno or vector registers. To be called
  // when the system call has returned: what the kernel wrote to a private copy
  // of a message header goes back to the program here.
  void Release();
  // Skips ranges that are not managed. At most kMaxBytes of one range is
  // pinned (a larger transfer is legal for the kernel to cut short).
  void Add(uint64_t address, uint64_t bytes);
  // The same for a transfer that may be cut short: respects SetPinLimit.
  // Returns how many of the bytes, from the front, may be transferred. 0 only
  // if an earlier AddTransfer of these pins used the allowance up.
  uint64_t AddTransfer(uint64_t address, uint64_t bytes);
  // Adds [address, address + bytes), page aligned, only if that brings nothing
  // in; false: nothing was added.
  bool AddIfResident(uint64_t address, uint64_t bytes);

  // Private copies that a shortened call names instead of the program's own;
  // one of each. Return the copy's address. After the call the fields that the
  // kernel set are copied to `original`, unless that is 0.
  uint64_t ShortIovec(uint64_t base, uint64_t bytes);
  uint64_t ShortMessage(const mmsghdr& message, uint64_t original,
                        bool has_length);

  bool empty() const { return count_ == 0; }
  size_t count() const { return count_; }
  void CheckInvariants() const;

  static constexpr size_t kInline = 16;
  static constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
  // A call may always transfer this much, whatever the limit: what must not be
  // cut (a datagram) is smaller.
  static constexpr uint64_t kAlwaysBytes = 256 << 10;

 private:
  struct Range {
    uint64_t address;
    uint64_t bytes;
  };
  const Range& at(size_t i) const {
    return i < kInline ? inline_[i] : more_[i - kInline];
  }
  bool Covered(uint64_t first, uint64_t end) const;
  bool Grow();
  bool Reserve() { return count_ < capacity_ || Grow(); }
  void Record(uint64_t address, uint64_t bytes);
  void Pin(uint64_t address, uint64_t bytes);
  uint64_t Allowance() const;
  void WriteMessageBack();

  size_t count_ = 0;
  size_t capacity_ = kInline;
  Range* more_ = nullptr;
  uint64_t transfer_bytes_ = 0;  // of all AddTransfer so far
  uint64_t message_original_ = 0;
  bool message_has_length_ = false;
  Range inline_[kInline];
  iovec iovec_;
  mmsghdr message_;
};

// All transfers in flight together pin no more than a quarter of the memory
// limit (each call has kAlwaysBytes in any case), and never more than
// kMaxBytes. To be called once; until then only kMaxBytes holds.
void SetPinLimit(uint64_t memory_limit);

// Pins what the call in `call` names. `call` is the frame that is going to be
// executed, not the program's own: if not everything may be pinned, a transfer
// is made shorter there, legally, so that the kernel meets no absent page.
// False: the row is missing or tells only part (ioctl …), then every argument
// that points into managed memory has 16 KiB pinned; if such a call answers
// EFAULT, it may be repeated after PinMore.
bool PinArguments(SyscallFrame& call, Pins& pins);
// To be called with what the executed `call` answered, pins still held. If it
// was made shorter and the program (whose frame is `frame`) may expect all of
// it, the rest is done too. Returns the program's result.
int64_t FinishTransfer(const SyscallFrame& frame, const SyscallFrame& call,
                       int64_t result, Pins& pins);
// Pins 64 KiB for each pointer, and for each pointer found behind it.
void PinMore(SyscallFrame& call, Pins& pins);

// Copies from the program's memory without trusting the pointer; makes evicted
// pages resident first. Returns bytes copied, 0 for a bad pointer.
size_t SafeRead(uint64_t address, void* to, size_t bytes);
size_t SafeWrite(uint64_t address, const void* from, size_t bytes);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_ARGUMENTS_H_
