// SPDX-License-Identifier: Apache-2.0
// Raw room for a log: extents of one size, each written once, in one piece, and
// read in parts. An extent belongs to whoever holds its number until Free. A
// storage does its own locking; Read and Write block for as long as the medium
// does. It knows nothing of what the bytes mean and does not protect them.
#ifndef UZSWAP_DEVICE_STORAGE_H_
#define UZSWAP_DEVICE_STORAGE_H_

#include <span>

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Large enough for sequential writing, small enough that a few of them in
// memory do not count.
inline constexpr size_t kExtentBytes = size_t{64} << 10;
inline constexpr PageCount kExtentPages = kExtentBytes / kPageSize;

enum class Extent : uint64_t {};

class Storage {
 public:
  // Takes a free extent and writes the bytes to its start. It returns when all
  // of them are written. ENOSPC: the storage is full (by its size limit or by
  // the file system's answer). EIO and others as the medium says. On error no
  // extent is taken. REQUIRES: at most kExtentBytes.
  virtual Result<Extent> Write(std::span<const std::byte> bytes) = 0;
  // Reads `first` from `offset` in the extent, and `second` behind it. EIO: the
  // medium could not return all of it. Both are then undefined.
  virtual Status Read(Extent extent, size_t offset, std::span<std::byte> first,
                      std::span<std::byte> second) = 0;
  virtual void Free(Extent extent) = 0;

  // Offset, length and address of what is read and written must be multiples
  // of it (there is no `second` then): 1, or a power of two up to kPageSize.
  virtual size_t alignment() const = 0;

  virtual uint64_t size() const = 0;  // limit in extents
  virtual uint64_t used() const = 0;
  virtual ByteCount metadata_bytes() const = 0;
  // As Device::Descriptors.
  virtual size_t Descriptors(int* fds, size_t capacity) = 0;

  // Fork, as Device: extents written before the fork are never overwritten by
  // either process, new ones go to room of the process's own. An error leaves
  // the child without room for new writes (ENOSPC) but able to read and free.
  virtual void ParentAfterFork() = 0;
  virtual Status ChildAfterFork() = 0;

  virtual void CheckInvariants() = 0;
  virtual void Destroy() = 0;

 protected:
  ~Storage() = default;
};

// `path` that is a directory: unlinked files in it (O_TMPFILE, else created
// 0600 in a private directory and unlinked at once), which grow as extents are
// used. Nothing is left behind however the process ends. At a fork the file
// with the extents written so far is frozen in both processes and each goes on
// in a new file; a process holds at most 64 files (one for each fork after
// which extents are still in use), past that a child has no room for new
// writes.
//
// `path` that is an empty regular file or a block device is used directly, and
// locked (flock): EBUSY when somebody else has it, ENOTEMPTY when the file has
// content. After a fork only the parent can write to it.
//
// `direct`: past the page cache (O_DIRECT) if the file system takes that, which
// alignment() then shows.
//
// Other errors: those of open(2). EINVAL: no room for one extent.
Result<Storage*> NewFileStorage(const char* path, uint64_t extents,
                                bool direct = false);

// The export that `uri` names (nbd_address.h: numeric addresses only).
// Processes that are given the same `leases` share it without disturbing each
// other, and so do the children of a fork; anybody else must be kept from it.
struct NbdOptions {
  // A file that is only locked, never written; it must be opened anew by each
  // (/proc/PID/fd/N serves). nullptr: the export is this process's and its
  // children's.
  const char* leases = nullptr;
  uint64_t timeout_seconds =
      0;  // how long a lost server is waited for; 0: ever
};
// EINVAL: not such an address, or no room for one region of 4 MiB. EPROTO: no
// NBD server, or none without TLS. ENOENT: no such export, or no such socket.
// EROFS. Others: those of connect(2), after the timeout.
Result<Storage*> NewNbdStorage(const char* uri, uint64_t extents,
                               const NbdOptions& options);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_STORAGE_H_
