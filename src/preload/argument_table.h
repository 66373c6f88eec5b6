// SPDX-License-Identifier: Apache-2.0
// Which memory each argument of each x86-64 system call names. The rows are in
// argument_table.def; arguments.cc interprets them.
//
// A row may name too much (a page more is brought in) but never too little (the
// call would fail, or lose data). It names nothing for scalars: a register that
// the kernel ignores often holds a stale pointer, and pinning what it points to
// would bring cold pages in for nothing.
#ifndef UZSWAP_PRELOAD_ARGUMENT_TABLE_H_
#define UZSWAP_PRELOAD_ARGUMENT_TABLE_H_

#include <cstdint>

namespace uzswap::preload {

enum class Kind : uint8_t {
  kScalar,        // no memory, or an address that the kernel does not follow
  kFixed,         // `bytes` bytes
  kBytes,         // argument `by` bytes, plus `bytes`
  kTransfer,      // the same, and a short transfer is legal
  kAtLeast,       // argument `by` bytes, no less than `bytes`
  kItems,         // argument `by` times `bytes` bytes
  kBits,          // argument `by` bits, in whole 64-bit words
  kPages,         // one byte for each page of argument `by` bytes
  kString,        // up to the terminating zero, 4096 bytes at most
  kValueLength,   // as many bytes as the u32 that argument `by` points to
  kScan,          // `bytes` bytes that may hold pointers to more memory
  kScanBytes,     // the same, argument `by` bytes
  kIovec,         // array of `by` iovec: a short transfer is legal
  kRemoteIovec,   // array of `by` iovec in the process of argument 0
  kMessage,       // msghdr; `bytes` is 1 if the kernel writes to it
  kMessages,      // array of `by` mmsghdr; `bytes` as for kMessage
  kWaiters,       // array of `by` futex_waitv, or of `bytes` if not 0
  kSigset,        // pselect6's pair of pointer and size
  kProgram,       // sock_fprog: BPF instructions
  kXattrArgs,     // struct xattr_args
  kFutexTimeout,  // depends on futex's operation
  kFutexSecond,   //   ''
  kIoctl,         // depends on the request
  kPrctl,         // depends on the option; handles all five arguments
  kPtrace,        // depends on the request; handles both pointers
  kSemctl,        // depends on the command
  kSockopt,       // option value, which may be a BPF program
};

// Added to `by` if the kernel looks at the low 32 bits only: the others of that
// register may be anything.
inline constexpr uint8_t kIntArgument = 8;

struct Argument {
  Kind kind = Kind::kScalar;
  uint8_t by = 0;  // which other argument counts
  uint16_t bytes = 0;
};

struct Row {
  Argument argument[6];
  bool listed = false;
};

// nullptr: a call that the table does not know.
const Row* FindRow(int64_t number);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_ARGUMENT_TABLE_H_
