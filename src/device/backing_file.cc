// SPDX-License-Identifier: Apache-2.0
#include "device/backing_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"

namespace uzswap::backing_file {
namespace {

constexpr int kLowestDescriptors[] = {900, 512, 200, 100, 50, 20, 10};
constexpr int kNameAttempts = 100;
constexpr size_t kLeastAlignment = 512;

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

Result<int> OpenAt(int directory, const char* path, int flags, int mode) {
  const int64_t r =
      os::Syscall(SYS_openat, directory, Raw(path), flags | O_CLOEXEC, mode);
  if (r < 0) return Status::FromReturn(r);
  return static_cast<int>(r);
}

// Creates the file "NAME/pages" and removes both names again.
Result<int> CreateAndUnlink(int directory, const char* name) {
  const Result<int> private_directory =
      OpenAt(directory, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
  if (!private_directory.ok()) return private_directory.status();
  const int inside = private_directory.value();
  const Result<int> file =
      OpenAt(inside, "pages", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (file.ok()) (void)os::Syscall(SYS_unlinkat, inside, Raw("pages"), 0);
  os::Close(inside);
  return file;
}

Status CheckEmpty(int fd) {
  struct stat about;
  UZSWAP_RETURN_IF_ERROR(
      Status::FromReturn(os::Syscall(SYS_fstat, fd, Raw(&about))));
  if (S_ISBLK(about.st_mode)) return kOk;
  if (!S_ISREG(about.st_mode)) return Status::Error(EINVAL);
  return about.st_size == 0 ? kOk : Status::Error(ENOTEMPTY);
}

Status LockWhole(int fd) {
  const int64_t r = os::Syscall(SYS_flock, fd, LOCK_EX | LOCK_NB);
  return r == -EWOULDBLOCK ? Status::Error(EBUSY) : Status::FromReturn(r);
}

// Only a trial shows whether reads and writes will be taken.
bool TryPage(int fd) {
  const Result<void*> page = os::Map(kPageSize);
  if (!page.ok()) return false;
  const bool taken = os::PWrite(fd, page.value(), kPageSize, 0).ok() &&
                     os::PRead(fd, page.value(), kPageSize, 0).ok();
  CHECK(os::Unmap(page.value(), kPageSize).ok());
  return taken;
}

// 0: not at all. Kernels before 6.1 do not say.
size_t AlignmentOf(int fd) {
  struct statx about = {};
  const int64_t r = os::Syscall(SYS_statx, fd, Raw(""), AT_EMPTY_PATH,
                                STATX_DIOALIGN, Raw(&about));
  if (r < 0 || (about.stx_mask & STATX_DIOALIGN) == 0) return kPageSize;
  const size_t needed =
      std::max(about.stx_dio_mem_align, about.stx_dio_offset_align);
  if (about.stx_dio_offset_align == 0 || needed > kPageSize) return 0;
  return std::max(kLeastAlignment, needed);
}

}  // namespace

size_t MakeDirect(int fd) {
  const size_t alignment = AlignmentOf(fd);
  if (alignment == 0) return 0;
  const int64_t flags = os::Syscall(SYS_fcntl, fd, F_GETFL);
  if (flags < 0 || os::Syscall(SYS_fcntl, fd, F_SETFL, flags | O_DIRECT) < 0) {
    return 0;
  }
  if (TryPage(fd)) return alignment;
  (void)os::Syscall(SYS_fcntl, fd, F_SETFL, flags);
  return 0;
}

int MoveUp(int fd) {
  for (const int lowest : kLowestDescriptors) {
    const int64_t r = os::Syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lowest);
    if (r >= 0) {
      os::Close(fd);
      return static_cast<int>(r);
    }
  }
  return fd;
}

Result<int> OpenDirectory(const char* path) {
  const Result<int> fd = OpenAt(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
  if (!fd.ok()) return fd;
  return MoveUp(fd.value());
}

Result<int> OpenUnlinked(int directory) {
  // O_EXCL: the file can never be given a name again.
  const Result<int> fd =
      OpenAt(directory, ".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
  if (fd.ok()) return MoveUp(fd.value());
  const int error = fd.error();
  if (error != EOPNOTSUPP && error != EISDIR && error != ENOENT) return fd;
  return OpenAndUnlink(directory);
}

Result<int> OpenAndUnlink(int directory) {
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    Line name;
    name << ".uzswap-" << os::ProcessId() << "-";
    name.Hex(os::MonotonicNs());
    const char* text = name.c_str();
    const int64_t made = os::Syscall(SYS_mkdirat, directory, Raw(text), 0700);
    if (made == -EEXIST) continue;
    if (made < 0) return Status::FromReturn(made);
    const Result<int> file = CreateAndUnlink(directory, text);
    (void)os::Syscall(SYS_unlinkat, directory, Raw(text), AT_REMOVEDIR);
    if (!file.ok()) return file;
    return MoveUp(file.value());
  }
  return Status::Error(EEXIST);
}

Result<int> OpenWhole(const char* path) {
  // O_NONBLOCK: a named pipe must be refused, not waited for.
  const Result<int> fd = OpenAt(AT_FDCWD, path, O_RDWR | O_NONBLOCK, 0);
  if (!fd.ok()) return fd;
  Status s = LockWhole(fd.value());
  if (s.ok()) s = CheckEmpty(fd.value());
  if (!s.ok()) {
    os::Close(fd.value());
    return s;
  }
  return MoveUp(fd.value());
}

Result<PageCount> Capacity(int fd) {
  struct stat about;
  UZSWAP_RETURN_IF_ERROR(
      Status::FromReturn(os::Syscall(SYS_fstat, fd, Raw(&about))));
  if (!S_ISBLK(about.st_mode)) return ~PageCount{0};
  uint64_t bytes = 0;
  UZSWAP_RETURN_IF_ERROR(Status::FromReturn(
      os::Syscall(SYS_ioctl, fd, BLKGETSIZE64, Raw(&bytes))));
  return bytes / kPageSize;
}

PageCount FileSizeLimit() {
  struct rlimit limit;
  const int64_t r = os::Syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, Raw(&limit));
  if (r < 0 || limit.rlim_cur == RLIM_INFINITY) return ~PageCount{0};
  return limit.rlim_cur / kPageSize;
}

}  // namespace uzswap::backing_file
