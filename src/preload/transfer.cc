// SPDX-License-Identifier: Apache-2.0
// Goes on with a transfer that PinArguments made shorter, where the program may
// rely on getting everything at once: reading a file gives what is there, and
// a blocking write writes all. A read from a pipe or socket is left short: the
// rest of it might never come.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>

#include "base/os.h"
#include "preload/arguments.h"

namespace uzswap::preload {
namespace {

constexpr uint64_t kMaxTransfer = 0x7ffff000;  // the kernel's own, MAX_RW_COUNT

int64_t Register(uint64_t value) { return static_cast<int64_t>(value); }

bool IsRead(int64_t number) {
  return number == SYS_read || number == SYS_pread64;
}

bool MayGoOn(const SyscallFrame& frame) {
  const int64_t number = frame.number();
  struct stat file;
  if (os::Syscall(SYS_fstat, Register(frame.rdi),
                  reinterpret_cast<int64_t>(&file)) < 0) {
    return false;
  }
  if (S_ISREG(file.st_mode) || S_ISBLK(file.st_mode)) return true;
  if (IsRead(number)) return false;
  if (S_ISFIFO(file.st_mode)) return true;
  if (!S_ISSOCK(file.st_mode)) return false;
  // Two packets are not one.
  int type = 0;
  socklen_t length = sizeof(type);
  const int64_t r = os::Syscall(SYS_getsockopt, Register(frame.rdi), SOL_SOCKET,
                                SO_TYPE, reinterpret_cast<int64_t>(&type),
                                reinterpret_cast<int64_t>(&length));
  return r == 0 && type == SOCK_STREAM;
}

}  // namespace

int64_t FinishTransfer(const SyscallFrame& frame, const SyscallFrame& call,
                       int64_t result, Pins& pins) {
  const int64_t number = frame.number();
  const bool has_offset = number == SYS_pread64 || number == SYS_pwrite64;
  if (call.rdx == frame.rdx || result != Register(call.rdx)) return result;
  if (!has_offset && number != SYS_read && number != SYS_write &&
      number != SYS_sendto) {
    return result;
  }
  if (!MayGoOn(frame)) return result;
  const uint64_t wanted = std::min(frame.rdx, kMaxTransfer);
  auto done = static_cast<uint64_t>(result);
  while (done < wanted) {
    pins.Release();
    SyscallFrame next = frame;
    next.rsi += done;
    next.rdx = wanted - done;
    if (has_offset) next.r10 += done;
    (void)PinArguments(next, pins);
    const int64_t r = os::Syscall(
        number, Register(next.rdi), Register(next.rsi), Register(next.rdx),
        Register(next.r10), Register(next.r8), Register(next.r9));
    if (r <= 0) break;
    done += static_cast<uint64_t>(r);
    if (r != Register(next.rdx)) break;
  }
  return Register(done);
}

}  // namespace uzswap::preload
