// SPDX-License-Identifier: Apache-2.0
// Calls that change mappings go to the pager, which does them and keeps its
// books in one step. Decided here: which memory is managed at all, and what
// happens to calls that contradict managing (mlock, seals, protection keys).
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

#include "base/os.h"
#include "base/page.h"
#include "preload/arguments.h"
#include "preload/handlers.h"
#include "preload/pager_ops.h"

namespace uzswap::preload {
namespace {

// Smaller mappings hold too little to be worth a range of the pager's.
constexpr uint64_t kMinManagedBytes = 64 << 10;

void* Pointer(uint64_t address) { return reinterpret_cast<void*>(address); }

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }
int ToInt(uint64_t value) { return static_cast<int>(value); }

int64_t PassOn(const SyscallFrame& frame) {
  return os::Syscall(frame.number(), Signed(frame.rdi), Signed(frame.rsi),
                     Signed(frame.rdx), Signed(frame.r10), Signed(frame.r8),
                     Signed(frame.r9));
}

// The whole pages of a range as the kernel rounds them; empty if it would
// refuse the range.
struct Pages {
  uint64_t first;
  uint64_t bytes;
};

Pages Whole(uint64_t address, uint64_t bytes) {
  if (address >= kAddressLimit || bytes > kAddressLimit - address) {
    return {0, 0};
  }
  const uint64_t first = PageFloor(address);
  return {first, PageCeil(address + bytes) - first};
}

bool AnyManaged(Pages pages) {
  return pages.bytes != 0 && IsManaged(pages.first, pages.bytes);
}

// Stacks stay out: they are small, always in use, and the kernel writes to them
// where nobody can pin (signal frames).
bool ShouldManage(const SyscallFrame& frame) {
  const int flags = ToInt(frame.r10);
  constexpr int kNever =
      MAP_STACK | MAP_GROWSDOWN | MAP_LOCKED | MAP_HUGETLB | MAP_SHARED;
  if ((flags & MAP_ANONYMOUS) == 0 || (flags & MAP_PRIVATE) == 0 ||
      (flags & kNever) != 0) {
    return false;
  }
  if (frame.rsi >= kMinManagedBytes) return true;
  // A piece of a managed reserve that the program commits or clears.
  return (flags & MAP_FIXED) != 0 && AnyManaged(Whole(frame.rdi, frame.rsi));
}

int64_t Mmap(const SyscallFrame& frame) {
  return kPager.mmap(Pointer(frame.rdi), frame.rsi, ToInt(frame.rdx),
                     ToInt(frame.r10), ToInt(frame.r8), Signed(frame.r9),
                     ShouldManage(frame) ? 1 : 0);
}

int64_t Munmap(const SyscallFrame& frame) {
  return kPager.munmap(Pointer(frame.rdi), frame.rsi);
}

int64_t Mprotect(const SyscallFrame& frame) {
  return kPager.mprotect(Pointer(frame.rdi), frame.rsi, ToInt(frame.rdx));
}

int64_t Mremap(const SyscallFrame& frame) {
  return kPager.mremap(Pointer(frame.rdi), frame.rsi, frame.rdx,
                       ToInt(frame.r10), Pointer(frame.r8));
}

int64_t Madvise(const SyscallFrame& frame) {
  return kPager.madvise(Pointer(frame.rdi), frame.rsi, ToInt(frame.rdx));
}

int64_t Brk(const SyscallFrame& frame) {
  return kPager.brk(Pointer(frame.rdi));
}

// False for a range too long to be asked page by page, too.
bool AllManaged(Pages pages) {
  constexpr uint64_t kMaxAsked = 16 << 20;
  if (pages.bytes > kMaxAsked) return false;
  for (uint64_t at = 0; at < pages.bytes; at += kPageSize) {
    if (!IsManaged(pages.first + at, kPageSize)) return false;
  }
  return true;
}

// Takes the range out of the pager's hands, does the call, and gives the range
// back if the kernel refused it (parts that were foreign must stay foreign).
// `refusal` if the pager cannot let go.
int64_t Unmanaged(const SyscallFrame& frame, int64_t refusal) {
  const Pages pages = Whole(frame.rdi, frame.rsi);
  if (!AnyManaged(pages)) return PassOn(frame);
  const bool all = AllManaged(pages);
  if (kPager.unmanage(Pointer(pages.first), pages.bytes) < 0) return refusal;
  const int64_t result = PassOn(frame);
  if (result < 0 && all) {
    // If this fails the range is merely not evictable any more.
    (void)kPager.manage(Pointer(pages.first), pages.bytes);
  }
  return result;
}

// The pager's books know protections but no keys, so such a range leaves them.
int64_t PkeyMprotect(const SyscallFrame& frame) {
  if (ToInt(frame.r10) == -1) return Mprotect(frame);
  return Unmanaged(frame, -ENOMEM);
}

int64_t Mlock(const SyscallFrame& frame) { return Unmanaged(frame, -ENOMEM); }

int64_t Mlock2(const SyscallFrame& frame) {
  if ((frame.rdx & ~uint64_t{MLOCK_ONFAULT}) != 0) return PassOn(frame);
  return Unmanaged(frame, -ENOMEM);
}

// uzswap cannot lock what it must be able to move. ENOMEM is the kernel's
// answer when more would be locked than is allowed.
int64_t Mlockall(const SyscallFrame& frame) {
  constexpr int kKnown = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
  const int flags = ToInt(frame.rdi);
  if ((flags & ~kKnown) != 0) return -EINVAL;
  if ((flags & (MCL_CURRENT | MCL_FUTURE)) == 0) return -EINVAL;
  return -ENOMEM;
}

// With SHM_REMAP the segment replaces what is there. The place is kept by a
// foreign mapping meanwhile, so that no other thread's mmap gets into it.
int64_t Shmat(const SyscallFrame& frame) {
  const auto flags = static_cast<uint64_t>(ToInt(frame.rdx));
  if ((flags & SHM_REMAP) == 0 || frame.rsi == 0) return PassOn(frame);
  shmid_ds segment;
  const int64_t known = os::Syscall(SYS_shmctl, Signed(frame.rdi), IPC_STAT,
                                    reinterpret_cast<int64_t>(&segment));
  if (known < 0) return PassOn(frame);
  const Pages pages = Whole(PageFloor(frame.rsi), segment.shm_segsz);
  if (!AnyManaged(pages)) return PassOn(frame);
  if (frame.rsi % kPageSize != 0 && (flags & SHM_RND) == 0) return -EINVAL;
  const long placed = kPager.mmap(
      Pointer(pages.first), pages.bytes, PROT_NONE,
      MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE | MAP_NORESERVE, -1, 0, 0);
  return placed < 0 ? placed : PassOn(frame);
}

// A sealed mapping can be neither protected nor moved, which eviction needs.
// As a kernel without mseal answers.
int64_t Mseal(const SyscallFrame& frame) {
  return AnyManaged(Whole(frame.rdi, frame.rsi)) ? -ENOSYS : PassOn(frame);
}

// "Pid:\t123" in /proc/self/fdinfo/<pidfd>.
int64_t PidBehind(int pidfd) {
  char path[40] = "/proc/self/fdinfo/";
  char digits[12];
  size_t n = 0;
  for (auto v = static_cast<unsigned>(pidfd); n == 0 || v != 0; v /= 10) {
    digits[n++] = static_cast<char>('0' + v % 10);
  }
  char* end = std::find(path, path + sizeof(path), '\0');
  while (n > 0) *end++ = digits[--n];
  *end = '\0';
  const Result<int> info = os::Open(path, 0, 0);
  if (!info.ok()) return -1;
  char text[512];
  const Result<size_t> bytes = os::ReadFile(info.value(), text, sizeof(text));
  os::Close(info.value());
  if (!bytes.ok()) return -1;
  constexpr char kKey[] = {'\n', 'P', 'i', 'd', ':', '\t'};
  const char* last = text + bytes.value();
  const char* at = std::search<const char*>(text, last, kKey, std::end(kKey));
  if (at == last) return -1;
  int64_t pid = 0;
  for (at += sizeof(kKey); at < last && *at >= '0' && *at <= '9'; ++at) {
    pid = pid * 10 + (*at - '0');
  }
  return pid;
}

bool IsOurselves(int pidfd) {
  constexpr int kSelfThread = -10000;  // PIDFD_SELF_THREAD
  constexpr int kSelfGroup = -10001;   // PIDFD_SELF_THREAD_GROUP
  if (pidfd == kSelfThread || pidfd == kSelfGroup) return true;
  return pidfd >= 0 && PidBehind(pidfd) == os::ProcessId();
}

int64_t ProcessMadvise(const SyscallFrame& frame) {
  constexpr uint64_t kMaxIovecs = 1024;
  const int pidfd = ToInt(frame.rdi);
  const uint64_t count = frame.rdx;
  Pins pins;
  pins.Add(frame.rsi, std::min(count, kMaxIovecs) * sizeof(iovec));
  int64_t done = 0;
  // Without a range the kernel judges all other arguments as it always does.
  int64_t result = IsOurselves(pidfd) && count <= kMaxIovecs
                       ? os::Syscall(SYS_process_madvise, pidfd, 0, 0,
                                     Signed(frame.r10), Signed(frame.r8))
                       : 1;
  if (result == 1) {
    done = PassOn(frame);
  } else {
    for (uint64_t i = 0; i < count && result == 0; ++i) {
      iovec range;
      if (SafeRead(frame.rsi + i * sizeof(range), &range, sizeof(range)) !=
          sizeof(range)) {
        result = -EFAULT;
        break;
      }
      result = kPager.madvise(range.iov_base, range.iov_len, ToInt(frame.r10));
      if (result == 0) done += Signed(range.iov_len);
    }
  }
  pins.Release();
  return done == 0 && result < 0 ? result : done;
}

using Handler = int64_t (*)(const SyscallFrame&);

Handler HandlerOf(int64_t number) {
  constexpr int64_t kMseal = 462;
  switch (number) {
    case SYS_mmap:
      return Mmap;
    case SYS_munmap:
      return Munmap;
    case SYS_mprotect:
      return Mprotect;
    case SYS_pkey_mprotect:
      return PkeyMprotect;
    case SYS_mremap:
      return Mremap;
    case SYS_madvise:
      return Madvise;
    case SYS_brk:
      return Brk;
    case SYS_mlock:
      return Mlock;
    case SYS_mlock2:
      return Mlock2;
    case SYS_mlockall:
      return Mlockall;
    case SYS_shmat:
      return Shmat;
    case SYS_process_madvise:
      return ProcessMadvise;
    case kMseal:
      return Mseal;
    default:
      return nullptr;
  }
}

struct Request {
  Handler handler;
  const SyscallFrame* frame;
};

int64_t Run(void* argument) {
  const auto* request = static_cast<const Request*>(argument);
  return request->handler(*request->frame);
}

}  // namespace

bool MemoryCall(const SyscallFrame& frame, int64_t* result) {
  Request request{HandlerOf(frame.number()), &frame};
  if (request.handler == nullptr) return false;
  *result = kPager.saving_vectors(Run, &request);
  return true;
}

}  // namespace uzswap::preload
