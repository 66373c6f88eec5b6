// SPDX-License-Identifier: Apache-2.0
// z3fold: at most three objects in a page (after mm/z3fold.c): first behind the
// header, last at the end, middle between. Objects too large for a shared page
// get a page without header. Within a page the middle object moves when a
// neighbour is freed, so that what is free is one run as often as possible.
//
// Differences from the kernel:
// - an object in use is kept in place by its own entry in the handle table, not
//   by a flag and a two-bit count of its page; a page exists as long as it has
//   an object, so there are no reference counts and no last put;
// - compaction in a page is done at once by whoever frees: no work item can be
//   pending when the pool goes, or be queued where no CPU is;
// - an emptied page is given back with no lock held, so the stale list needs no
//   worker: it is the list of warm pages of the page area;
// - pages are looked for on the lists of all CPUs, not only for an exact size;
// - Compact also empties half used pages with two objects.
// The allocator never evicts: that is zswap's business.
#ifndef UZSWAP_ZPOOL_Z3FOLD_H_
#define UZSWAP_ZPOOL_Z3FOLD_H_

#include "zpool/zpool.h"

namespace uzswap {

// A pool holds at most 64 GiB. ENOMEM.
Result<Zpool*> NewZ3fold();

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_Z3FOLD_H_
