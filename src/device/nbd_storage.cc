// SPDX-License-Identifier: Apache-2.0
// Extents on an NBD export. Processes that were started together share it: the
// export is cut into regions, and a region belongs to whoever holds the lock on
// its byte of the lease file. The locks belong to open files (F_OFD_SETLK), so
// a forked child, which reads what its parent wrote, holds them as well, and
// the kernel frees them when the last of both has closed the file or is gone,
// however it ended. One such open file is a generation.
//
// Each process has a connection of its own, made when it is first needed. A
// request whose connection is lost is sent again on the next one, with pauses,
// until the timeout; once one has been given up, others are tried once a second
// and fail at once in between, until the server is back.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <new>

#include "base/os.h"
#include "base/own_descriptors.h"
#include "device/backing_file.h"
#include "device/generations.h"
#include "device/nbd_connection.h"

namespace uzswap {
namespace {

constinit LockClass nbd_storage_class{"nbd storage"};

constexpr uint64_t kRegionExtents = 64;  // 4 MiB
constexpr uint64_t kSecond = 1000000000;
constexpr uint64_t kFirstPause = kSecond / 100;

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

class NbdStorage final : public GenerationStorage {
 public:
  NbdStorage(uint64_t size, const NbdAddress& address, uint64_t timeout_ns)
      : GenerationStorage(size, nbd_storage_class),
        address_(address),
        timeout_ns_(timeout_ns) {}

  Status OpenStorage(const char* leases);
  void Destroy() override;
  size_t alignment() const override { return alignment_; }

 private:
  enum class Command { kConnect, kRead, kWrite };
  struct Request {
    Command command;
    uint64_t offset;
    std::span<std::byte> first, second;  // to read
    std::span<const std::byte> bytes;    // to write
  };

  Status WriteAt(const Place& place, std::span<const std::byte> bytes) override;
  Status ReadAt(const Place& place, size_t offset, std::span<std::byte> first,
                std::span<std::byte> second) override;
  Result<int> OpenGeneration() override UZSWAP_REQUIRES(mutex_);
  Status PrepareExtent(unsigned generation, uint64_t index) override
      UZSWAP_REQUIRES(mutex_);
  void GenerationClosed(unsigned generation) override UZSWAP_REQUIRES(mutex_);
  void OtherDescriptors(int* fds) override UZSWAP_REQUIRES(mutex_);
  void InChild() override UZSWAP_REQUIRES(mutex_);
  ByteCount OtherBytes() const override {
    return table_bytes_.load(std::memory_order_relaxed);
  }

  Status OpenLeases(const char* path);
  Status Lease(unsigned generation) UZSWAP_REQUIRES(mutex_);
  bool Holds(unsigned generation, uint64_t region) UZSWAP_REQUIRES(mutex_);
  uint64_t OffsetOf(const Place& place);

  // The connection; with the turn.
  void TakeTurn();
  void EndTurn();
  Status Do(const Request& request);
  Status Try(const Request& request);
  Status Once(const Request& request, Deadline deadline, bool* answered);
  Status Connect(Deadline deadline);
  Status CheckExport();
  Status OpenSocket();
  void CloseSocket();
  void NoteLost(Status why);
  void NoteBack();

  const NbdAddress address_;
  const uint64_t timeout_ns_;  // 0: none
  size_t alignment_ = 1;       // constant after opening, as the next two
  uint64_t regions_ = 0;
  int leases_ = -1;

  // Regions of each generation, in the order of its extents. An entry is
  // constant once an extent in it has been handed out.
  SparseTable<uint32_t> leased_[kGenerations];
  uint64_t leased_count_[kGenerations] UZSWAP_GUARDED_BY(mutex_) = {};
  uint64_t next_region_ UZSWAP_GUARDED_BY(mutex_) = 0;
  std::atomic<ByteCount> table_bytes_{0};

