// SPDX-License-Identifier: Apache-2.0
// The only door to the kernel for base … pager. Every call is one raw system
// call from one known address range (kernel-side filters such as Syscall User
// Dispatch can exempt it), never goes through libc, never sets errno, never
// allocates, is safe in signal handlers, and returns -errno or a Status.
#ifndef UZSWAP_BASE_OS_H_
#define UZSWAP_BASE_OS_H_

#include <cstddef>
#include <cstdint>

#include "base/page.h"
#include "base/status.h"

// The raw call: six arguments, result or -errno. All of uzswap's system calls
// execute the one `syscall` instruction inside this function (or another in
// section uzswap_syscall_text; the linker names its ends).
extern "C" {
__attribute__((visibility("hidden"))) long uzswap_raw_syscall(long number,
                                                              long a, long b,
                                                              long c, long d,
                                                              long e, long f);
__attribute__((
    visibility("hidden"))) extern const char __start_uzswap_syscall_text[];
__attribute__((
    visibility("hidden"))) extern const char __stop_uzswap_syscall_text[];
}

namespace uzswap::os {

inline int64_t Syscall(long number, int64_t a = 0, int64_t b = 0, int64_t c = 0,
                       int64_t d = 0, int64_t e = 0, int64_t f = 0) {
  return uzswap_raw_syscall(number, a, b, c, d, e, f);
}

// pre: bytes is a multiple of kPageSize. Anonymous private memory, readable
// and writable, not reserved against overcommit, not in core dumps when
// `sparse`. `sparse` areas cost nothing until touched.
Result<void*> Map(size_t bytes, bool sparse = false);
Status Unmap(void* address, size_t bytes);
// Gives the frames back; the range reads as zeros afterwards.
Status Drop(void* address, size_t bytes);

// Waits while *word == expected; timeout_ns < 0 waits for ever. ETIMEDOUT,
// EAGAIN (value differed) and EINTR are returned, callers loop.
Status FutexWait(const void* word, uint32_t expected, int64_t timeout_ns);
void FutexWake(const void* word, int count);
// The same for a word that several processes share, or that the kernel clears
// when a thread ends (CLONE_CHILD_CLEARTID).
Status FutexWaitShared(const void* word, uint32_t expected,
                       int64_t timeout_ns = -1);
void FutexWakeShared(const void* word, int count);

// Whole transfers: short counts are continued, EINTR retried. A read that
// meets the end of the file is EIO.
Status PRead(int fd, void* to, size_t bytes, uint64_t offset);
Status PWrite(int fd, const void* from, size_t bytes, uint64_t offset);
// One read from the start of a small /proc file; returns bytes read.
Result<size_t> ReadFile(int fd, char* to, size_t capacity);
void WriteAll(int fd, const char* text, size_t bytes);
Result<int> Open(const char* path, int flags, int mode);
void Close(int fd);

uint64_t MonotonicNs();
// Free-running cycle counter, cheap; for durations, not for dates.
inline uint64_t Cycles() { return __builtin_ia32_rdtsc(); }
// A hint: the caller may move to another CPU before it returns.
unsigned CurrentCpu();
// Possible CPUs, whatever this thread's affinity: at least 1, at most kMaxCpus.
// An index from CurrentCpu may be larger on a machine with more (or odd
// numbers), so take it modulo CpuCount.
inline constexpr unsigned kMaxCpus = 256;
unsigned CpuCount();

int ThreadId();
int ProcessId();
inline void Pause() { __builtin_ia32_pause(); }
void Yield();

// Blocks every signal but SIGBUS and SIGSYS and returns the old mask. A fault
// of the processor's while the others are blocked kills, as it should here.
uint64_t BlockSignals();
void RestoreSignals(uint64_t old_mask);

[[noreturn]] void Abort();
[[noreturn]] void Exit(int code);

}  // namespace uzswap::os

#endif  // UZSWAP_BASE_OS_H_
