// SPDX-License-Identifier: Apache-2.0
// Replaces the `syscall` instructions of the loaded libc by jumps to stubs.
// Called once, while the process has one thread, before main.
#ifndef UZSWAP_PRELOAD_PATCH_H_
#define UZSWAP_PRELOAD_PATCH_H_

#include <cstdint>
#include <span>

namespace uzswap::preload {

struct SiteTable;

struct PatchResult {
  uint32_t known;    // sites in the table for this build of libc, 0: unknown
  uint32_t patched;  // of them, patched now
};

// Finds libc among the loaded objects, compares its build-id and the bytes at
// each site with the table made at build time, writes stubs within 2 GiB of it
// and patches. Any surprise (other bytes, no room, mprotect refused) leaves the
// site, or all sites, as they were: dispatch serves them. libc's text is
// executable and not writable afterwards. A second call patches nothing.
PatchResult PatchLibc();
// The same with other tables, one for each build of libc; they must outlive
// the process.
PatchResult PatchLibcUsing(std::span<const SiteTable> tables);

// Questions about stubs: lock-free, safe in signal handlers and on any thread.

// Whether the address lies in the stubs' code.
bool IsStub(uint64_t address);
// The instruction of libc that a thread at this address of a stub would be at:
// for frames that programs and unwinders see. libc has a jump there now, so a
// thread is never sent to it. Other addresses are returned as they are.
uint64_t ProgramAddress(uint64_t stub_address);
// What the program's rsp would be there: a stub lowers it around the call.
uint64_t ProgramStack(uint64_t stub_address, uint64_t rsp);

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_PATCH_H_
