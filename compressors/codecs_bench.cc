// SPDX-License-Identifier: Apache-2.0
// usage: codecs_bench [--pid PID] [--dictionary BYTES] [--pages N]
//                     [--codec NAME[:LEVEL]]... [FILE...]
// Ratio and time of every compressor on the same pages: those of the files, or
// the private writable memory of a process. Pages of one repeated word are left
// out (zswap does not compress them). A page that does not shrink counts as
// 4096 bytes, as it would be stored. Times are CPU time, the best of five
// rounds over all pages, refused ones included; each page that comes back is
// compared. With a dictionary, every other page trains it and only the rest is
// measured.
#include <zdict.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::PageBytes;
using Pages = std::vector<PageBytes>;

struct Options {
  std::vector<std::string> files;
  std::vector<std::string> codecs;
  std::string pid;
  size_t dictionary_bytes = 0;
  size_t max_pages = 20000;
};

bool IsSameFilled(const PageBytes& page) {
  return memcmp(page.data(), page.data() + 8, kPageSize - 8) == 0;
}

void AddPages(std::istream& in, size_t count, Pages* pages) {
  PageBytes page;
  while (count-- > 0 &&
         in.read(reinterpret_cast<char*>(page.data()), kPageSize)) {
    if (!IsSameFilled(page)) pages->push_back(page);
  }
}

// Private, writable memory without a file: what zswap would see.
void AddProcess(const std::string& pid, Pages* pages) {
  std::ifstream maps("/proc/" + pid + "/maps");
  std::ifstream memory("/proc/" + pid + "/mem", std::ios::binary);
  std::string line;
  while (std::getline(maps, line)) {
    unsigned long from = 0, to = 0, inode = 0;
    char access[5] = {};
    if (sscanf(line.c_str(), "%lx-%lx %4s %*x %*s %lu", &from, &to, access,
               &inode) != 4 ||
        strcmp(access, "rw-p") != 0 || inode != 0) {
      continue;
    }
    memory.clear();
    memory.seekg(static_cast<std::streamoff>(from));
    AddPages(memory, (to - from) / kPageSize, pages);
  }
}

// Evenly spread, not the first ones: neighbours are alike.
void Thin(size_t most, Pages* pages) {
  if (pages->size() <= most) return;
  Pages kept;
  for (size_t i = 0; i < most; ++i) {
    kept.push_back((*pages)[i * pages->size() / most]);
  }
  pages->swap(kept);
}

std::vector<std::byte> Train(const Pages& pages, size_t bytes) {
  std::vector<std::byte> dictionary(bytes);
  std::vector<size_t> sizes(pages.size(), kPageSize);
  const size_t n =
      ZDICT_trainFromBuffer(dictionary.data(), bytes, pages.data(),
                            sizes.data(), static_cast<unsigned>(sizes.size()));
  if (ZDICT_isError(n) != 0) {
    fprintf(stderr, "no dictionary: %s\n", ZDICT_getErrorName(n));
    exit(1);
  }
  dictionary.resize(n);
  return dictionary;
}

// What this thread used: others on the machine cost little of it.
double CpuNs() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 +
         static_cast<double>(now.tv_nsec);
}

class Bench {
 public:
  // Empty dictionary: none.
  Bench(const uzswap_compressor& codec, int level,
        const std::vector<std::byte>& dictionary)
      : codec_(codec) {
    const uzswap_compressor_parameters p = {sizeof(p), level, dictionary.data(),
                                            dictionary.size()};
    bytes_ = dictionary.empty() ? codec.workspace_size(level)
                                : codec.workspace_size_with(&p);
    memory_.resize(bytes_ / sizeof(Line) + 1);
    const int error = dictionary.empty()
                          ? codec.init(memory_.data(), bytes_, level)
                          : codec.init_with(memory_.data(), bytes_, &p);
    if (error != 0) {
      fprintf(stderr, "%s: level %d: %s\n", codec.name, level, strerror(error));
      exit(1);
    }
  }

  void Run(const Pages& pages) {
    packed_.resize(pages.size());
    for (int i = 0; i < 5; ++i) {
      compress_ns_ = std::min(compress_ns_, Time(&Bench::CompressAll, pages));
      decompress_ns_ =
          std::min(decompress_ns_, Time(&Bench::DecompressAll, pages));
    }
  }

  void Print(const std::string& title) const {
    size_t stored = 0;
    size_t raw = 0;
    for (const Packed& p : packed_) {
      stored += p.size == 0 ? kPageSize : p.size;
      if (p.size == 0) ++raw;
    }
    const auto all = static_cast<double>(packed_.size());
    const auto refused = static_cast<double>(raw);
    printf("%-22s %8zu %7.2f %8.1f %9.0f %9.0f\n", title.c_str(), bytes_ / 1024,
           all * kPageSize / static_cast<double>(stored), 100 * refused / all,
           compress_ns_ / all, decompress_ns_ / (all - refused));
  }

