// SPDX-License-Identifier: Apache-2.0
#include "zpool/frames.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/check.h"
#include "base/frames_watcher.h"
#include "base/os.h"
#include "zpool/failure.h"
#include "zpool/zsmalloc_hooks.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace uzswap {
namespace {

// "The calling thread" instead of a descriptor (Linux 6.15).
constexpr int64_t kPidfdSelf = -10000;

}  // namespace

Status TakeFrames(std::byte* from, PageCount pages) {
  zsmalloc_hooks::SystemCall();
  if (zpool_failure::ShouldFail()) return Status::Error(ENOMEM);
  const size_t bytes = pages << kPageShift;
  const Status status = Status::FromReturn(
      os::Syscall(SYS_madvise, reinterpret_cast<int64_t>(from),
                  static_cast<int64_t>(bytes), MADV_POPULATE_WRITE));
  // Kernels before 5.14 say EINVAL; there the first touch does it.
  if (status.ok() || status.error() == EINVAL) return kOk;
  // Some of the frames may have come. Where they cannot be given back the
  // account keeps what a later attempt will find anyway.
  os::Drop(from, bytes).Ignore();
  return Status::Error(ENOMEM);
}

void DropFrames(const iovec* ranges, unsigned count, bool* dropped) {
  CHECK(count <= kDropMax);
  zsmalloc_hooks::SystemCall();
  int64_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) {
    bytes += static_cast<int64_t>(ranges[i].iov_len);
    WillWrite(ranges[i].iov_base, ranges[i].iov_len);
  }
  // One call, one TLB flush on the other CPUs. Older kernels refuse; then, or
  // when it stopped half way, the ranges go one by one.
  const bool all = os::Syscall(SYS_process_madvise, kPidfdSelf,
                               reinterpret_cast<int64_t>(ranges), count,
                               MADV_DONTNEED) == bytes;
  for (unsigned i = 0; i < count; ++i) {
    dropped[i] = all || os::Drop(ranges[i].iov_base, ranges[i].iov_len).ok();
  }
}

}  // namespace uzswap
