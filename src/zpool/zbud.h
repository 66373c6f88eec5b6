// SPDX-License-Identifier: Apache-2.0
// zbud: at most two objects in a page (after mm/zbud.c). The first is left
// justified behind the header, the last right justified at the end of the page,
// so that what is free is always one run. The simplest zpool, and the one whose
// fragmentation is bounded: a page is at worst half empty by objects' number.
//
// Differences from the kernel:
// - objects of more than 3968 bytes get a page without header instead of
//   ENOSPC, because a page that no zpool takes could never leave memory;
// - a handle is an index, not an address, so Compact can join half used pages;
// - emptied pages are given back many at a time.
#ifndef UZSWAP_ZPOOL_ZBUD_H_
#define UZSWAP_ZPOOL_ZBUD_H_

#include "zpool/zpool.h"

namespace uzswap {

// A pool holds at most 64 GiB. ENOMEM.
Result<Zpool*> NewZbud();

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZBUD_H_
