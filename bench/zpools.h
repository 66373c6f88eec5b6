// SPDX-License-Identifier: Apache-2.0
// What the parts of the zpools bench share: the pages of a file, what they are
// compressed to, and how full a pool is at a moment.
#ifndef UZSWAP_BENCH_ZPOOLS_H_
#define UZSWAP_BENCH_ZPOOLS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "zpool/zpool.h"

namespace uzswap::bench {

// Compressed objects of `raw_from` bytes or more are kept as whole pages, as
// zram does: from there on an object of the kernel's largest shared class
// (3632 bytes with its handle) has no room.
inline constexpr size_t kRawFrom = 3632 - 8 + 1;

// Page i is compressed to object i.
struct Content {
  std::vector<std::byte> pages;
  std::vector<std::byte> bytes;
  std::vector<size_t> begin{0};  // of each object, and the end of the last
  size_t raw = 0;                // objects that are whole pages
  size_t same_filled = 0;        // pages of one repeated word, left out

  size_t count() const { return begin.size() - 1; }
  std::span<const std::byte> object(size_t i) const {
    return {bytes.data() + begin[i], begin[i + 1] - begin[i]};
  }
  std::span<const std::byte> page(size_t i) const {
    return {pages.data() + i * kPageSize, kPageSize};
  }
};

// At most `most` pages (0: all), evenly over the file.
Content ReadContent(const char* path, const std::string& codec, size_t most);

// The order in which objects are freed and read: half of it are the victims.
std::vector<size_t> RandomOrder(size_t count);
// Replacements: object `slot` gives way to a copy of object `source`.
struct Replacement {
  size_t slot;
  size_t source;
};
std::vector<Replacement> RandomReplacements(size_t count);

struct Fill {
  const char* stage;
  uint64_t payload = 0;   // compressed bytes
  uint64_t frames = 0;    // bytes
  uint64_t metadata = 0;  // bytes
};

struct Times {
  double write = 1e9, rewrite = 1e9, read = 1e9, free = 1e9, frame = 1e9;
};

// After filling, freeing half, compaction; a fresh pool of the survivors; and
// after random replacement of all, before and after compaction. With `classes`
// the table of each stage is printed to standard error.
std::vector<Fill> Density(const char* zpool, const Content& content,
                          bool classes);
// The same with the kernel's zsmalloc: `zram` is the name of a device that is
// set up ("zram1"), large enough, and empty.
std::vector<Fill> KernelDensity(const char* zram, const Content& content);

// One round; *best takes what was faster. CPU nanoseconds for an object, and
// for a frame that compaction gave back.
void MeasureTimes(const char* zpool, const Content& content, Times* best);
// The same copies without a pool.
void MeasureCopies(const Content& content, Times* best);

[[noreturn]] void Die(const std::string& why);

}  // namespace uzswap::bench

#endif  // UZSWAP_BENCH_ZPOOLS_H_
