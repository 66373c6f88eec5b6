// SPDX-License-Identifier: Apache-2.0
#include "pager/mappings.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/os.h"
#include "base/text.h"

namespace uzswap {

MappingReader::~MappingReader() {
  if (fd_ >= 0) os::Close(fd_);
}

bool IsAllMapped(uint64_t start, uint64_t bytes) {
  return os::Syscall(SYS_msync, static_cast<int64_t>(start),
                     static_cast<int64_t>(bytes), MS_ASYNC) == 0;
}

Status MappingReader::Open(int proc) {
  // Of this thread: those of a process whose main thread has ended are empty.
  const int64_t fd = os::Syscall(SYS_openat, proc,
                                 reinterpret_cast<int64_t>("thread-self/maps"),
                                 O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Status::FromReturn(fd);
  fd_ = static_cast<int>(fd);
  return kOk;
}

int MappingReader::Get() {
  if (at_ == size_) {
    int64_t r;
    do {
      r = os::Syscall(SYS_read, fd_, reinterpret_cast<int64_t>(text_),
                      sizeof(text_));
    } while (r == -EINTR);
    if (r <= 0) return last_ = -1;
    at_ = 0;
    size_ = static_cast<uint64_t>(r);
  }
  return last_ = text_[at_++];
}

uint64_t MappingReader::Number(unsigned base) {
  uint64_t n = 0;
  for (;;) {
    const int c = Get();
    unsigned digit = 16;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
    if (digit >= base) return n;
    n = n * base + digit;
  }
}

// Line: start-end rwxp offset major:minor inode   path
bool MappingReader::Next(Mapping* mapping) {
  mapping->start = Number(16);
  if (last_ != '-') return false;
  mapping->end = Number(16);
  mapping->prot = 0;
  if (Get() == 'r') mapping->prot |= PROT_READ;
  if (Get() == 'w') mapping->prot |= PROT_WRITE;
  if (Get() == 'x') mapping->prot |= PROT_EXEC;
  mapping->shared = Get() == 's';
  (void)Get();
  (void)Number(16);  // offset
  (void)Number(16);
  (void)Number(16);  // device
  const uint64_t inode = Number(10);
  while (last_ == ' ') (void)Get();
  char name[8] = {};
  for (size_t i = 0; last_ != '\n' && last_ != -1; ++i) {
    if (i < sizeof(name) - 1) name[i] = static_cast<char>(last_);
    (void)Get();
  }
  // Named anonymous memory and the heap are ordinary; other names in brackets
  // are the kernel's own.
  mapping->anonymous =
      inode == 0 && (name[0] != '[' || StartsWith(name, "[heap]") ||
                     StartsWith(name, "[anon:"));
  return true;
}

}  // namespace uzswap
