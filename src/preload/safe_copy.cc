// SPDX-License-Identifier: Apache-2.0
// process_vm_readv on ourselves answers EFAULT where a load would raise
// SIGSEGV. Where a filter forbids it, each page is asked for first, by a call
// that reads eight bytes and then refuses for another reason; between the
// question and the copy another thread could unmap the page, so that is only
// the second choice.
#include "preload/safe_copy.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/os.h"
#include "base/page.h"
#include "preload/arguments.h"

namespace uzswap::preload {
namespace {

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

bool Readable(uint64_t page) {
  constexpr int64_t kNoSuchHow = -1;
  return os::Syscall(SYS_rt_sigprocmask, kNoSuchHow, static_cast<int64_t>(page),
                     0, 8) == -EINVAL;
}

// No call asks for a writable page and leaves it alone, so this one adds 0 to
// its first word, atomically.
bool Writable(uint64_t page) {
  constexpr int64_t kAddNothing = int64_t{FUTEX_OP_ADD} << 28;
  uint32_t nobody = 0;
  return os::Syscall(SYS_futex, Raw(&nobody), FUTEX_WAKE_OP_PRIVATE, 0, 0,
                     static_cast<int64_t>(page), kAddNothing) >= 0;
}

size_t CopyAsking(uint64_t program, void* ours, size_t bytes, bool write) {
  size_t done = 0;
  auto* at = static_cast<std::byte*>(ours);
  while (done < bytes) {
    const uint64_t address = program + done;
    const uint64_t page = PageFloor(address);
    if (page >= kAddressLimit) break;
    if (write ? !Writable(page) : !Readable(page)) break;
    const size_t n =
        std::min<uint64_t>(bytes - done, page + kPageSize - address);
    auto* theirs = reinterpret_cast<std::byte*>(address);
    if (write) {
      memcpy(theirs, at + done, n);
    } else {
      memcpy(at + done, theirs, n);
    }
    done += n;
  }
  return done;
}

size_t Copy(long number, uint64_t program, void* ours, size_t bytes) {
  if (bytes == 0) return 0;
  const iovec local{ours, bytes};
  const iovec remote{reinterpret_cast<void*>(program), bytes};
  // Not cached: a fork or vfork child has another.
  const int64_t self = os::Syscall(SYS_gettid);
  const int64_t r =
      os::Syscall(number, self, Raw(&local), 1, Raw(&remote), 1, 0);
  if (r >= 0) return static_cast<size_t>(r);
  if (r != -EPERM && r != -ENOSYS) return 0;
  return CopyAsking(program, ours, bytes, number == SYS_process_vm_writev);
}

}  // namespace

size_t ReadPinned(uint64_t address, void* to, size_t bytes) {
  return Copy(SYS_process_vm_readv, address, to, bytes);
}

size_t WritePinned(uint64_t address, const void* from, size_t bytes) {
  return Copy(SYS_process_vm_writev, address, const_cast<void*>(from), bytes);
}

size_t SafeRead(uint64_t address, void* to, size_t bytes) {
  Pins pins;
  pins.Add(address, bytes);
  const size_t done = ReadPinned(address, to, bytes);
  pins.Release();
  return done;
}

size_t SafeWrite(uint64_t address, const void* from, size_t bytes) {
  Pins pins;
  pins.Add(address, bytes);
  const size_t done = WritePinned(address, from, bytes);
  pins.Release();
  return done;
}

}  // namespace uzswap::preload
