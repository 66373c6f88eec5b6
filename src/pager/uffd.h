// SPDX-License-Identifier: Apache-2.0
// userfaultfd(2): one function for each ioctl, with what the kernel's answers
// mean made explicit. Mode: SIGBUS (the fault is served on the faulting
// thread), user mode only (works without privilege), write-protect.
// Threads: all calls are safe from any thread.
#ifndef UZSWAP_PAGER_UFFD_H_
#define UZSWAP_PAGER_UFFD_H_

#include <cstdint>

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Pages done before `status` stopped the rest; kOk: all of them.
struct UffdProgress {
  PageCount pages = 0;
  Status status;
};

class Uffd {
 public:
  constexpr Uffd() = default;
  Uffd(const Uffd&) = delete;
  Uffd& operator=(const Uffd&) = delete;

  // ENOSYS, EPERM: missing or forbidden. EOPNOTSUPP: no SIGBUS or no
  // write-protect feature.
  Status Open();
  void Close();
  int fd() const { return fd_; }
  bool can_move() const { return can_move_; }

  // For missing pages and write-protection. The range may span mappings and
  // holes. EINVAL: a mapping of another kind is in it. EBUSY: another
  // userfaultfd has it. ENOMEM: too many mappings.
  Status Register(uint64_t start, uint64_t bytes);
  Status Unregister(uint64_t start, uint64_t bytes);

  // Maps copies of pages from `from` (not managed, or another address of ours)
  // at `to`. EEXIST: a page is there already. ENOENT: not registered, or the
  // range crosses a mapping's end. ENOMEM: the system has no frame.
  // With `protect` the pages fault on the first write (see WriteProtect).
  UffdProgress Copy(uint64_t to, uint64_t from, PageCount pages,
                    bool protect = false);
  // The same from zeros. REQUIRES: pages <= kMaxZeros.
  UffdProgress CopyZeros(uint64_t to, PageCount pages);
  static constexpr PageCount kMaxZeros = 16;
  // Moves frames: `from` is unmapped. EBUSY: a frame is shared (fork) or pinned
  // by the kernel (DMA). EINVAL: the mappings differ in protection.
  UffdProgress Move(uint64_t to, uint64_t from, PageCount pages);
  // Present pages fault on the next write (protect), or no more.
  Status WriteProtect(uint64_t start, PageCount pages, bool protect);

 private:
  int fd_ = -1;
  bool can_move_ = false;
};

// Moves a descriptor out of the way of the program's own numbers: to 900 or
// above, lower where RLIMIT_NOFILE forbids that. Closes the old number.
int MoveDescriptorHigh(int fd);

// True if the page is mapped (mincore(2) on anonymous memory).
bool PageIsPresent(uint64_t address);

}  // namespace uzswap

#endif  // UZSWAP_PAGER_UFFD_H_
