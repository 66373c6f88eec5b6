// SPDX-License-Identifier: Apache-2.0
// For the tests of codecs only, one of which includes it once in a program: a
// codec with a workspace that touches inaccessible memory, and a malloc that
// aborts while the codec runs.
#ifndef UZSWAP_COMPRESSORS_CODEC_UNDER_TEST_H_
#define UZSWAP_COMPRESSORS_CODEC_UNDER_TEST_H_

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "compress/testing.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UZSWAP_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UZSWAP_SANITIZED
#endif

inline thread_local constinit bool malloc_forbidden = false;

#ifndef UZSWAP_SANITIZED  // sanitizers bring a malloc of their own
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t n, size_t bytes);
void* __libc_realloc(void* p, size_t bytes);
void __libc_free(void* p);
void* malloc(size_t bytes) {
  if (malloc_forbidden) abort();
  return __libc_malloc(bytes);
}
void* calloc(size_t n, size_t bytes) {
  if (malloc_forbidden) abort();
  return __libc_calloc(n, bytes);
}
void* realloc(void* p, size_t bytes) {
  if (malloc_forbidden) abort();
  return __libc_realloc(p, bytes);
}
void free(void* p) {
  if (malloc_forbidden) abort();
  __libc_free(p);
}
}
#endif

namespace uzswap {

using testing::GuardedMemory;
using testing::PageBytes;
using testing::Random;
using testing::SamplePage;

class MallocForbidden {
 public:
  MallocForbidden() { malloc_forbidden = true; }
  ~MallocForbidden() { malloc_forbidden = false; }
};

struct Case {
  const char* name;
  int level;
  size_t dictionary_bytes = 0;
};

// Text like the test pages', behind which nothing is accessible.
inline const std::byte* Dictionary(size_t bytes) {
  static GuardedMemory* memory = [] {
    auto* m = new GuardedMemory(64 * kPageSize);
    Random random(77);
    for (size_t at = 0; at < m->bytes(); at += kPageSize) {
      const PageBytes page = testing::TextPage(random);
      memcpy(m->AtStart() + at, page.data(), kPageSize);
    }
    return m;
  }();
  return memory->AtEnd(bytes);
}

// A codec with a workspace between guards, as the host would give it.
class Codec {
 public:
  explicit Codec(const Case& c)
      : plugin_(Plugin(c.name)),
        parameters_{
            sizeof(parameters_), c.level,
            c.dictionary_bytes == 0 ? nullptr : Dictionary(c.dictionary_bytes),
            c.dictionary_bytes},
        size_(plugin_ == nullptr ? 0 : Size()),
        aligned_((size_ + 63) & ~size_t{63}),
        memory_(aligned_ + kPageSize) {
    if (plugin_ == nullptr) return;
    MallocForbidden guard;
    init_ = c.dictionary_bytes == 0
                ? plugin_->init(workspace(), size_, c.level)
                : plugin_->init_with(workspace(), size_, &parameters_);
  }

  static const uzswap_compressor* Plugin(const char* name) {
    registry::RegisterBuiltins();
    const auto r = registry::Find(name, UZSWAP_PLUGIN_DIR);
    return r.ok() ? r.value() : nullptr;
  }

  bool exists() const { return plugin_ != nullptr; }
  int init() const { return init_; }
  std::byte* workspace() { return memory_.AtEnd(aligned_); }
  // Between the end of the workspace and the guard, if the size is odd.
  bool TailIsZero() {
    for (size_t i = size_; i < aligned_; ++i) {
      if (workspace()[i] != std::byte{0}) return false;
    }
    return true;
  }

  int Compress(const void* from, size_t bytes, void* to, size_t room,
               size_t* produced) {
    MallocForbidden guard;
    return plugin_->compress(workspace(), from, bytes, to, room, produced);
  }
  int Decompress(const void* from, size_t bytes, void* to, size_t room) {
    MallocForbidden guard;
    return plugin_->decompress(workspace(), from, bytes, to, room);
  }
  // Empty if it is not smaller than a page.
  std::vector<std::byte> Compressed(const PageBytes& page) {
    std::vector<std::byte> out(kPageSize);
    size_t n = 0;
    const int r = Compress(page.data(), kPageSize, out.data(), kPageSize, &n);
    EXPECT_TRUE(r == 0 || r == ENOSPC) << r;
    out.resize(r == 0 ? n : 0);
    return out;
  }

 private:
  size_t Size() {
    MallocForbidden guard;
    return parameters_.dictionary_bytes == 0
               ? plugin_->workspace_size(parameters_.level)
               : plugin_->workspace_size_with(&parameters_);
  }

  const uzswap_compressor* plugin_;
  uzswap_compressor_parameters parameters_;
  size_t size_;
  size_t aligned_;
  GuardedMemory memory_;
  int init_ = -1;
};

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

}  // namespace uzswap

#endif  // UZSWAP_COMPRESSORS_CODEC_UNDER_TEST_H_
