// SPDX-License-Identifier: Apache-2.0
// The kernel reads path, argv and envp of an exec while it tears the old image
// down; a vfork child execs on its parent's memory, where a pin would outlive
// it. So managed strings and arrays are copied to a mapping of ours instead.
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include "base/os.h"
#include "preload/arguments.h"
#include "preload/processes.h"
#include "preload/report.h"
#include "preload/thread.h"

namespace uzswap::preload {
namespace {

// The kernel's own limits: one string 128 KiB, all of them a quarter of 24 MiB.
constexpr uint64_t kMaxString = 128 * 1024;
constexpr uint64_t kMaxBytes = uint64_t{8} << 20;

bool Managed(uint64_t address, uint64_t bytes) {
  return uzswap_is_managed(reinterpret_cast<void*>(address), bytes) != 0;
}

// Bump memory for the copies; the mapping costs only what is written.
class Copies {
 public:
  // The string itself if no part of it can be managed, else a copy. 0: bad
  // pointer or too long; error() says which.
  uint64_t String(uint64_t from) {
    if (from == 0 || !Managed(from, kMaxString)) return from;
    const uint64_t start = used_;
    for (uint64_t length = 0; length < kMaxString;) {
      const uint64_t chunk = kPageSize - (from + length) % kPageSize;
      char* to = Reserve(chunk);
      if (to == nullptr) return Fail(E2BIG);
      if (SafeRead(from + length, to, chunk) != chunk) return Fail(EFAULT);
      for (uint64_t i = 0; i < chunk; ++i) {
        if (to[i] == '\0') {
          used_ -= chunk - i - 1;
          return reinterpret_cast<uint64_t>(base_) + start;
        }
      }
      length += chunk;
    }
    return Fail(E2BIG);
  }

  // A null-terminated array of strings.
  uint64_t Array(uint64_t from) {
    if (from == 0) return from;
    uint64_t count = 0;
    for (uint64_t pointer = 1; pointer != 0; ++count) {
      if (SafeRead(from + count * 8, &pointer, 8) != 8) return Fail(EFAULT);
    }
    used_ = (used_ + 7) & ~uint64_t{7};
    const uint64_t at = used_;
    auto* to = reinterpret_cast<uint64_t*>(Reserve(count * 8));
    if (to == nullptr) return Fail(E2BIG);
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t pointer = 0;
      if (SafeRead(from + i * 8, &pointer, 8) != 8) return Fail(EFAULT);
      to[i] = String(pointer);
      if (error_ != 0) return 0;
    }
    return reinterpret_cast<uint64_t>(base_) + at;
  }

  int error() const { return error_; }
  char* base() const { return base_; }

 private:
  uint64_t Fail(int error) {
    error_ = error;
    return 0;
  }
  char* Reserve(uint64_t bytes) {
    if (base_ == nullptr) {
      const Result<void*> mapped = os::Map(kMaxBytes, /*sparse=*/true);
      if (!mapped.ok()) return nullptr;
      base_ = static_cast<char*>(mapped.value());
    }
    if (bytes > kMaxBytes - used_) return nullptr;
    char* at = base_ + used_;
    used_ += bytes;
    return at;
  }

  char* base_ = nullptr;
  uint64_t used_ = 0;
  int error_ = 0;
};

}  // namespace

void FreeExecCopy(ThreadBlock& block) {
  if (block.exec_copy == nullptr) return;
  (void)os::Unmap(block.exec_copy, block.exec_copy_bytes);
  block.exec_copy = nullptr;
}

int64_t Exec(const SyscallFrame& frame) {
  const bool at = frame.number() == SYS_execveat;
  Copies copies;
  const uint64_t path = copies.String(at ? frame.rsi : frame.rdi);
  // A search along PATH copies no arguments, and gives nothing up, for what is
  // not there.
  int64_t found = 0;
  if (copies.error() == 0 && !at) {
    found =
        os::Syscall(SYS_faccessat, AT_FDCWD, static_cast<int64_t>(path), F_OK);
    // It looks with the real user's rights; execve has its own answers.
    if (found != -ENOENT && found != -ENOTDIR) found = 0;
  }
  uint64_t argv = 0;
  uint64_t envp = 0;
  if (copies.error() == 0 && found == 0) {
    argv = copies.Array(at ? frame.rdx : frame.rsi);
    envp = copies.Array(at ? frame.r10 : frame.rdx);
  }
  ThreadBlock& block = ThisThread();
  block.exec_copy = copies.base();
  block.exec_copy_bytes = kMaxBytes;
  if (copies.error() != 0 || found != 0) {
    FreeExecCopy(block);
    return copies.error() != 0 ? -copies.error() : found;
  }
  const bool reports = OwnsReport();
  if (reports) {
    PublishReport(UZSWAP_RECORD_EXECED);
    uzswap_leave_tree();
  }
  const int64_t r =
      at ? os::Syscall(SYS_execveat, static_cast<int64_t>(frame.rdi),
                       static_cast<int64_t>(path), static_cast<int64_t>(argv),
                       static_cast<int64_t>(envp),
                       static_cast<int64_t>(frame.r8))
         : os::Syscall(SYS_execve, static_cast<int64_t>(path),
                       static_cast<int64_t>(argv), static_cast<int64_t>(envp));
  if (reports) {
    uzswap_join_tree();
    PublishReport(UZSWAP_RECORD_LIVE);
  }
  FreeExecCopy(block);
  return r;
}

}  // namespace uzswap::preload
