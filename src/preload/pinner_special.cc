// SPDX-License-Identifier: Apache-2.0
// Calls whose arguments mean something else with each operation.
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/ioctl.h>
#include <linux/prctl.h>
#include <linux/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>

#include "preload/pinner.h"

namespace uzswap::preload {

// A futex call leaves stale registers in the arguments its operation ignores.
void Pinner::PinFutexTimeout(uint64_t address) {
  switch (arguments_[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_WAIT_REQUEUE_PI:
      return pins_.Add(address, sizeof(timespec));
    default:
      return;
  }
}

void Pinner::PinFutexSecond(uint64_t address) {
  switch (arguments_[1] & FUTEX_CMD_MASK) {
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_CMP_REQUEUE_PI:
      return pins_.Add(address, sizeof(uint32_t));
    default:
      return;
  }
}

// The number of a modern request tells the size of its structure; the old ones
// (terminals, sockets, SCSI) tell nothing. Structures may hold pointers that no
// table of ours knows; those that look like managed memory are pinned.
void Pinner::PinIoctl(uint64_t address) {
  constexpr uint64_t kOldBytes = 256;
  constexpr uint64_t kNested = 64 << 10;
  constexpr uint32_t kTerminal = 'T';
  constexpr uint32_t kSockets = 0x89;
  constexpr uint32_t kScsi = 0x22;
  const auto request = static_cast<uint32_t>(arguments_[1]);
  const uint32_t type = _IOC_TYPE(request);
  const uint64_t size = _IOC_SIZE(request);
  const bool modern = _IOC_DIR(request) != _IOC_NONE && size > 0;
  pins_.Add(address, modern ? std::max<uint64_t>(size, 64) : kOldBytes);
  if (type == kTerminal) return;
  complete_ = false;
  if (request == FS_IOC_FIEMAP) {
    fiemap map;
    if (Read(address, &map, sizeof(map)) != sizeof(map)) return;
    return pins_.Add(address, sizeof(map) + uint64_t{map.fm_extent_count} *
                                                sizeof(fiemap_extent));
  }
  if (request == FIDEDUPERANGE) {
    file_dedupe_range range;
    if (Read(address, &range, sizeof(range)) != sizeof(range)) return;
    return pins_.Add(address, sizeof(range) + uint64_t{range.dest_count} *
                                                  sizeof(range.info[0]));
  }
  if (modern ? size >= 16 : type == kSockets || type == kScsi) {
    ScanForPointers(address, modern ? size : 96, kNested);
  }
}

void Pinner::PinPrctl() {
  constexpr int32_t kGetAuxv = 0x41555856;
  const uint64_t* a = arguments_;
  switch (static_cast<int32_t>(a[0])) {
    case PR_SET_MM:
      pins_.Add(a[2], std::min<uint64_t>(a[3], 4096));
      return ScanForPointers(a[2], a[3], 4096);
    case PR_SET_SECCOMP:
      return PinProgram(a[2]);
    case PR_SET_VMA:
      return PinString(a[4]);
    case PR_SCHED_CORE:
      return pins_.Add(a[4], sizeof(uint64_t));
    case kGetAuxv:
      return pins_.Add(a[1], a[2]);
    default:  // a name, an int or a word, or no pointer
      return pins_.Add(a[1], 16);
  }
}

void Pinner::PinPtrace() {
  constexpr uint64_t kRegisters = 1024;
  constexpr uint64_t kFilter = 4096 * 8;
  constexpr uint64_t kSiginfo = 128;
  const uint64_t data = arguments_[3];
  switch (static_cast<int64_t>(arguments_[0])) {
    case PTRACE_GETREGSET:
    case PTRACE_SETREGSET: {
      iovec set;
      if (Read(data, &set, sizeof(set)) != sizeof(set)) return;
      return pins_.Add(reinterpret_cast<uint64_t>(set.iov_base), set.iov_len);
    }
    case PTRACE_PEEKSIGINFO: {
      ptrace_peeksiginfo_args range;
      if (Read(arguments_[2], &range, sizeof(range)) != sizeof(range)) return;
      return pins_.Add(data,
                       static_cast<uint64_t>(std::max(range.nr, 0)) * kSiginfo);
    }
    case PTRACE_SECCOMP_GET_FILTER:
      return pins_.Add(data, kFilter);
    default:
      return pins_.Add(data, kRegisters);
  }
}

// How many semaphores the set has is not told; the kernel allows 32000.
void Pinner::PinSemctl(uint64_t address) {
  constexpr uint64_t kAllValues = 32000 * sizeof(uint16_t);
  const auto command = static_cast<int32_t>(arguments_[2]) & 0xff;
  pins_.Add(address, command == GETALL || command == SETALL ? kAllValues : 128);
}

void Pinner::PinSockopt(uint64_t address, uint64_t bytes) {
  pins_.Add(address, bytes);
  if (static_cast<int32_t>(arguments_[1]) != SOL_SOCKET) return;
  const auto option = static_cast<int32_t>(arguments_[2]);
  if (option == SO_ATTACH_FILTER || option == SO_ATTACH_REUSEPORT_CBPF) {
    PinProgram(address);
  }
}

}  // namespace uzswap::preload
