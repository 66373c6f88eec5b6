// SPDX-License-Identifier: Apache-2.0
// Which memory a system call reads or writes, as one table, and the pins that
// keep it resident while the kernel is at it.
//
// Why pins and not a retry: on an evicted page the kernel answers EFAULT, or
// cuts the transfer short, or drops a datagram half received. So every byte an
// argument names is made resident before the call and stays so until after it.
#ifndef UZSWAP_PRELOAD_ARGUMENTS_H_
#define UZSWAP_PRELOAD_ARGUMENTS_H_

#include <cstddef>
#include <cstdint>

#include "preload/syscall_frame.h"

namespace uzswap::preload {

// The pinned ranges of one call in flight. Lives in a dispatch frame; grows
// into memory of its own (raw mmap) beyond kInline ranges.
class Pins {
 public:
  Pins() = default;
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  // Unpins everything; does not touch errno or vector registers.
  void Release();
  // Skips ranges that are not managed. At most kMaxBytes of one range is
  // pinned (a larger transfer is legal for the kernel to cut short).
  void Add(uint64_t address, uint64_t bytes);
  bool empty() const { return count_ == 0; }

  static constexpr size_t kInline = 16;
  static constexpr uint64_t kMaxBytes = uint64_t{64} << 20;

 private:
  struct Range {
    uint64_t address;
    uint64_t bytes;
  };
  size_t count_ = 0;
  size_t capacity_ = kInline;
  Range* more_ = nullptr;
  Range inline_[kInline];
};

// Pins what the call in `frame` names. Returns false for a call without a row:
// then every argument that points into managed memory has 16 KiB pinned.
bool PinArguments(const SyscallFrame& frame, Pins& pins);
// For an unlisted call that answered EFAULT: pins 64 KiB for each pointer.
void PinMore(const SyscallFrame& frame, Pins& pins);

// Copies from the program's memory without trusting the pointer; makes evicted
// pages resident first. Returns bytes copied, 0 for a bad pointer.
size_t SafeRead(uint64_t address, void* to, size_t bytes);
size_t SafeWrite(uint64_t address, const void* from, size_t bytes);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_ARGUMENTS_H_
