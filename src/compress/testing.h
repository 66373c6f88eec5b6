// SPDX-License-Identifier: Apache-2.0
// For tests and fuzzers only: pages as programs have them, and memory whose
// ends are watched by the processor.
#ifndef UZSWAP_COMPRESS_TESTING_H_
#define UZSWAP_COMPRESS_TESTING_H_

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "base/page.h"

namespace uzswap::testing {

using PageBytes = std::array<std::byte, kPageSize>;
using Random = std::mt19937_64;

struct SamplePage {
  std::string kind;
  PageBytes bytes;
};

inline PageBytes RandomPage(Random& random) {
  PageBytes page;
  for (std::byte& b : page) b = static_cast<std::byte>(random());
  return page;
}

// Words of a small vocabulary, as logs and sources have them.
inline PageBytes TextPage(Random& random) {
  static constexpr const char* kWords[] = {
      "page ",  "memory ", "the ",  "of ",    "limit ", "a ",      "is\n",
      "fault ", "0x7f",    "= 12 ", "error ", "(void)", "return;", "kept "};
  std::string text;
  while (text.size() < kPageSize) text += kWords[random() % std::size(kWords)];
  PageBytes page;
  memcpy(page.data(), text.data(), kPageSize);
  return page;
}

// Pointers into one heap with small integers between them.
inline PageBytes HeapPage(Random& random) {
  PageBytes page;
  for (size_t i = 0; i < kPageSize; i += 8) {
    const uint64_t word =
        i % 32 == 0 ? random() % 100 : 0x00007f3a10000000 + random() % 65536;
    memcpy(&page[i], &word, 8);
  }
  return page;
}

// Part of it random, the rest one byte: from easy to hopeless.
inline PageBytes MixedPage(Random& random) {
  PageBytes page = RandomPage(random);
  const size_t at = random() % kPageSize;
  memset(&page[at], static_cast<int>(random() % 256), kPageSize - at);
  return page;
}

inline void AppendFilePages(const char* path, size_t count,
                            std::vector<SamplePage>& pages) {
  std::ifstream file(path, std::ios::binary);
  SamplePage page{path, {}};
  while (count-- > 0 &&
         file.read(reinterpret_cast<char*>(page.bytes.data()), kPageSize)) {
    pages.push_back(page);
  }
}

inline std::vector<SamplePage> SamplePages(uint64_t seed) {
  Random random(seed);
  std::vector<SamplePage> pages = {{"zero", {}}};
  SamplePage last{"zero but for the last byte", {}};
  last.bytes[kPageSize - 1] = std::byte{1};
  pages.push_back(last);
  for (int i = 0; i < 20; ++i) {
    pages.push_back({"random", RandomPage(random)});
    pages.push_back({"text", TextPage(random)});
    pages.push_back({"heap", HeapPage(random)});
    pages.push_back({"mixed", MixedPage(random)});
  }
  AppendFilePages("/bin/sh", 40, pages);
  AppendFilePages("/proc/self/exe", 100, pages);
  return pages;
}

// `bytes` of memory with inaccessible pages on both sides. AtStart and AtEnd
// give `n` bytes that touch one of them, so one byte too far is a SIGSEGV.
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes) : bytes_(PageCeil(bytes)) {
    void* p = mmap(nullptr, bytes_ + 2 * kPageSize, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    data_ = static_cast<std::byte*>(p) + kPageSize;
    if (mprotect(data_, bytes_, PROT_READ | PROT_WRITE) != 0) abort();
  }
  ~GuardedMemory() { munmap(data_ - kPageSize, bytes_ + 2 * kPageSize); }
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* AtStart() { return data_; }
  std::byte* AtEnd(size_t n) { return data_ + bytes_ - n; }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_;
  std::byte* data_;
};

// One to eight changes: bits, bytes, blocks, a cut or rubbish at the end. The
// length stays within `capacity`.
inline size_t Mutate(std::byte* data, size_t size, size_t capacity,
                     Random& random) {
  const int changes = 1 + static_cast<int>(random() % 8);
  for (int i = 0; i < changes && size > 0; ++i) {
    // Headers and first tokens decide most: aim there every other time.
    const size_t reach = random() % 2 == 0 && size > 16 ? 16 : size;
    const size_t at = random() % reach;
    switch (random() % 6) {
      case 0:
        data[at] ^= std::byte{1} << (random() % 8);
        break;
      case 1:
        data[at] = static_cast<std::byte>(random());
        break;
      case 2:
        data[at] = random() % 2 == 0 ? std::byte{0xff} : std::byte{0};
        break;
      case 3: {
        const size_t n = 1 + random() % (size - at);
        memmove(data + at, data + random() % (size - n + 1), n);
        break;
      }
      case 4:
        size = random() % 8 == 0 ? random() % size : size - 1;
        break;
      default:
        for (size_t n = random() % 64; n > 0 && size < capacity; --n) {
          data[size++] = static_cast<std::byte>(random());
        }
    }
  }
  return size;
}

}  // namespace uzswap::testing

#endif  // UZSWAP_COMPRESS_TESTING_H_
