// SPDX-License-Identifier: Apache-2.0
// Where pages go when they leave memory. A device keeps objects: 1 … 4096
// bytes, a page as it lay in the pool. An object belongs to whoever holds its
// number until Free. A device does its own locking; Read and Write block for as
// long as the storage does.
#ifndef UZSWAP_DEVICE_DEVICE_H_
#define UZSWAP_DEVICE_DEVICE_H_

#include <span>

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

enum class ObjectId : uint64_t {};

// Most that a device holds: those of 64 generations, and two more.
inline constexpr size_t kMaxDeviceDescriptors = 66;

struct DeviceStats {
  ByteCount written_bytes;  // to the storage, so far; of this process
  ByteCount cleaned_bytes;  // moved by the cleaner, so far
  ByteCount live_bytes;     // of objects now, checksums included
  ByteCount garbage_bytes;  // written, and not needed any more
  uint64_t corrupt_reads;   // reads that met other bytes than were written
  uint64_t reads;           // from the storage, the cleaner's included
  ByteCount read_bytes;
  uint64_t alignment;  // of what is read and written; above 1: directly
};

// What a read may bring beside its object, for ReadHeld, and what it did. Each
// read reckons with its own.
struct ReadAround {
  // Bytes of what was written before the object and after it that are likely to
  // be wanted soon. No more than a hint.
  uint32_t before = 0;
  uint32_t after = 0;
  // Set by the read: it had to wait for the storage; and what is around came
  // with the object, as far as it was written with it.
  bool from_storage = false;
  bool brought = false;
};

class Device {
 public:
  // Keeps a copy of the bytes. ENOSPC: the device is full (by its size limit or
  // by the file system's answer). EIO and others as the storage says. On error
  // nothing is kept. REQUIRES: 1 … kPageSize bytes.
  virtual Result<ObjectId> Write(std::span<const std::byte> object) = 0;
  // EIO and others: the storage could not return the object. EBADMSG: what it
  // returned is not what was written. The bytes are then undefined.
  // REQUIRES: as many bytes as were written.
  virtual Status ReadWith(ObjectId id, std::span<std::byte> object,
                          ReadAround& around) = 0;
  Status Read(ObjectId id, std::span<std::byte> object) {
    ReadAround alone;
    return ReadWith(id, object, alone);
  }
  // The object, if it can be had without the storage: ENODATA if not, or if
  // what is in memory is not what was written. That is no verdict: Read asks
  // the storage. The bytes are then undefined. Does not block. REQUIRES: as
  // Read.
  virtual Status ReadHeld(ObjectId id, std::span<std::byte> object) = 0;
  virtual void Free(ObjectId id) = 0;

  virtual PageCount size() const = 0;  // limit, in pages of storage
  // Another limit, while it is in use; at most what the storage can have, at
  // least one write's worth: size() says what it is now. Lowered below what is
  // used, it loses nothing: new objects are refused (ENOSPC) until less is
  // used, and holes are closed at the next writes. Safe on any thread.
  virtual void SetSize(PageCount pages) = 0;
  virtual uint64_t used() const = 0;  // objects
  // Everything that it has in memory, objects on their way out included.
  virtual ByteCount metadata_bytes() const = 0;
  virtual DeviceStats Stats() = 0;
  // Writes the file descriptors in use to fds (at most `capacity`) and returns
  // how many there are. They are close-on-exec and as high as the process may
  // have them (from 900 on), out of the way of the program's own numbers.
  // At most kMaxDeviceDescriptors. OwnDescriptorsChange() is called before each
  // change.
  virtual size_t Descriptors(int* fds, size_t capacity) = 0;

  // Fork. Prepare is called with no operation in flight. Afterwards both
  // processes can read every object written before, and neither can disturb the
  // other. An error leaves that process without room for new writes (ENOSPC)
  // but able to read and free.
  virtual void PrepareFork() = 0;
  virtual void ParentAfterFork() = 0;
  virtual Status ChildAfterFork() = 0;

  virtual void CheckInvariants() = 0;
  virtual void Destroy() = 0;

 protected:
  ~Device() = default;
};

// What keeps anybody from reading pages off the storage, and how other bytes
// than were written are recognised.
enum class Protection {
  kEncrypted,    // ChaCha20-Poly1305, whose tag is the checksum
  kChecksummed,  // XXH3; for storage that nobody else can read
};

// A log (segment_log.h) over what `path` names: see NewFileStorage and, for
// nbd://… and nbd+unix://…, NewNbdStorage, also for errors. EINVAL also: no
// room for one segment. ENOSYS and others: no random bytes for the key.
struct DeviceConfig {
  const char* path;
  PageCount size;
  Protection protection = Protection::kEncrypted;
  bool direct = false;            // files: past the page cache, if possible
  const char* leases = nullptr;   // NBD: see NbdOptions
  uint64_t timeout_seconds = 30;  // NBD: 0 is for ever
};
Result<Device*> NewDevice(const DeviceConfig& config);
Result<Device*> NewFileDevice(const char* path, PageCount size,
                              Protection protection = Protection::kEncrypted);

// For tests: one block of memory for each object. Each process has its own
// after a fork.
Result<Device*> NewMemoryDevice(PageCount size);

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_DEVICE_H_
