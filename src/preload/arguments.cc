// SPDX-License-Identifier: Apache-2.0
#include "preload/arguments.h"

#include <algorithm>

#include "base/page.h"
#include "preload/argument_table.h"
#include "preload/pager_ops.h"
#include "preload/pinner.h"
#include "preload/safe_copy.h"

namespace uzswap::preload {
namespace {

constexpr uint64_t kUnlistedBytes = 16 << 10;
constexpr uint64_t kMoreBytes = 64 << 10;
constexpr uint64_t kMaxPath = 4096;

// Not memcpy: whatever a program's pointer points to there is right to read,
// which a sanitizer that knows the stack's variables would not believe.
void CopyFromStack(void* to, uint64_t from, size_t bytes) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

}  // namespace

Pinner::Pinner(SyscallFrame& call, Pins& pins)
    : call_(call), pins_(pins), arguments_{call.rdi, call.rsi, call.rdx,
                                           call.r10, call.r8,  call.r9} {}

bool Pinner::PinRow(const Row& row) {
  for (int i = 0; i < 6; ++i) {
    // Only a pointer can matter; most arguments are small numbers.
    if (row.argument[i].kind == Kind::kScalar) continue;
    if (arguments_[i] < kPageSize && row.argument[i].kind != Kind::kPrctl) {
      continue;
    }
    PinOne(i, row.argument[i]);
  }
  return complete_;
}

void Pinner::PinUnlisted(uint64_t bytes) {
  for (const uint64_t argument : arguments_) pins_.Add(argument, bytes);
}

void Pinner::PinOne(int i, Argument what) {
  const uint64_t address = arguments_[i];
  switch (what.kind) {
    case Kind::kScalar:
      return;
    case Kind::kFixed:
      return pins_.Add(address, what.bytes);
    case Kind::kBytes: {
      const uint64_t n = Count(what.by);
      return pins_.Add(address, n + std::min<uint64_t>(what.bytes, ~n));
    }
    case Kind::kTransfer: {
      const uint64_t wanted = Count(what.by);
      const uint64_t usable = pins_.AddTransfer(address, wanted);
      if (usable < wanted) Set(what.by & 7, usable);
      return;
    }
    case Kind::kAtLeast: {
      // A count that is really a descriptor or a flag must not pin for ever.
      constexpr uint64_t kPayload = 1 << 20;
      const uint64_t n = Count(what.by);
      return pins_.Add(address, n > kPayload
                                    ? what.bytes
                                    : std::max<uint64_t>(n, what.bytes));
    }
    case Kind::kItems: {
      const uint64_t n = std::min(Count(what.by), Pins::kMaxBytes);
      return pins_.Add(address, n * what.bytes);
    }
    case Kind::kBits: {
      const uint64_t n = std::min(Count(what.by), Pins::kMaxBytes);
      return pins_.Add(address, (n + 63) / 64 * 8);
    }
    case Kind::kPages:
      return pins_.Add(address, Count(what.by) / kPageSize + 1);
    default:
      return PinSpecial(i, what);
  }
}

void Pinner::PinSpecial(int i, Argument what) {
  const uint64_t address = arguments_[i];
  switch (what.kind) {
    case Kind::kString:
      return PinString(address);
    case Kind::kValueLength:
      return PinValueLength(address, arguments_[what.by]);
    case Kind::kScan:
    case Kind::kScanBytes: {
      const uint64_t n = what.kind == Kind::kScan ? what.bytes : Count(what.by);
      complete_ = false;
      pins_.Add(address, n);
      return ScanForPointers(address, n, kUnlistedBytes);
    }
    case Kind::kIovec:
      return PinIovecArgument(i, what.by);
    case Kind::kRemoteIovec:
      return PinRemoteIovecs(address, arguments_[what.by]);
    case Kind::kMessage:
      return PinMessage(i, what.bytes != 0);
    case Kind::kMessages:
      return PinMessages(i, what.by);
    case Kind::kWaiters:
      return PinWaiters(address, what.bytes != 0 ? what.bytes : Count(what.by));
    case Kind::kSigset:
      return PinSigset(address);
    case Kind::kProgram:
      return PinProgram(address);
    case Kind::kXattrArgs:
      return PinXattrArgs(address);
    case Kind::kFutexTimeout:
      return PinFutexTimeout(address);
    case Kind::kFutexSecond:
      return PinFutexSecond(address);
    case Kind::kIoctl:
      return PinIoctl(address);
    case Kind::kPrctl:
      return PinPrctl();
    case Kind::kPtrace:
      return PinPtrace();
    case Kind::kSemctl:
      return PinSemctl(address);
    case Kind::kSockopt:
      return PinSockopt(address, Count(what.by));
    default:
      return;
  }
}

uint64_t Pinner::Count(uint8_t by) const {
  const uint64_t value = arguments_[by & 7];
  if ((by & kIntArgument) == 0) return value;
  const auto count = static_cast<int32_t>(value);
  return count < 0 ? 0 : static_cast<uint64_t>(count);
}

void Pinner::Set(int i, uint64_t value) {
  uint64_t* const registers[6] = {&call_.rdi, &call_.rsi, &call_.rdx,
                                  &call_.r10, &call_.r8,  &call_.r9};
  *registers[i] = value;
}

size_t Pinner::Read(uint64_t address, void* to, size_t bytes) {
  pins_.Add(address, bytes);
  // The frame's own page is certainly readable, and small structures are
  // usually there, beside it on the stack: no system call then.
  const auto here = PageFloor(reinterpret_cast<uint64_t>(&call_));
  if (PageFloor(address) == here && PageFloor(address + bytes - 1) == here) {
    CopyFromStack(to, address, bytes);
    return bytes;
  }
  return ReadPinned(address, to, bytes);
}

void Pinner::ScanForPointers(uint64_t address, uint64_t bytes,
                             uint64_t nested) {
  uint64_t words[32];
  const size_t wanted = std::min<uint64_t>(bytes, sizeof(words));
  if (address < kPageSize || wanted == 0) return;
  const size_t count = Read(address, words, wanted) / sizeof(words[0]);
  for (size_t i = 0; i < count; ++i) pins_.Add(words[i], nested);
}

// The length is unknown. If everything that a path could reach is resident,
// nobody needs to know it; else page by page, so that only the string's own
// pages are brought in.
void Pinner::PinString(uint64_t address) {
  if (address >= kAddressLimit - kMaxPath) return;
  if (!IsManaged(address, kMaxPath)) return;
  const uint64_t first = PageFloor(address);
  const uint64_t end = PageCeil(address + kMaxPath);
  if (pins_.AddIfResident(first, end - first)) return;
  char piece[256];
  for (uint64_t at = address; at < address + kMaxPath;) {
    const size_t wanted =
        std::min<uint64_t>(sizeof(piece), PageFloor(at) + kPageSize - at);
    const size_t n = Read(at, piece, wanted);
    if (n < wanted || std::find(piece, piece + n, '\0') != piece + n) return;
    at += n;
  }
}

void Pinner::PinValueLength(uint64_t address, uint64_t length_address) {
  constexpr uint64_t kNear = 64 << 10;
  if (!IsManaged(address, kNear)) return;
  uint32_t length = 0;
  if (Read(length_address, &length, sizeof(length)) != sizeof(length)) return;
  pins_.Add(address, length);
}

bool PinArguments(SyscallFrame& call, Pins& pins) {
  Pinner pinner(call, pins);
  const Row* row = FindRow(call.number());
  if (row != nullptr) return pinner.PinRow(*row);
  pinner.PinUnlisted(kUnlistedBytes);
  return false;
}

void PinMore(SyscallFrame& call, Pins& pins) {
  Pinner pinner(call, pins);
  pinner.PinUnlisted(kMoreBytes);
  constexpr uint64_t kSomeWords = 256;
  for (int i = 0; i < 6; ++i) {
    pinner.ScanForPointers(call.argument(i), kSomeWords, kMoreBytes);
  }
}

}  // namespace uzswap::preload
