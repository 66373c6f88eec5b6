// SPDX-License-Identifier: Apache-2.0
#include "base/os.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <atomic>

#include "base/map_failure.h"

namespace uzswap::os {
namespace {

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

constexpr uint64_t Bit(int signal) { return uint64_t{1} << (signal - 1); }
// A fault on a managed page, and a dispatched system call, cannot be put off.
constexpr uint64_t kSynchronous = Bit(SIGBUS) | Bit(SIGSYS);

// One more than the highest CPU that this machine can ever have, from a list
// such as "0-3,8-11"; 0 if there is no such file.
unsigned PossibleCpus() {
  const Result<int> fd = Open("/sys/devices/system/cpu/possible", O_RDONLY, 0);
  if (!fd.ok()) return 0;
  char text[256];
  const Result<size_t> size = ReadFile(fd.value(), text, sizeof(text));
  Close(fd.value());
  if (!size.ok()) return 0;
  unsigned highest = 0;
  unsigned number = 0;
  bool any = false;
  for (size_t i = 0; i < size.value(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    number = digit ? number * 10 + static_cast<unsigned>(text[i] - '0') : 0;
    any |= digit;
    if (number > highest) highest = number;
  }
  return any ? highest + 1 : 0;
}

// Only second best: a thread may be moved to a CPU that is forbidden now.
unsigned HighestCpuOfThread() {
  uint64_t mask[kMaxCpus / 64] = {};
  const int64_t r = Syscall(SYS_sched_getaffinity, 0, sizeof(mask), Raw(mask));
  unsigned highest = 0;
  for (unsigned cpu = 0; r > 0 && cpu < kMaxCpus; ++cpu) {
    if ((mask[cpu / 64] >> (cpu % 64) & 1) != 0) highest = cpu;
  }
  return highest;
}

// An address that is unmapped and mapped again is ordered by the kernel, and is
// another object. ThreadSanitizer knows neither unless its own mmap is asked.
#ifdef __SANITIZE_THREAD__
constinit std::atomic<uint64_t> mapping_order{0};
void MappingChanges() { mapping_order.fetch_add(1, std::memory_order_acq_rel); }
int64_t RawMap(size_t bytes, int protection, int flags) {
  void* at = ::mmap(nullptr, bytes, protection, flags, -1, 0);
  return at == MAP_FAILED ? -errno : reinterpret_cast<int64_t>(at);
}
int64_t RawUnmap(void* address, size_t bytes) {
  return ::munmap(address, bytes) == 0 ? 0 : -errno;
}
#else
void MappingChanges() {}
int64_t RawMap(size_t bytes, int protection, int flags) {
  return Syscall(SYS_mmap, 0, static_cast<int64_t>(bytes), protection, flags,
                 -1, 0);
}
int64_t RawUnmap(void* address, size_t bytes) {
  return Syscall(SYS_munmap, Raw(address), static_cast<int64_t>(bytes));
}
#endif

enum class Rdpid : uint8_t { kUnknown, kPresent, kAbsent };
constinit std::atomic<Rdpid> rdpid{Rdpid::kUnknown};

// Out of the way: under a hypervisor CPUID takes microseconds.
__attribute__((noinline, cold)) bool ProbeRdpid() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool present =
      __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_RDPID) != 0;
  rdpid.store(present ? Rdpid::kPresent : Rdpid::kAbsent,
              std::memory_order_relaxed);
  return present;
}

inline bool HasRdpid() {
  const Rdpid known = rdpid.load(std::memory_order_relaxed);
  if (known == Rdpid::kUnknown) [[unlikely]]
    return ProbeRdpid();
  return known == Rdpid::kPresent;
}

}  // namespace

Result<void*> Map(size_t bytes, bool sparse) {
  DCHECK(bytes % kPageSize == 0);
  if (map_failure::ShouldFail()) return Status::Error(ENOMEM);
  const int64_t r =
      RawMap(bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | (sparse ? MAP_NORESERVE : 0));
  if (r < 0) return Status::FromReturn(r);
  MappingChanges();
  if (sparse) {
    // A core dump of the sparse tables would be as large as the address space.
    (void)Syscall(SYS_madvise, r, static_cast<int64_t>(bytes), MADV_DONTDUMP);
    // One touched byte must not make a huge page resident.
    (void)Syscall(SYS_madvise, r, static_cast<int64_t>(bytes), MADV_NOHUGEPAGE);
  }
  return reinterpret_cast<void*>(r);
}

Status Unmap(void* address, size_t bytes) {
  MappingChanges();
  return Status::FromReturn(RawUnmap(address, bytes));
}

Status Drop(void* address, size_t bytes) {
  return Status::FromReturn(Syscall(
      SYS_madvise, Raw(address), static_cast<int64_t>(bytes), MADV_DONTNEED));
}

namespace {

Status WaitFor(int operation, const void* word, uint32_t expected,
               int64_t timeout_ns) {
  timespec timeout{.tv_sec = timeout_ns / 1000000000,
                   .tv_nsec = timeout_ns % 1000000000};
  return Status::FromReturn(Syscall(SYS_futex, Raw(word), operation, expected,
                                    timeout_ns < 0 ? 0 : Raw(&timeout)));
}

}  // namespace

Status FutexWait(const void* word, uint32_t expected, int64_t timeout_ns) {
  return WaitFor(FUTEX_WAIT_PRIVATE, word, expected, timeout_ns);
}

