// SPDX-License-Identifier: Apache-2.0
#include "cli/preflight.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "cli/nbd_check.h"
#include "cli/size.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#endif

namespace uzswap::cli {
namespace {

// Tables over the whole 47-bit address space, 8 bytes a page, and some room.
constexpr uint64_t kAddressSpace = uint64_t{300} << 30;
constexpr uint64_t kLeastBacking = uint64_t{16} << 20;

bool UnderSeccompFilter() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("Seccomp:")) return line.ends_with("2");
  }
  return false;
}

Check Missing(const std::string& call, int error) {
  std::string why = call + " failed: " + std::strerror(error);
  if (UnderSeccompFilter()) {
    why +=
        "; a seccomp filter forbids it (containers have one): allow it there, "
        "with docker or podman by --security-opt seccomp=PROFILE";
  } else if (error == ENOSYS || error == EINVAL) {
    why += "; the kernel is too old or built without it: Linux 5.11 is needed";
  } else if (error == EPERM || error == EACCES) {
    why += "; a security module forbids it: ask the administrator";
  }
  return Failure{why};
}

Check CheckUserfaultfd() {
  const long fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
  if (fd < 0) return Missing("userfaultfd", errno);
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
  const int result = ioctl(static_cast<int>(fd), UFFDIO_API, &api);
  const int error = errno;
  close(static_cast<int>(fd));
  if (result != 0) return Missing("userfaultfd (SIGBUS, write-protect)", error);
  return {};
}

Check CheckLimit(int resource, const char* option) {
  rlimit limit;
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0 ||
      limit.rlim_cur >= kAddressSpace) {
    return {};
  }
  return Failure{std::string("ulimit ") + option + " is " +
                 FormatSize(limit.rlim_cur) + ", but uzswap reserves " +
                 FormatSize(kAddressSpace) +
                 " of addresses (not of memory); use ulimit " + option +
                 " unlimited, --memory limits better"};
}

Failure Backing(const std::string& path, const std::string& why) {
  return {"--backing '" + path + "' " + why};
}

constexpr char kElsewhere[] = "; choose another place or --backing none";

// As the engine will do it: an unlinked file. Leaves nothing.
int OpenUnlinked(const std::string& directory) {
  const int fd =
      open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) {
    return fd;
  }
  std::string name = directory + "/uzswap-XXXXXX";
  const int plain = mkostemp(name.data(), O_CLOEXEC);
  if (plain >= 0) unlink(name.c_str());
  return plain;
}

// How much can be written to the open file; *error when nothing can.
uint64_t Room(int fd, int* error) {
  const std::string block(65536, 'u');
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0) limit.rlim_cur = RLIM_INFINITY;
  if (limit.rlim_cur < block.size()) return limit.rlim_cur;
  // Free blocks alone do not show quotas.
  errno = 0;
  if (pwrite(fd, block.data(), block.size(), 0) !=
      static_cast<ssize_t>(block.size())) {
    *error = errno == 0 ? ENOSPC : errno;
    return 0;
  }
  struct statvfs fs;
  if (fstatvfs(fd, &fs) != 0) {
    *error = errno;
    return 0;
  }
  const uint64_t free = uint64_t{fs.f_bavail} * fs.f_frsize + block.size();
  return std::min<uint64_t>(free, limit.rlim_cur);
}

Check CheckRoom(Options* options, uint64_t room) {
  const uint64_t wanted = options->backing_size;
  if (wanted > room) {
    return Backing(options->backing,
                   "has room for " + FormatSize(room) + ", not for the " +
                       FormatSize(wanted) +
                       " of --backing-size; ask for less or free some");
  }
  if (room < kLeastBacking) {
    return Backing(options->backing,
                   "is full: it has room for " + FormatSize(room) +
                       ", the minimum is " + FormatSize(kLeastBacking) +
                       kElsewhere);
  }
  if (wanted == 0) {
    options->backing_size =
        std::min(options->memory * 16, room) & ~uint64_t{4095};
  }
  return {};
}

