// SPDX-License-Identifier: Apache-2.0
// What a second, dense tier could gain, and what a load from it would cost:
// zstd at several levels, over one page or a chunk of several, with and without
// a dictionary trained on other pages of the same program.
//
//   chunks FILE...       (files of pages; bench/contents.py makes them)
//
// Times are CPU time for one page: compressing, and loading it, for which the
// whole chunk has to be decompressed. "pays": pages that get smaller than with
// lz4 by an eighth, which are what recompression keeps; "tier": lz4 for the
// others.
#include <lz4.h>
#include <zdict.h>
#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kDictionary = size_t{16} << 10;

using Bytes = std::vector<char>;

double CpuSeconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

Bytes ReadAll(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == nullptr) {
    perror(path);
    exit(1);
  }
  Bytes all;
  char buffer[1 << 16];
  while (const size_t n = fread(buffer, 1, sizeof(buffer), file)) {
    all.insert(all.end(), buffer, buffer + n);
  }
  fclose(file);
  all.resize(all.size() / kPage * kPage);
  return all;
}

// Every 16th page; what is measured are the others' neighbours, too, as a
// program's own pages would be.
Bytes Train(const Bytes& pages) {
  Bytes samples;
  std::vector<size_t> sizes;
  for (size_t at = 0; at < pages.size(); at += 16 * kPage) {
    samples.insert(samples.end(), &pages[at], &pages[at] + kPage);
    sizes.push_back(kPage);
  }
  Bytes dictionary(kDictionary);
  const size_t n = ZDICT_trainFromBuffer(dictionary.data(), dictionary.size(),
                                         samples.data(), sizes.data(),
                                         static_cast<unsigned>(sizes.size()));
  if (ZDICT_isError(n) != 0) return {};
  dictionary.resize(n);
  return dictionary;
}

struct Row {
  size_t bytes = 0;  // not smaller: as it is
  double compress_us = 0;
  double load_us = 0;
  std::vector<size_t> sizes;
};

std::vector<size_t> Lz4Sizes(const Bytes& pages, Row* row) {
  Bytes to(LZ4_compressBound(kPage));
  Bytes back(kPage);
  double compress = 0;
  double load = 0;
  for (size_t at = 0; at < pages.size(); at += kPage) {
    double t = CpuSeconds();
    const int n = LZ4_compress_default(&pages[at], to.data(), kPage,
                                       static_cast<int>(to.size()));
    compress += CpuSeconds() - t;
    t = CpuSeconds();
    LZ4_decompress_safe(to.data(), back.data(), n, kPage);
    load += CpuSeconds() - t;
    row->sizes.push_back(std::min(static_cast<size_t>(n), kPage));
    row->bytes += row->sizes.back();
  }
  const auto count = static_cast<double>(row->sizes.size());
  row->compress_us = 1e6 * compress / count;
  row->load_us = 1e6 * load / count;
  return row->sizes;
}

Row Zstd(const Bytes& pages, size_t chunk, int level, const Bytes& dictionary) {
  ZSTD_CCtx* const c = ZSTD_createCCtx();
  ZSTD_DCtx* const d = ZSTD_createDCtx();
  ZSTD_CDict* const cd =
      ZSTD_createCDict(dictionary.data(), dictionary.size(), level);
  ZSTD_DDict* const dd = ZSTD_createDDict(dictionary.data(), dictionary.size());
  const bool trained = !dictionary.empty();
  Bytes to(ZSTD_compressBound(chunk));
  Bytes back(chunk);
  Row row;
  double compress = 0;
  double load = 0;
  size_t chunks = 0;
  for (size_t at = 0; at + chunk <= pages.size(); at += chunk, ++chunks) {
    double t = CpuSeconds();
    const size_t n = trained ? ZSTD_compress_usingCDict(c, to.data(), to.size(),
                                                        &pages[at], chunk, cd)
                             : ZSTD_compressCCtx(c, to.data(), to.size(),
                                                 &pages[at], chunk, level);
    compress += CpuSeconds() - t;
    t = CpuSeconds();
    const size_t m =
        trained ? ZSTD_decompress_usingDDict(d, back.data(), chunk, to.data(),
                                             n, dd)
                : ZSTD_decompressDCtx(d, back.data(), chunk, to.data(), n);
    load += CpuSeconds() - t;
    if (m != chunk || memcmp(back.data(), &pages[at], chunk) != 0) abort();
    row.sizes.push_back(std::min(n, chunk));
    row.bytes += row.sizes.back();
  }
  const auto count = static_cast<double>(chunks);
  row.compress_us = 1e6 * compress / count / static_cast<double>(chunk / kPage);
  row.load_us = 1e6 * load / count;
  ZSTD_freeCDict(cd);
  ZSTD_freeDDict(dd);
  ZSTD_freeCCtx(c);
  ZSTD_freeDCtx(d);
  return row;
}

void Print(const std::string& name, size_t total, const Row& row,
           const std::vector<size_t>& lz4) {
  printf("%-24s %6.2f %11.1f %8.1f", name.c_str(),
         static_cast<double>(total) / static_cast<double>(row.bytes),
         row.compress_us, row.load_us);
  if (row.sizes.size() == lz4.size()) {
    size_t pays = 0;
    size_t tier = 0;
    for (size_t i = 0; i < lz4.size(); ++i) {
      const bool smaller = row.sizes[i] + lz4[i] / 8 <= lz4[i];
      pays += smaller;
      tier += smaller ? row.sizes[i] : lz4[i];
    }
    printf(" %5zu %% %6.2f", pays * 100 / lz4.size(),
           static_cast<double>(total) / static_cast<double>(tier));
  }
  printf("\n");
}

void Measure(const char* path) {
  const Bytes pages = ReadAll(path);
  const Bytes dictionary = Train(pages);
  printf("%s: %zu pages, dictionary of %zu bytes\n", path, pages.size() / kPage,
         dictionary.size());
  printf("%-24s %6s %11s %8s %7s %6s\n", "", "ratio", "compress us", "load us",
         "pays", "tier");
  Row row;
  const std::vector<size_t> lz4 = Lz4Sizes(pages, &row);
  Print("lz4, 4 KiB", pages.size(), row, {});
  for (const int level : {-1, 1, 3}) {
    for (const size_t kib : {4, 16, 32}) {
      for (const bool trained : {false, true}) {
        if (trained && dictionary.empty()) continue;
        const size_t chunk = kib << 10;
        row = Zstd(pages, chunk, level, trained ? dictionary : Bytes());
        Print("zstd:" + std::to_string(level) + ", " + std::to_string(kib) +
                  " KiB" + (trained ? ", dictionary" : ""),
              pages.size() / chunk * chunk, row, lz4);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: chunks FILE...\n");
    return 2;
  }
  for (int i = 1; i < argc; ++i) Measure(argv[i]);
  return 0;
}
