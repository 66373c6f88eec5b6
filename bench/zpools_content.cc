// SPDX-License-Identifier: Apache-2.0
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>

#include "zpools.h"

namespace uzswap::bench {
namespace {

bool IsSameFilled(const std::byte* page) {
  return memcmp(page, page + 8, kPageSize - 8) == 0;
}

// 0: not smaller.
size_t Compress(bool zstd, const std::byte* page, std::byte* to) {
  constexpr int kLevel = 3;
  if (zstd) {
    const size_t n = ZSTD_compress(to, kPageSize - 1, page, kPageSize, kLevel);
    return ZSTD_isError(n) != 0 ? 0 : n;
  }
  return static_cast<size_t>(LZ4_compress_default(
      reinterpret_cast<const char*>(page), reinterpret_cast<char*>(to),
      kPageSize, kPageSize - 1));
}

std::vector<std::byte> ReadAll(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == nullptr) Die(std::string(path) + ": " + strerror(errno));
  std::vector<std::byte> all;
  std::byte buffer[1 << 16];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), file)) {
    all.insert(all.end(), buffer, buffer + n);
  }
  fclose(file);
  return all;
}

}  // namespace

void Die(const std::string& why) {
  fprintf(stderr, "zpools: %s\n", why.c_str());
  exit(1);
}

Content ReadContent(const char* path, const std::string& codec, size_t most) {
  const std::vector<std::byte> file = ReadAll(path);
  Content content;
  std::vector<const std::byte*> pages;
  for (size_t at = 0; at + kPageSize <= file.size(); at += kPageSize) {
    if (IsSameFilled(&file[at])) {
      ++content.same_filled;
    } else {
      pages.push_back(&file[at]);
    }
  }
  if (pages.empty()) Die(std::string(path) + " has no page to store");
  const size_t count = most == 0 ? pages.size() : std::min(most, pages.size());
  std::byte to[kPageSize];
  for (size_t i = 0; i < count; ++i) {
    const std::byte* const page = pages[i * pages.size() / count];
    content.pages.insert(content.pages.end(), page, page + kPageSize);
    const size_t bytes = Compress(codec == "zstd", page, to);
    const bool raw = bytes == 0 || bytes >= kRawFrom;
    const std::byte* const object = raw ? page : to;
    content.bytes.insert(content.bytes.end(), object,
                         object + (raw ? kPageSize : bytes));
    content.begin.push_back(content.bytes.size());
    content.raw += raw;
  }
  return content;
}

std::vector<size_t> RandomOrder(size_t count) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
  return order;
}

std::vector<Replacement> RandomReplacements(size_t count) {
  constexpr size_t kTimes = 4;
  std::mt19937_64 random(11);
  std::vector<Replacement> all(kTimes * count);
  for (Replacement& one : all) one = {random() % count, random() % count};
  return all;
}

}  // namespace uzswap::bench
