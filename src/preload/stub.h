// SPDX-License-Identifier: Apache-2.0
// A stub is what a patched `syscall` instruction of libc jumps to. The jump
// needs 5 bytes and `syscall` has 2, so the window it overwrites also holds
// whole neighbouring instructions, which the stub runs in its place:
//
//     <instructions before>
//     lea   -128(%rsp), %rsp        skips the red zone, keeps the flags
//     jmp   1f
//     .quad address after `syscall` in libc, for unwinders and the frame
//  1: call  *entry(%rip)            uzswap_entry_patched
//     lea   128(%rsp), %rsp         R, the return address of the call
//     <instructions after>
//     jmp   <end of the window>
//
// So the entry finds R at (%rsp), and the program's rip in the 8 bytes at
// R - 14.
#ifndef UZSWAP_PRELOAD_STUB_H_
#define UZSWAP_PRELOAD_STUB_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace uzswap::preload {

inline constexpr size_t kSyscallBytes = 2;
inline constexpr size_t kJumpBytes = 5;
inline constexpr size_t kWindowBytesMax = 25;
// Every stub has a slot of this size, so that an address finds its site.
inline constexpr size_t kStubBytes = 64;

// One window, made by tools/libc_sites.py.
// Invariant: length == before + 2 + after, kJumpBytes <= length <=
// kWindowBytesMax, bytes[before] and the next are `syscall`.
struct PatchSite {
  uint32_t offset;                 // of the window, from libc's load address
  uint8_t length;                  // of the window
  uint8_t before;                  // bytes of instructions before `syscall`
  uint8_t after;                   // and after it
  uint8_t bytes[kWindowBytesMax];  // what libc has there
};
static_assert(sizeof(PatchSite) == 32);

// The sites of one build of libc, ascending, windows disjoint.
struct SiteTable {
  std::span<const uint8_t> build_id;
  std::span<const PatchSite> sites;
};

// The memory of all stubs: one slot that holds the address of the entry, then
// a slot for each site of the table, in its order. A slot whose site was not
// patched holds int3 only.
struct StubArea {
  uint64_t begin = 0;  // 0: there is none
  uint64_t load = 0;   // libc's load address
  std::span<const PatchSite> sites;

  static constexpr size_t Bytes(size_t site_count) {
    return (site_count + 1) * kStubBytes;
  }
  uint64_t end() const { return begin + Bytes(sites.size()); }
  uint64_t stub(size_t i) const { return begin + (i + 1) * kStubBytes; }
  uint64_t window(size_t i) const { return load + sites[i].offset; }
};

// pre: the area is writable and within 2 GiB of libc.
void WriteEntrySlot(const StubArea& area, void (*entry)());
void WriteStub(const StubArea& area, size_t index);

// Makes the area the one that the questions of patch.h are about.
// pre: the process has one thread.
void PublishStubs(const StubArea& area);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_STUB_H_
