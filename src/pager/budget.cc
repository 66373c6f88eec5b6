// SPDX-License-Identifier: Apache-2.0
#include "pager/budget.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "base/os.h"
#include "base/text.h"
#include "pager/uffd.h"

namespace uzswap {
namespace {

enum File : size_t { kStatm, kStatus, kTask, kPagemap };

// Shared memory is rare and its figure is in a slow file: every so many
// measurements only.
constexpr uint32_t kShmemEvery = 16;

Result<int> OpenAt(int directory, const char* path) {
  const int64_t r =
      os::Syscall(SYS_openat, directory, reinterpret_cast<int64_t>(path),
                  O_RDONLY | O_CLOEXEC);
  if (r < 0) return Status::FromReturn(r);
  return static_cast<int>(r);
}

uint64_t ParseNumber(const char*& p) {
  while (*p == ' ' || *p == '\t') ++p;
  uint64_t n = 0;
  for (; *p >= '0' && *p <= '9'; ++p)
    n = n * 10 + static_cast<uint64_t>(*p - '0');
  return n;
}

// The number after `name` in text, 0 if it is not there.
uint64_t ParseField(const char* text, const char* name) {
  for (const char* p = text; *p != '\0'; ++p) {
    if ((p == text || p[-1] == '\n') && StartsWith(p, name)) {
      p += strlen(name);
      return ParseNumber(p);
    }
  }
  return 0;
}

void RaiseTo(std::atomic<PageCount>& peak, PageCount value) {
  PageCount seen = peak.load(std::memory_order_relaxed);
  while (seen < value &&
         !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Status Budget::Open() {
  const Result<int> proc = os::Open("/proc", O_PATH | O_DIRECTORY, 0);
  if (!proc.ok()) return proc.status();
  proc_ = MoveDescriptorHigh(proc.value());
  return OpenFiles();
}

Status Budget::OpenFiles() {
  constexpr const char* kPaths[kFiles] = {"self/statm", "self/status",
                                          "self/task", "self/pagemap"};
  Status result;
  for (size_t i = 0; i < kFiles; ++i) {
    const Result<int> fd = OpenAt(proc_, kPaths[i]);
    if (fd.ok()) {
      files_[i] = MoveDescriptorHigh(fd.value());
    } else if (result.ok()) {
      result = fd.status();
    }
  }
  return result;
}

void Budget::CloseFiles() {
  for (int& fd : files_) {
    if (fd >= 0) os::Close(fd);
    fd = -1;
  }
}

void Budget::Close() {
  CloseFiles();
  if (proc_ >= 0) os::Close(proc_);
  proc_ = -1;
}

// The files of a main thread that has ended say nothing; this thread's say the
// same. Others may be reading, so the numbers change what they name at once.
void Budget::FollowThisThread() {
  constexpr const char* kPaths[] = {"thread-self/statm", "thread-self/status"};
  for (size_t i : {kStatm, kStatus}) {
    if (files_[i] < 0) continue;
    const Result<int> fd = OpenAt(proc_, kPaths[i]);
    if (!fd.ok()) continue;
    (void)os::Syscall(SYS_dup3, fd.value(), files_[i], O_CLOEXEC);
    os::Close(fd.value());
  }
}

uint64_t Budget::SharedFrames(uint64_t address, unsigned count) const {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kExclusivelyMapped = uint64_t{1} << 56;
  uint64_t entries[64];
  const size_t bytes = count * sizeof(entries[0]);
  const uint64_t at = address / kPageSize * sizeof(entries[0]);
  if (!os::PRead(files_[kPagemap], entries, bytes, at).ok()) return 0;
  uint64_t mask = 0;
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t bits = entries[i] & (kPresent | kExclusivelyMapped);
    if (bits == kPresent) mask |= uint64_t{1} << i;
  }
  return mask;
}

void Budget::Start(Zswap* zswap) {
  zswap_ = zswap;
  tree_.Join(MeasureRss());
  Measure();
}

// 0 if unknown: this code's own pages are always there.
PageCount Budget::MeasureAnonymous() {
  char text[256];
  // statm: size resident shared …; shared counts files and shared memory.
  const Result<size_t> n = os::ReadFile(files_[kStatm], text, sizeof(text) - 1);
  if (!n.ok()) return 0;
  text[n.value()] = '\0';
  const char* p = text;
  (void)ParseNumber(p);
  const uint64_t resident = ParseNumber(p);
  const uint64_t shared = ParseNumber(p);
  return resident > shared ? resident - shared : 0;
}

PageCount Budget::MeasureRss() {
  PageCount anonymous = MeasureAnonymous();
  if (anonymous == 0 && files_[kStatm] >= 0) {
    FollowThisThread();
    anonymous = MeasureAnonymous();
  }
  if (anonymous == 0) return 0;
  if (measurements_.fetch_add(1, std::memory_order_relaxed) % kShmemEvery ==
      0) {
    char text[2048];
    const Result<size_t> n =
        os::ReadFile(files_[kStatus], text, sizeof(text) - 1);
    if (n.ok()) {
      text[n.value()] = '\0';
      shmem_.store(ParseField(text, "RssShmem:") * 1024 / kPageSize,
                   std::memory_order_relaxed);
    }
  }
  return anonymous + shmem_.load(std::memory_order_relaxed);
}

void Budget::Measure() {
  const PageCount rss = MeasureRss();
  if (rss == 0) return;
  if (zswap_ != nullptr) {
    metadata_.store(zswap_->metadata_pages(), std::memory_order_relaxed);
  }
  const PageCount engine = Engine();
  const PageCount known = resident() + staged() + engine;
  unmanaged_.store(rss > known ? rss - known : 0, std::memory_order_relaxed);
  RaiseTo(peak_, rss);
  const PageCount stored = stored_.load(std::memory_order_relaxed);
  const PageCount without = rss + stored;
  RaiseTo(peak_without_, without > engine ? without - engine : 0);
  if (zswap_ == nullptr) return;
  Publish();
  // The pool's share is of what is left when the unmanaged part has taken its
  // own. Small changes are not worth telling.
  const PageCount most = limit();
  const PageCount share =
      std::max(most / 16, most - std::min(most, unmanaged()));
  const PageCount told = told_zswap_.load(std::memory_order_relaxed);
  if (share + most / 64 < told || told + most / 64 < share) {
    told_zswap_.store(share, std::memory_order_relaxed);
    zswap_->SetTotalPages(share);
  }
}

unsigned Budget::Threads() const {
  struct stat info;
  if (os::Syscall(SYS_fstat, files_[kTask], reinterpret_cast<int64_t>(&info)) <
      0) {
    return 0;
  }
  // One link for each thread besides "." and "..".
  return info.st_nlink > 2 ? static_cast<unsigned>(info.st_nlink - 2) : 0;
}

// The main thread, when it has ended, stays as a zombie.
bool Budget::OnlyOursLeft() const {
  const unsigned threads = Threads();
  if (threads != 1 && threads != 2) return false;
  if (threads == 1) return true;
  const Result<int> fd = OpenAt(proc_, "self/stat");
  if (!fd.ok()) return false;
  char text[256];
  const Result<size_t> n = os::ReadFile(fd.value(), text, sizeof(text) - 1);
  os::Close(fd.value());
  if (!n.ok()) return false;
  // "pid (name) state": the name may hold anything.
  size_t at = n.value();
  while (at > 0 && text[at - 1] != ')') --at;
  return at + 1 < n.value() && text[at + 1] == 'Z';
}

size_t Budget::Descriptors(int* fds, size_t capacity) const {
  size_t n = 0;
  for (int fd : files_) {
    if (fd >= 0 && n < capacity) fds[n++] = fd;
  }
  if (proc_ >= 0 && n < capacity) fds[n++] = proc_;
  return n;
}

}  // namespace uzswap
