// SPDX-License-Identifier: Apache-2.0
#include "preload/pager_ops.h"

#include <uzswap/uzswap.h>

#include "preload/vectors.h"

namespace uzswap::preload {

constinit const PagerOps kPager = {
    .is_managed = uzswap_is_managed,
    .pin_resident = uzswap_pin_resident,
    .pin = uzswap_pin_saving_vectors,
    .unpin = uzswap_unpin,
    .saving_vectors = uzswap_call_saving_vectors,
    .manage = uzswap_manage,
    .unmanage = uzswap_unmanage,
    .mmap = uzswap_mmap,
    .munmap = uzswap_munmap,
    .mprotect = uzswap_mprotect,
    .mremap = uzswap_mremap,
    .madvise = uzswap_madvise,
    .brk = uzswap_brk,
    .descriptors = uzswap_descriptors,
};

}  // namespace uzswap::preload
