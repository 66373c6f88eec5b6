// SPDX-License-Identifier: Apache-2.0
// Interprets the rows of the argument table for one call. Structures that name
// more memory are pinned, then read into locals through the safe copy, never
// directly: the pointer may be garbage and must stay the kernel's EFAULT.
#ifndef UZSWAP_PRELOAD_PINNER_H_
#define UZSWAP_PRELOAD_PINNER_H_

#include <cstddef>
#include <cstdint>

#include "preload/argument_table.h"
#include "preload/arguments.h"

namespace uzswap::preload {

class Pinner {
 public:
  Pinner(SyscallFrame& call, Pins& pins);
  // False: part of what the call may name is not known from its arguments.
  bool PinRow(const Row& row);
  // For a call that nobody described.
  void PinUnlisted(uint64_t bytes);
  // Pins `nested` bytes behind each managed pointer in the first words of
  // [address, address + bytes).
  void ScanForPointers(uint64_t address, uint64_t bytes, uint64_t nested);

 private:
  struct Iovecs {
    uint64_t array;
    uint64_t count;
  };

  void PinOne(int i, Argument what);
  void PinSpecial(int i, Argument what);
  // Argument `by` as a count of something.
  uint64_t Count(uint8_t by) const;
  void Set(int i, uint64_t value);
  // Pins, then reads; bytes read.
  size_t Read(uint64_t address, void* to, size_t bytes);

  void PinString(uint64_t address);
  void PinValueLength(uint64_t address, uint64_t length_address);
  // True if the vector had to be shortened: then *shorter replaces it.
  bool PinIovecs(Iovecs vector, Iovecs* shorter);
  void PinIovecArgument(int i, int count);
  void PinRemoteIovecs(uint64_t array, uint64_t count);
  bool PinMessageParts(const msghdr& header, Iovecs* shorter);
  void PinMessage(int i, bool received);
  void PinMessages(int i, int count);
  void PinWaiters(uint64_t array, uint64_t count);
  void PinSigset(uint64_t pair);
  void PinProgram(uint64_t program);
  void PinXattrArgs(uint64_t address);

  void PinFutexTimeout(uint64_t address);
  void PinFutexSecond(uint64_t address);
  void PinIoctl(uint64_t address);
  void PinPrctl();
  void PinPtrace();
  void PinSemctl(uint64_t address);
  void PinSockopt(uint64_t address, uint64_t bytes);

  SyscallFrame& call_;
  Pins& pins_;
  uint64_t arguments_[6];
  bool complete_ = true;
};

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_PINNER_H_
