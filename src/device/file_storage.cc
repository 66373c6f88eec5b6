// SPDX-License-Identifier: Apache-2.0
// Extents in files: unlinked ones in a directory, one for each generation, or
// one whole file or block device.
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <new>

#include "base/os.h"
#include "device/backing_file.h"
#include "device/generations.h"

namespace uzswap {
namespace {

constinit LockClass file_storage_class{"file storage"};

constexpr uint64_t kMaxIndex = (uint64_t{1} << 40) - 1;

class FileStorage final : public GenerationStorage {
 public:
  explicit FileStorage(uint64_t size, bool direct)
      : GenerationStorage(size, file_storage_class), direct_(direct) {}

  Status OpenStorage(const char* path);
  void Destroy() override;
  size_t alignment() const override { return alignment_; }

 private:
  Status WriteAt(const Place& place, std::span<const std::byte> bytes) override;
  Status ReadAt(const Place& place, size_t offset, std::span<std::byte> first,
                std::span<std::byte> second) override;
  Result<int> OpenGeneration() override UZSWAP_REQUIRES(mutex_);
  void OtherDescriptors(int* fds) override { fds[0] = directory_; }
  void TryDirect(int fd);

  // Constant after OpenStorage.
  bool direct_;
  size_t alignment_ = 1;
  int directory_ = -1;  // -1: the storage is one file or block device
};

Status FileStorage::WriteAt(const Place& place,
                            std::span<const std::byte> bytes) {
  // The program may have lowered its limit: past it comes a signal, too.
  const bool allowed =
      place.index < backing_file::FileSizeLimit() / kExtentPages;
  const Status s = allowed ? os::PWrite(place.fd, bytes.data(), bytes.size(),
                                        place.index * kExtentBytes)
                           : Status::Error(EFBIG);
  // A quota and a size limit are full devices, too.
  const bool full = s.error() == EDQUOT || s.error() == EFBIG;
  return full ? Status::Error(ENOSPC) : s;
}

// One call as a rule; a short count is the end of the file, or a signal.
Status FileStorage::ReadAt(const Place& place, size_t offset,
                           std::span<std::byte> first,
                           std::span<std::byte> second) {
  const uint64_t at = place.index * kExtentBytes + offset;
  const iovec parts[] = {{first.data(), first.size()},
                         {second.data(), second.size()}};
  const int64_t r =
      os::Syscall(SYS_preadv, place.fd, reinterpret_cast<int64_t>(parts), 2,
                  static_cast<int64_t>(at));
  if (r == static_cast<int64_t>(first.size() + second.size())) return kOk;
  UZSWAP_RETURN_IF_ERROR(os::PRead(place.fd, first.data(), first.size(), at));
  return os::PRead(place.fd, second.data(), second.size(), at + first.size());
}

// A whole file is written to by one process only.
Result<int> FileStorage::OpenGeneration() {
  if (directory_ < 0) return Status::Error(ENOSPC);
  const Result<int> fd = backing_file::OpenUnlinked(directory_);
  if (fd.ok() && direct_) TryDirect(fd.value());
  return fd;
}

// The file system decides, once.
void FileStorage::TryDirect(int fd) {
  const size_t alignment = backing_file::MakeDirect(fd);
  if (alignment_ == 1) alignment_ = std::max<size_t>(1, alignment);
  direct_ = alignment != 0;
}

Status FileStorage::OpenStorage(const char* path) {
  ScopedLock lock(mutex_);
  size_ = std::min(
      {size_, backing_file::FileSizeLimit() / kExtentPages, kMaxIndex});
  const Result<int> directory = backing_file::OpenDirectory(path);
  if (directory.ok()) {
    if (size_ == 0) return Status::Error(EINVAL);
    directory_ = directory.value();
    return StartNewGeneration();
  }
  if (directory.error() != ENOTDIR) return directory.status();
  const Result<int> file = backing_file::OpenWhole(path);
  if (!file.ok()) return file.status();
  const Result<PageCount> capacity = backing_file::Capacity(file.value());
  size_ = std::min(size_, capacity.ok() ? capacity.value() / kExtentPages : 0);
  if (size_ == 0) {
    os::Close(file.value());
    return capacity.ok() ? Status::Error(EINVAL) : capacity.status();
  }
  if (direct_) TryDirect(file.value());
  return StartGeneration(file.value());
}

void FileStorage::Destroy() {
  {
    ScopedLock lock(mutex_);
    CloseAll();
    if (directory_ >= 0) os::Close(directory_);
  }
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

}  // namespace

Result<Storage*> NewFileStorage(const char* path, uint64_t extents,
                                bool direct) {
  const Result<void*> memory = os::Map(PageCeil(sizeof(FileStorage)));
  if (!memory.ok()) return memory.status();
  auto* device = new (memory.value()) FileStorage(extents, direct);
  if (const Status s = device->OpenStorage(path); !s.ok()) {
    device->Destroy();
    return s;
  }
  return static_cast<Storage*>(device);
}

}  // namespace uzswap
