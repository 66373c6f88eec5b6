// SPDX-License-Identifier: Apache-2.0
// Replaces the `syscall` instructions of the loaded libc by jumps to stubs.
// Called once, while the process has one thread, before main.
#ifndef UZSWAP_PRELOAD_PATCH_H_
#define UZSWAP_PRELOAD_PATCH_H_

#include <cstdint>

namespace uzswap::preload {

struct PatchResult {
  uint32_t known;    // sites in the table for this build of libc, 0: unknown
  uint32_t patched;  // of them, patched now
};

// Finds libc among the loaded objects, compares its build-id and the bytes at
// each site with the table made at build time, writes stubs within 2 GiB of it
// and patches. Any surprise (other bytes, no room, mprotect refused) leaves the
// site, or all sites, as they were: dispatch serves them. libc's text is
// executable and not writable afterwards.
PatchResult PatchLibc();

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_PATCH_H_