Check CheckDirectory(Options* options) {
  const int fd = OpenUnlinked(options->backing);
  if (fd < 0) {
    return Backing(options->backing, std::string("cannot be written to: ") +
                                         std::strerror(errno) + kElsewhere);
  }
  int error = 0;
  const uint64_t room = Room(fd, &error);
  close(fd);
  if (error != 0 && error != ENOSPC && error != EDQUOT) {
    return Backing(options->backing, std::string("cannot be written to: ") +
                                         std::strerror(error) + kElsewhere);
  }
  return CheckRoom(options, room);
}

Check CheckFile(Options* options, const struct stat& status) {
  const int fd = open(options->backing.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    return Backing(options->backing, std::string("cannot be opened: ") +
                                         std::strerror(errno) + kElsewhere);
  }
  uint64_t room = UINT64_MAX;
  if (S_ISBLK(status.st_mode)) {
    if (ioctl(fd, BLKGETSIZE64, &room) != 0) room = 0;
  } else {
    struct statvfs fs;
    if (fstatvfs(fd, &fs) == 0) room = uint64_t{fs.f_bavail} * fs.f_frsize;
  }
  close(fd);
  if (S_ISREG(status.st_mode) && status.st_size != 0) {
    return Backing(options->backing,
                   "is a file with content (" +
                       FormatSize(static_cast<uint64_t>(status.st_size)) +
                       "), which would be lost; give an empty one");
  }
  return CheckRoom(options, room);
}

}  // namespace

Check CheckKernel() {
  if (Check c = CheckUserfaultfd()) return c;
  // Under another uzswap, dispatch is what we run on; switching it off to see
  // whether that is possible would be a mistake.
  if (std::getenv("UZSWAP_ROOT") == nullptr &&
      prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) != 0) {
    return Missing("Syscall User Dispatch", errno);
  }
  if (Check c = CheckLimit(RLIMIT_AS, "-v")) return c;
  return CheckLimit(RLIMIT_DATA, "-d");
}

Check CheckCompressor(const Layout& layout, const std::string& option,
                      const std::string& name) {
  std::string names;
  for (const CompressorEntry& entry : ListCompressors(layout)) {
    if (entry.name == name) {
      if (!entry.problem) return {};
      return Failure{option + " " + name + ": " + entry.origin + " " +
                     entry.problem->sentence};
    }
    names += (names.empty() ? "" : ", ") + entry.name;
  }
  return Failure{option + " '" + name +
                 "' is not known; choose one of: " + names};
}

// The level is for the compressor to judge, when it is set up.
Check CheckRecompressor(const Layout& layout, const std::string& choice) {
  if (choice == "none") return {};
  return CheckCompressor(layout, "--recompressor",
                         choice.substr(0, choice.find(':')));
}

Check CheckBacking(Options* options) {
  if (options->backing.empty()) return {};
  if (IsNbdUri(options->backing)) {
    uint64_t room = 0;
    if (Check c = CheckNbd(&options->backing, &room)) return c;
    return CheckRoom(options, room);
  }
  struct stat status;
  if (stat(options->backing.c_str(), &status) != 0) {
    return Backing(options->backing,
                   (errno == ENOENT ? "does not exist"
                                    : std::string("cannot be looked at: ") +
                                          std::strerror(errno)) +
                       kElsewhere);
  }
  // A process under uzswap may change its directory before it opens this.
  char* const absolute = realpath(options->backing.c_str(), nullptr);
  if (absolute != nullptr) options->backing = absolute;
  std::free(absolute);
  if (S_ISDIR(status.st_mode)) return CheckDirectory(options);
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode)) {
    return CheckFile(options, status);
  }
  return Backing(options->backing,
                 "is neither a directory nor a file nor a block device");
}

}  // namespace uzswap::cli