void FutexWake(const void* word, int count) {
  (void)Syscall(SYS_futex, Raw(word), FUTEX_WAKE_PRIVATE, count);
}

void FutexWakeShared(const void* word, int count) {
  (void)Syscall(SYS_futex, Raw(word), FUTEX_WAKE, count);
}

Status FutexWaitShared(const void* word, uint32_t expected,
                       int64_t timeout_ns) {
  return WaitFor(FUTEX_WAIT, word, expected, timeout_ns);
}

Status PRead(int fd, void* to, size_t bytes, uint64_t offset) {
  auto* p = static_cast<std::byte*>(to);
  while (bytes > 0) {
    const int64_t r =
        Syscall(SYS_pread64, fd, Raw(p), static_cast<int64_t>(bytes),
                static_cast<int64_t>(offset));
    if (r == -EINTR) continue;
    if (r < 0) return Status::FromReturn(r);
    if (r == 0) return Status::Error(EIO);
    p += r;
    offset += static_cast<uint64_t>(r);
    bytes -= static_cast<size_t>(r);
  }
  return kOk;
}

Status PWrite(int fd, const void* from, size_t bytes, uint64_t offset) {
  auto* p = static_cast<const std::byte*>(from);
  while (bytes > 0) {
    const int64_t r =
        Syscall(SYS_pwrite64, fd, Raw(p), static_cast<int64_t>(bytes),
                static_cast<int64_t>(offset));
    if (r == -EINTR) continue;
    if (r < 0) return Status::FromReturn(r);
    if (r == 0) return Status::Error(EIO);
    p += r;
    offset += static_cast<uint64_t>(r);
    bytes -= static_cast<size_t>(r);
  }
  return kOk;
}

Result<size_t> ReadFile(int fd, char* to, size_t capacity) {
  for (;;) {
    const int64_t r =
        Syscall(SYS_pread64, fd, Raw(to), static_cast<int64_t>(capacity), 0);
    if (r == -EINTR) continue;
    if (r < 0) return Status::FromReturn(r);
    return static_cast<size_t>(r);
  }
}

void WriteAll(int fd, const char* text, size_t bytes) {
  while (bytes > 0) {
    const int64_t r =
        Syscall(SYS_write, fd, Raw(text), static_cast<int64_t>(bytes));
    if (r == -EINTR) continue;
    if (r <= 0) return;
    text += r;
    bytes -= static_cast<size_t>(r);
  }
}

Result<int> Open(const char* path, int flags, int mode) {
  const int64_t r =
      Syscall(SYS_openat, AT_FDCWD, Raw(path), flags | O_CLOEXEC, mode);
  if (r < 0) return Status::FromReturn(r);
  return static_cast<int>(r);
}

void Close(int fd) { (void)Syscall(SYS_close, fd); }

uint64_t MonotonicNs() {
  timespec now{};
  (void)Syscall(SYS_clock_gettime, CLOCK_MONOTONIC, Raw(&now));
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u +
         static_cast<uint64_t>(now.tv_nsec);
}

unsigned CurrentCpu() {
  // The kernel keeps (node << 12 | cpu) in a register that RDPID reads, and in
  // the limit of this descriptor; the vDSO's getcpu takes them from there, too.
  // LSL takes 15 times as long.
  uint64_t value = 0;  // kept if there is no such descriptor
  if (HasRdpid()) [[likely]] {
    asm volatile("rdpid %0" : "=r"(value));
  } else {
    asm volatile("lsl %1, %0" : "+r"(value) : "r"(0x7bull) : "cc");
  }
  return static_cast<unsigned>(value) & 0xfff;
}

unsigned CpuCount() {
  static constinit std::atomic<unsigned> count{0};
  unsigned n = count.load(std::memory_order_relaxed);
  if (n != 0) return n;
  n = PossibleCpus();
  if (n == 0) n = HighestCpuOfThread() + 1;
  if (n > kMaxCpus) n = kMaxCpus;
  count.store(n, std::memory_order_relaxed);
  return n;
}

int ThreadId() { return static_cast<int>(Syscall(SYS_gettid)); }
int ProcessId() { return static_cast<int>(Syscall(SYS_getpid)); }
void Yield() { (void)Syscall(SYS_sched_yield); }

uint64_t BlockSignals() {
  const uint64_t block = ~kSynchronous;
  uint64_t old = 0;
  (void)Syscall(SYS_rt_sigprocmask, SIG_BLOCK, Raw(&block), Raw(&old),
                sizeof(old));
  return old;
}

void RestoreSignals(uint64_t old_mask) {
  (void)Syscall(SYS_rt_sigprocmask, SIG_SETMASK, Raw(&old_mask), 0,
                sizeof(old_mask));
}

void Abort() {
  struct {
    void* handler;
    uint64_t flags;
    void* restorer;
    uint64_t mask;
  } action{};
  const uint64_t none = ~Bit(SIGABRT);
  (void)Syscall(SYS_rt_sigaction, SIGABRT, Raw(&action), 0, sizeof(none));
  (void)Syscall(SYS_rt_sigprocmask, SIG_SETMASK, Raw(&none), 0, sizeof(none));
  (void)Syscall(SYS_tgkill, ProcessId(), ThreadId(), SIGABRT);
  Exit(134);
}

void Exit(int code) {
  for (;;) (void)Syscall(SYS_exit_group, code);
}

}  // namespace uzswap::os