  std::atomic<uint32_t> turn_{0};  // futex: 0 free, 1 taken, 2 waited for
  NbdConnection connection_;       // of who has the turn, as the rest
  int socket_ = -1;                // changed under mutex_, too
  bool opened_ = false;
  bool given_up_ = false;
  uint64_t next_try_ = 0;
  uint64_t lost_since_ = 0;  // 0: it is not
};

// ---- regions

Status NbdStorage::OpenLeases(const char* path) {
  if (path != nullptr) {
    const Result<int> fd = os::Open(path, O_RDWR, 0);
    if (!fd.ok()) return fd.status();
    leases_ = backing_file::MoveUp(fd.value());
    return kOk;
  }
  const int64_t r =
      os::Syscall(SYS_memfd_create, Raw("uzswap-leases"), MFD_CLOEXEC);
  if (r < 0) return Status::FromReturn(r);
  leases_ = backing_file::MoveUp(static_cast<int>(r));
  return kOk;
}

Result<int> NbdStorage::OpenGeneration() {
  Line path;
  path << "/proc/self/fd/" << leases_;
  const Result<int> fd = os::Open(path.c_str(), O_RDWR, 0);
  if (!fd.ok()) return fd;
  return backing_file::MoveUp(fd.value());
}

bool NbdStorage::Holds(unsigned generation, uint64_t region) {
  for (uint64_t i = 0; i < leased_count_[generation]; ++i) {
    if (leased_[generation][i] == region) return true;
  }
  return false;
}

// One more region for the generation. ENOSPC: others have them all.
Status NbdStorage::Lease(unsigned generation) {
  for (uint64_t tried = 0; tried < regions_; ++tried) {
    const uint64_t region = next_region_;
    next_region_ = (next_region_ + 1) % regions_;
    // What this open file has locked already it could lock again.
    if (Holds(generation, region)) continue;
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(region);
    lock.l_len = 1;
    const int64_t r =
        os::Syscall(SYS_fcntl, FdOf(generation), F_OFD_SETLK, Raw(&lock));
    if (r == -EAGAIN || r == -EACCES) continue;
    if (r < 0) return Status::FromReturn(r);
    leased_[generation][leased_count_[generation]++] =
        static_cast<uint32_t>(region);
    return kOk;
  }
  return Status::Error(ENOSPC);
}

Status NbdStorage::PrepareExtent(unsigned generation, uint64_t index) {
  SparseTable<uint32_t>& table = leased_[generation];
  if (table.data() == nullptr) UZSWAP_RETURN_IF_ERROR(table.Init(regions_));
  // The first free extent is taken, so that this is one at most.
  while (index / kRegionExtents >= leased_count_[generation]) {
    const uint64_t before = leased_count_[generation];
    UZSWAP_RETURN_IF_ERROR(Lease(generation));
    if (before % (kPageSize / sizeof(uint32_t)) == 0) {
      table_bytes_.fetch_add(kPageSize, std::memory_order_relaxed);
    }
  }
  return kOk;
}

void NbdStorage::GenerationClosed(unsigned generation) {
  leased_[generation].Release();
  table_bytes_.fetch_sub(PageCeil(leased_count_[generation] * sizeof(uint32_t)),
                         std::memory_order_relaxed);
  leased_count_[generation] = 0;
}

uint64_t NbdStorage::OffsetOf(const Place& place) {
  const uint64_t region =
      leased_[place.generation][place.index / kRegionExtents];
  return (region * kRegionExtents + place.index % kRegionExtents) *
         kExtentBytes;
}

void NbdStorage::OtherDescriptors(int* fds) {
  fds[0] = leases_;
  fds[1] = socket_;
}

// The socket is the parent's, who is not disturbed by its being closed here.
void NbdStorage::InChild() {
  turn_.store(0, std::memory_order_relaxed);
  if (socket_ >= 0) {
    OwnDescriptorsChange();
    os::Close(socket_);
    socket_ = -1;
  }
  given_up_ = false;
  lost_since_ = 0;
}

// ---- requests

Status NbdStorage::WriteAt(const Place& place,
                           std::span<const std::byte> bytes) {
  return Do({Command::kWrite, OffsetOf(place), {}, {}, bytes});
}

Status NbdStorage::ReadAt(const Place& place, size_t offset,
                          std::span<std::byte> first,
                          std::span<std::byte> second) {
  return Do({Command::kRead, OffsetOf(place) + offset, first, second, {}});
}

void NbdStorage::TakeTurn() {
  uint32_t expected = 0;
  if (turn_.compare_exchange_strong(expected, 1, std::memory_order_acquire)) {
    return;
  }
  while (turn_.exchange(2, std::memory_order_acquire) != 0) {
    os::FutexWait(&turn_, 2, -1).Ignore();  // looked at again
  }
}

void NbdStorage::EndTurn() {
  if (turn_.exchange(0, std::memory_order_release) == 2) {
    os::FutexWake(&turn_, 1);
  }
}

Status NbdStorage::Do(const Request& request) {
  TakeTurn();
  const Status s = Try(request);
  EndTurn();
  return s;
}

Status NbdStorage::Try(const Request& request) {
  const uint64_t begin = os::MonotonicNs();
  if (given_up_ && begin < next_try_) return Status::Error(EIO);
  Deadline deadline = ~Deadline{0};
  if (timeout_ns_ != 0) deadline = begin + timeout_ns_;
  if (given_up_) deadline = begin + kSecond;
  for (uint64_t pause = kFirstPause;; pause = std::min(2 * pause, kSecond)) {
    bool answered = false;
    const Status s = Once(request, deadline, &answered);
    if (s.ok() || answered) {
      NoteBack();
      return s;
    }
    CloseSocket();
    // Before it was ever there: what cannot be helped by waiting is said.
    if (!opened_ && (s.error() == EPROTO || s.error() == EROFS)) return s;
    NoteLost(s);
    const uint64_t now = os::MonotonicNs();
    if (given_up_ || now >= deadline) {
      given_up_ = opened_;
      next_try_ = now + kSecond;
      return opened_ ? Status::Error(EIO) : s;
    }
    const uint64_t wait = std::min(pause, deadline - now);
    const timespec time{.tv_sec = static_cast<time_t>(wait / kSecond),
                        .tv_nsec = static_cast<long>(wait % kSecond)};
    (void)os::Syscall(SYS_nanosleep, Raw(&time), 0);
  }
}

Status NbdStorage::Once(const Request& request, Deadline deadline,
                        bool* answered) {
  if (socket_ < 0) UZSWAP_RETURN_IF_ERROR(Connect(deadline));
  switch (request.command) {
    case Command::kRead:
      return connection_.Read(request.offset, request.first, request.second,
                              deadline, answered);
    case Command::kWrite:
      return connection_.Write(request.offset, request.bytes, deadline,
                               answered);
    case Command::kConnect:
      break;
  }
  return kOk;
}

Status NbdStorage::Connect(Deadline deadline) {
  UZSWAP_RETURN_IF_ERROR(OpenSocket());
  UZSWAP_RETURN_IF_ERROR(connection_.Open(socket_, address_, deadline));
  return opened_ ? CheckExport() : kOk;
}

// What comes back after a loss has to be what it was.
Status NbdStorage::CheckExport() {
  const NbdExport& now = connection_.info();
  if (now.read_only) return Status::Error(EROFS);
  const bool fits = now.bytes / (kRegionExtents * kExtentBytes) >= regions_ &&
                    now.least_block <= std::max<size_t>(alignment_, 1);
  return fits ? kOk : Status::Error(ENXIO);
}

Status NbdStorage::OpenSocket() {
  ScopedLock lock(mutex_);
  OwnDescriptorsChange();
  const int64_t r = os::Syscall(SYS_socket, address_.socket.any.sa_family,
                                SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (r < 0) return Status::FromReturn(r);
  socket_ = backing_file::MoveUp(static_cast<int>(r));
  return kOk;
}

void NbdStorage::CloseSocket() {
  ScopedLock lock(mutex_);
  if (socket_ < 0) return;
  OwnDescriptorsChange();
  os::Close(socket_);
  socket_ = -1;
}

void NbdStorage::NoteLost(Status why) {
  if (lost_since_ != 0 || !opened_) return;
  lost_since_ = os::MonotonicNs();
  Line line;
  line << "the NBD server of the backing store is lost (error " << why.error()
       << "); waiting for it ";
  if (timeout_ns_ == 0) {
    line << "as long as it takes";
  } else {
    line << "up to " << timeout_ns_ / kSecond << " s";
  }
  Log(line);
}

void NbdStorage::NoteBack() {
  given_up_ = false;
  if (lost_since_ == 0) return;
  Line line;
  line << "the NBD server of the backing store is back after "
       << (os::MonotonicNs() - lost_since_) / 1000000 << " ms";
  Log(line);
  lost_since_ = 0;
}

// ---- life

Status NbdStorage::OpenStorage(const char* leases) {
  UZSWAP_RETURN_IF_ERROR(Do({Command::kConnect, 0, {}, {}, {}}));
  const NbdExport& about = connection_.info();
  if (about.read_only) return Status::Error(EROFS);
  if (about.least_block > kPageSize) return Status::Error(EPROTO);
  alignment_ = about.least_block;
  regions_ = std::min<uint64_t>(about.bytes / (kRegionExtents * kExtentBytes),
                                UINT32_MAX);
  size_ = std::min(size_, regions_ * kRegionExtents);
  if (size_ == 0) return Status::Error(EINVAL);
  opened_ = true;
  UZSWAP_RETURN_IF_ERROR(OpenLeases(leases));
  ScopedLock lock(mutex_);
  // Processes that begin at different places meet less often.
  next_region_ = static_cast<uint64_t>(os::ProcessId()) % regions_;
  return StartNewGeneration();
}

void NbdStorage::Destroy() {
  if (socket_ >= 0) connection_.Disconnect();
  CloseSocket();
  {
    ScopedLock lock(mutex_);
    CloseAll();
    if (leases_ >= 0) os::Close(leases_);
  }
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

}  // namespace

Result<Storage*> NewNbdStorage(const char* uri, uint64_t extents,
                               const NbdOptions& options) {
  NbdAddress address;
  UZSWAP_RETURN_IF_ERROR(ParseNbdAddress(uri, &address));
  const Result<void*> memory = os::Map(PageCeil(sizeof(NbdStorage)));
  if (!memory.ok()) return memory.status();
  auto* storage = new (memory.value())
      NbdStorage(extents, address, options.timeout_seconds * kSecond);
  if (const Status s = storage->OpenStorage(options.leases); !s.ok()) {
    storage->Destroy();
    return s;
  }
  return static_cast<Storage*>(storage);
}

}  // namespace uzswap
