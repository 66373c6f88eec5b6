// SPDX-License-Identifier: Apache-2.0
#include "pager/uffd.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <cstddef>

#include "base/os.h"
#include "pager/test_hooks.h"

namespace uzswap {
namespace {

// Newer than the headers that the build may find (Linux 5.11, 6.8).
constexpr int kUserModeOnly = 1;
constexpr uint64_t kFeatureMove = uint64_t{1} << 16;
struct MoveArgument {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t move;
};
constexpr uint64_t kMoveDontWake = 1;
constexpr unsigned long kIoctlMove = _IOWR(UFFDIO, 0x05, MoveArgument);

constexpr uint64_t kNeeded =
    UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP;

// In .bss, where reading maps the system's zero page.
alignas(kPageSize) constinit std::byte zeros[Uffd::kMaxZeros * kPageSize] = {};

int64_t Ioctl(int fd, unsigned long request, void* argument) {
  return os::Syscall(SYS_ioctl, fd, static_cast<int64_t>(request),
                     reinterpret_cast<int64_t>(argument));
}

Result<int> NewDescriptor() {
  int64_t r =
      os::Syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly);
  // Before Linux 5.11 there is no such flag, and no need for it.
  if (r == -EINVAL) r = os::Syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (r < 0) return Status::FromReturn(r);
  return static_cast<int>(r);
}

// The handshake can be done once for each descriptor, so the question what the
// kernel has is asked on one that is thrown away.
Result<uint64_t> ProbeFeatures() {
  const Result<int> fd = NewDescriptor();
  if (!fd.ok()) return fd.status();
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  const int64_t r = Ioctl(fd.value(), UFFDIO_API, &api);
  os::Close(fd.value());
  if (r < 0) return Status::FromReturn(r);
  return uint64_t{api.features};
}

// Moves that report EEXIST or ENOENT may have happened: a contended batched
// move keeps the error of a try that was repeated with success.
bool HasMoved(uint64_t to, uint64_t from) {
  return PageIsPresent(to) && !PageIsPresent(from);
}

}  // namespace

int MoveDescriptorHigh(int fd) {
  rlimit limit{};
  (void)os::Syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0,
                    reinterpret_cast<int64_t>(&limit));
  int64_t lowest = 900;
  if (limit.rlim_cur < 964) {
    lowest = limit.rlim_cur > 96 ? static_cast<int64_t>(limit.rlim_cur) - 64
                                 : static_cast<int64_t>(limit.rlim_cur) / 2;
  }
  int64_t r = os::Syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
  // The numbers up to the limit are taken: the highest that is not.
  for (; r < 0 && lowest > fd + 1; lowest -= (lowest - fd + 1) / 2) {
    r = os::Syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
  }
  if (r < 0) return fd;
  os::Close(fd);
  return static_cast<int>(r);
}

bool PageIsPresent(uint64_t address) {
  unsigned char present = 0;
  const int64_t r =
      os::Syscall(SYS_mincore, static_cast<int64_t>(PageFloor(address)),
                  kPageSize, reinterpret_cast<int64_t>(&present));
  return r == 0 && (present & 1) != 0;
}

Status Uffd::Open() {
  const Result<uint64_t> features = ProbeFeatures();
  if (!features.ok()) return features.status();
  if ((features.value() & kNeeded) != kNeeded) {
    return Status::Error(EOPNOTSUPP);
  }
  const Result<int> fd = NewDescriptor();
  if (!fd.ok()) return fd.status();
  uffdio_api api{.api = UFFD_API,
                 .features = kNeeded | (features.value() & kFeatureMove),
                 .ioctls = 0};
  const int64_t r = Ioctl(fd.value(), UFFDIO_API, &api);
  if (r < 0) {
    os::Close(fd.value());
    return Status::FromReturn(r);
  }
  can_move_ =
      (features.value() & kFeatureMove) != 0 && !pager_test_hooks.no_move;
  fd_ = MoveDescriptorHigh(fd.value());
  return kOk;
}

void Uffd::Close() {
  if (fd_ >= 0) os::Close(fd_);
  fd_ = -1;
}

Status Uffd::Register(uint64_t start, uint64_t bytes) {
  uffdio_register r{
      .range = {.start = start, .len = bytes},
      .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
      .ioctls = 0};
  return Status::FromReturn(Ioctl(fd_, UFFDIO_REGISTER, &r));
}

Status Uffd::Unregister(uint64_t start, uint64_t bytes) {
  uffdio_range r{.start = start, .len = bytes};
  return Status::FromReturn(Ioctl(fd_, UFFDIO_UNREGISTER, &r));
}

UffdProgress Uffd::Copy(uint64_t to, uint64_t from, PageCount pages,
                        bool protect) {
  UffdProgress done;
  while (done.pages < pages) {
    const uint64_t offset = done.pages * kPageSize;
    uffdio_copy c{
        .dst = to + offset,
        .src = from + offset,
        .len = (pages - done.pages) * kPageSize,
        .mode = UFFDIO_COPY_MODE_DONTWAKE | (protect ? UFFDIO_COPY_MODE_WP : 0),
        .copy = 0};
    const int64_t r = Ioctl(fd_, UFFDIO_COPY, &c);
    if (r == 0) {
      done.pages = pages;
    } else if (c.copy > 0) {
      done.pages += static_cast<uint64_t>(c.copy) / kPageSize;
    } else if (r == -ENOENT && pages - done.pages > 1) {
      // One copy must not cross the end of a mapping: page by page then.
      const UffdProgress one = Copy(c.dst, c.src, 1, protect);
      done.pages += one.pages;
      done.status = one.status;
      if (!one.status.ok()) return done;
    } else if (r != -EAGAIN) {
      done.status = Status::FromReturn(r);
      return done;
    }
  }
  return done;
}

UffdProgress Uffd::CopyZeros(uint64_t to, PageCount pages) {
  DCHECK(pages <= kMaxZeros);
  return Copy(to, reinterpret_cast<uint64_t>(zeros), pages);
}

UffdProgress Uffd::Move(uint64_t to, uint64_t from, PageCount pages) {
  UffdProgress done;
  while (done.pages < pages) {
    const uint64_t offset = done.pages * kPageSize;
    MoveArgument m{.dst = to + offset,
                   .src = from + offset,
                   .len = (pages - done.pages) * kPageSize,
                   .mode = kMoveDontWake,
                   .move = 0};
    const int64_t r = Ioctl(fd_, kIoctlMove, &m);
    if (r == 0) {
      done.pages = pages;
    } else if (m.move > 0) {
      done.pages += static_cast<uint64_t>(m.move) / kPageSize;
    } else if ((r == -EEXIST || r == -ENOENT) && HasMoved(m.dst, m.src)) {
      ++done.pages;
    } else if (r != -EAGAIN) {
      done.status = Status::FromReturn(r);
      return done;
    }
  }
  return done;
}

Status Uffd::WriteProtect(uint64_t start, PageCount pages, bool protect) {
  if (pager_test_hooks.no_wide_protect && pages > 1) {
    return Status::Error(ENOENT);
  }
  uffdio_writeprotect w{
      .range = {.start = start, .len = pages * kPageSize},
      .mode = protect
                  ? static_cast<uint64_t>(UFFDIO_WRITEPROTECT_MODE_WP)
                  : static_cast<uint64_t>(UFFDIO_WRITEPROTECT_MODE_DONTWAKE)};
  for (;;) {
    const int64_t r = Ioctl(fd_, UFFDIO_WRITEPROTECT, &w);
    if (r != -EAGAIN) return Status::FromReturn(r);
  }
}

}  // namespace uzswap
