// SPDX-License-Identifier: Apache-2.0
// Where pages go when they leave memory. A device hands out blocks of one page
// each; a block belongs to whoever holds its number until Free. It does its own
// locking; Read and Write block for as long as the storage does.
#ifndef UZSWAP_DEVICE_DEVICE_H_
#define UZSWAP_DEVICE_DEVICE_H_

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

enum class Block : uint64_t {};

class Device {
 public:
  // Takes a free block and writes the page to it. ENOSPC: the device is full
  // (by its size limit or by the file system's answer). EIO and others as the
  // storage says. On error no block is taken.
  virtual Result<Block> Write(ConstPage page) = 0;
  // EIO: the storage could not return the block. The page is then undefined.
  virtual Status Read(Block block, MutablePage page) = 0;
  virtual void Free(Block block) = 0;

  virtual PageCount size() const = 0;  // limit in blocks
  virtual PageCount used() const = 0;
  virtual ByteCount metadata_bytes() const = 0;
  // Writes the file descriptors in use to fds (at most `capacity`) and returns
  // how many there are. They are close-on-exec and as high as the process may
  // have them (from 900 on), out of the way of the program's own numbers.
  virtual size_t Descriptors(int* fds, size_t capacity) = 0;

  // Fork. Prepare is called with no operation in flight. Afterwards both
  // processes can read every block written before, and neither can disturb the
  // other: blocks written before the fork are never overwritten, new ones go to
  // storage of the process's own. An error leaves that process without room
  // for new writes (ENOSPC) but able to read and free.
  virtual void PrepareFork() = 0;
  virtual void ParentAfterFork() = 0;
  virtual Status ChildAfterFork() = 0;

  virtual void CheckInvariants() = 0;
  virtual void Destroy() = 0;

 protected:
  ~Device() = default;
};

// `path` that is a directory: unlinked files in it (O_TMPFILE, else created
// 0600 in a private directory and unlinked at once), which grow as blocks are
// used. Nothing is left behind however the process ends. At a fork the file
// with the blocks written so far is frozen in both processes and each goes on
// in a new file; a process holds at most 64 files (one for each fork after
// which blocks are still in use), past that a child has no room for new writes.
//
// `path` that is an empty regular file or a block device is used directly, and
// locked (flock): EBUSY when somebody else has it, ENOTEMPTY when the file has
// content. After a fork only the parent can write to it.
//
// Other errors: those of open(2). EINVAL: no room for one page.
Result<Device*> NewFileDevice(const char* path, PageCount size);

// For tests: blocks in memory, of which each process has its own after a fork.
Result<Device*> NewMemoryDevice(PageCount size);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_DEVICE_H_
