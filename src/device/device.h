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

  // Fork. Prepare is called with no operation in flight. Afterwards both
  // processes can read every block written before, and neither can disturb the
  // other: blocks written before the fork are never overwritten, new ones go to
  // storage of the process's own. An error leaves that process without room
  // for new writes (ENOSPC) but able to read.
  virtual void PrepareFork() = 0;
  virtual void ParentAfterFork() = 0;
  virtual Status ChildAfterFork() = 0;

  virtual void CheckInvariants() = 0;
  virtual void Destroy() = 0;

 protected:
  ~Device() = default;
};

// An unlinked file (O_TMPFILE, else created 0600 and unlinked at once) in
// `directory`; the file grows as blocks are used. Nothing is left behind
// however the process ends. Errors: those of open(2); `path` that is a regular
// file or block device is used directly (and must be empty or a device).
Result<Device*> NewFileDevice(const char* path, PageCount size);

// For tests: blocks in memory.
Result<Device*> NewMemoryDevice(PageCount size);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_DEVICE_H_
