// SPDX-License-Identifier: Apache-2.0
// Frames of a sparse mapping: asked for before they are touched, and given back
// many ranges at a time.
#ifndef UZSWAP_ZPOOL_FRAMES_H_
#define UZSWAP_ZPOOL_FRAMES_H_

#include <sys/uio.h>

#include <cstddef>

#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Gives `pages` pages from `from` on their frames with one call, so that a
// refusal is an error here and not a signal later. ENOMEM: none is held.
Status TakeFrames(std::byte* from, PageCount pages);

inline constexpr unsigned kDropMax = 64;
// Gives back the frames of `count` <= kDropMax ranges. dropped[i]: whether
// those of ranges[i] went (the system keeps locked memory).
void DropFrames(const iovec* ranges, unsigned count, bool* dropped);

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_FRAMES_H_
