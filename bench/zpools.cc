// SPDX-License-Identifier: Apache-2.0
// How densely and how fast the zpools keep the compressed pages of a file.
//
//   zpools FILE [ROUNDS]
//
// The pages of FILE are compressed once with lz4 and once with zstd; pages of
// one repeated word are left out, as zswap never stores them. Each round fills
// each zpool, reads all in random order, frees half at random, compacts, and
// frees the rest; the zpools take turns. Densities are compressed bytes over
// frames and metadata, times are the CPU time of the best round.
#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "zpool/zpool.h"

namespace {

using uzswap::ByteCount;
using uzswap::Handle;
using uzswap::kPageSize;
using uzswap::MutablePage;
using uzswap::Zpool;

using Objects = std::vector<std::vector<std::byte>>;

struct Figures {
  double filled = 0, halved = 0, compacted = 0;  // densities
  double write_ns = 1e9, read_ns = 1e9, free_ns = 1e9, compact_ns = 1e9;
};

double CpuNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 +
         static_cast<double>(now.tv_nsec);
}

bool IsSameFilled(const std::byte* page) {
  return memcmp(page, page + 8, kPageSize - 8) == 0;
}

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

Objects CompressAll(const std::vector<std::byte>& content, bool zstd) {
  Objects objects;
  std::byte to[kPageSize];
  for (size_t at = 0; at + kPageSize <= content.size(); at += kPageSize) {
    const std::byte* const page = &content[at];
    if (IsSameFilled(page)) continue;
    const size_t bytes = Compress(zstd, page, to);
    if (bytes == 0) {
      objects.emplace_back(page, page + kPageSize);
    } else {
      objects.emplace_back(to, to + bytes);
    }
  }
  return objects;
}

double Density(const Zpool& pool, double payload) {
  return payload / static_cast<double>(pool.total_pages() * kPageSize +
                                       pool.metadata_bytes());
}

void Round(const char* name, const Objects& objects, Figures* best) {
  Zpool* const pool = uzswap::CreateZpool(name).value();
  const auto count = static_cast<double>(objects.size());
  std::vector<Handle> handles;
  handles.reserve(objects.size());
  double payload = 0;
  double start = CpuNs();
  for (const auto& object : objects) {
    handles.push_back(pool->Allocate(object.size()).value());
    pool->Write(handles.back(), object);
  }
  best->write_ns = std::min(best->write_ns, (CpuNs() - start) / count);
  for (const auto& object : objects) {
    payload += static_cast<double>(object.size());
  }
  best->filled = Density(*pool, payload);

  std::vector<size_t> order(objects.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937_64(7));
  std::byte scratch[kPageSize];
  std::byte copy[kPageSize];
  start = CpuNs();
  for (const size_t i : order) {
    const auto bytes =
        pool->ReadBegin(handles[i], objects[i].size(), MutablePage(scratch));
    memcpy(copy, bytes.data(), bytes.size());
    pool->ReadEnd(handles[i]);
  }
  best->read_ns = std::min(best->read_ns, (CpuNs() - start) / count);

  const size_t half = order.size() / 2;
  start = CpuNs();
  for (size_t i = 0; i < half; ++i) pool->Free(handles[order[i]]);
  best->free_ns =
      std::min(best->free_ns, (CpuNs() - start) / static_cast<double>(half));
  for (size_t i = 0; i < half; ++i) {
    payload -= static_cast<double>(objects[order[i]].size());
  }
  best->halved = Density(*pool, payload);
  start = CpuNs();
  uint64_t gone = 0;
  while (const uint64_t n = pool->Compact(1000)) gone += n;
  if (gone > 0) {
    best->compact_ns = std::min(best->compact_ns,
                                (CpuNs() - start) / static_cast<double>(gone));
  }
  best->compacted = Density(*pool, payload);
  for (size_t i = half; i < order.size(); ++i) {
    const auto& object = objects[order[i]];
    const auto bytes =
        pool->ReadBegin(handles[order[i]], object.size(), MutablePage(scratch));
    if (memcmp(bytes.data(), object.data(), object.size()) != 0) {
      fprintf(stderr, "zpools: %s lost an object\n", name);
      exit(1);
    }
    pool->ReadEnd(handles[order[i]]);
    pool->Free(handles[order[i]]);
  }
  pool->Destroy();
}

void Compare(const char* codec, const Objects& objects, int rounds) {
  std::vector<std::pair<const char*, Figures>> rows;
  for (unsigned i = 0; uzswap::ZpoolName(i) != nullptr; ++i) {
    rows.emplace_back(uzswap::ZpoolName(i), Figures());
  }
  double payload = 0;
  for (const auto& object : objects) {
    payload += static_cast<double>(object.size());
  }
  for (int round = 0; round < rounds; ++round) {
    for (auto& [name, figures] : rows) Round(name, objects, &figures);
  }
  printf("\n%s: %zu pages, %.0f bytes each\n\n", codec, objects.size(),
         payload / static_cast<double>(objects.size()));
  printf(
      "| zpool | filled | half freed | compacted | write | read | free | "
      "frame |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
  for (const auto& [name, f] : rows) {
    printf("| %s | %.3f | %.3f | %.3f | %.0f | %.0f | %.0f | %.0f |\n", name,
           f.filled, f.halved, f.compacted, f.write_ns, f.read_ns, f.free_ns,
           f.compact_ns);
  }
}

std::vector<std::byte> ReadAll(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == nullptr) {
    perror(path);
    exit(1);
  }
  std::vector<std::byte> content;
  std::byte buffer[1 << 16];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), file)) {
    content.insert(content.end(), buffer, buffer + n);
  }
  fclose(file);
  return content;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s FILE [ROUNDS]\n", argv[0]);
    return 2;
  }
  const std::vector<std::byte> content = ReadAll(argv[1]);
  const int rounds = argc == 3 ? std::max(1, atoi(argv[2])) : 3;
  if (content.size() < kPageSize) {
    fprintf(stderr, "%s: %s is smaller than a page\n", argv[0], argv[1]);
    return 1;
  }
  Compare("lz4", CompressAll(content, /*zstd=*/false), rounds);
  Compare("zstd", CompressAll(content, /*zstd=*/true), rounds);
  return 0;
}