 private:
  struct alignas(64) Line {
    char bytes[64] = {};
  };
  struct Packed {
    size_t size = 0;  // 0: did not shrink
    PageBytes bytes;
  };

  double Time(void (Bench::*run)(const Pages&), const Pages& pages) {
    const double start = CpuNs();
    (this->*run)(pages);
    return CpuNs() - start;
  }

  void CompressAll(const Pages& pages) {
    for (size_t i = 0; i < pages.size(); ++i) {
      Packed& p = packed_[i];
      if (codec_.compress(memory_.data(), pages[i].data(), kPageSize,
                          p.bytes.data(), kPageSize - 1, &p.size) != 0) {
        p.size = 0;
      }
    }
  }

  // Comparing is a part of the time: about 50 ns.
  void DecompressAll(const Pages& pages) {
    PageBytes back;
    for (size_t i = 0; i < pages.size(); ++i) {
      const Packed& p = packed_[i];
      if (p.size == 0) continue;
      if (codec_.decompress(memory_.data(), p.bytes.data(), p.size, back.data(),
                            kPageSize) != 0 ||
          memcmp(back.data(), pages[i].data(), kPageSize) != 0) {
        fprintf(stderr, "%s: page %zu is lost\n", codec_.name, i);
        exit(1);
      }
    }
  }

  const uzswap_compressor& codec_;
  size_t bytes_ = 0;
  std::vector<Line> memory_;
  std::vector<Packed> packed_;
  double compress_ns_ = 1e18;
  double decompress_ns_ = 1e18;
};

void Measure(const std::string& name, const Pages& pages,
             const std::vector<std::byte>& dictionary) {
  const size_t colon = name.find(':');
  const std::string base = name.substr(0, colon);
  const int level = colon == std::string::npos ? UZSWAP_COMPRESSOR_DEFAULT_LEVEL
                                               : atoi(name.c_str() + colon + 1);
  const auto codec = registry::Find(base.c_str(), UZSWAP_PLUGIN_DIR);
  if (!codec.ok()) {
    fprintf(stderr, "%s: not there\n", base.c_str());
    return;
  }
  Bench plain(*codec.value(), level, {});
  plain.Run(pages);
  plain.Print(name);
  if (dictionary.empty() || !UZSWAP_COMPRESSOR_HAS(codec.value(), init_with)) {
    return;
  }
  Bench with(*codec.value(), level, dictionary);
  with.Run(pages);
  with.Print(name + " dictionary");
}

Options Parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (a == "--pid") {
      options.pid = value;
    } else if (a == "--dictionary") {
      options.dictionary_bytes = strtoul(value, nullptr, 0);
    } else if (a == "--pages") {
      options.max_pages = strtoul(value, nullptr, 0);
    } else if (a == "--codec") {
      options.codecs.emplace_back(value);
    } else {
      options.files.push_back(a);
      continue;
    }
    ++i;
  }
  if (options.codecs.empty()) {
    options.codecs = {"lz4",     "lz4:8",     "lz4hc:4", "lz4hc",
                      "zstd:-1", "zstd",      "zstd:3",  "zstd:9",
                      "zstd:19", "deflate:1", "deflate", "deflate:12",
                      "lzo-rle", "lzo",       "842",     "copy"};
  }
  return options;
}

int Main(const Options& options) {
  registry::RegisterBuiltins();
  Pages pages;
  for (const std::string& file : options.files) {
    std::ifstream in(file, std::ios::binary);
    AddPages(in, SIZE_MAX, &pages);
  }
  if (!options.pid.empty()) AddProcess(options.pid, &pages);
  Thin(options.max_pages, &pages);
  std::vector<std::byte> dictionary;
  if (options.dictionary_bytes != 0) {
    Pages trained, measured;
    for (size_t i = 0; i < pages.size(); ++i) {
      (i % 2 == 0 ? trained : measured).push_back(pages[i]);
    }
    dictionary = Train(trained, options.dictionary_bytes);
    pages.swap(measured);
  }
  if (pages.empty()) {
    fprintf(stderr, "no pages: give files or --pid\n");
    return 2;
  }
  printf("%zu pages%s\n", pages.size(),
         dictionary.empty() ? "" : ", not those the dictionary is made of");
  printf("%-22s %8s %7s %8s %9s %9s\n", "codec:level", "KiB", "ratio", "raw %",
         "comp ns", "decomp ns");
  for (const std::string& codec : options.codecs) {
    Measure(codec, pages, dictionary);
  }
  return 0;
}

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  return uzswap::Main(uzswap::Parse(argc, argv));
}
