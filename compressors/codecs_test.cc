// SPDX-License-Identifier: Apache-2.0
// The promises of include/uzswap/compressor.h, put to every compressor: one
// suite, no knowledge of any codec. malloc aborts while a codec runs, and every
// buffer it is given touches an inaccessible page.
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <map>

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

namespace {
thread_local constinit bool malloc_forbidden = false;
}  // namespace

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
namespace {

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
};

// A codec with a workspace between guards, as the host would give it.
class Codec {
 public:
  explicit Codec(const Case& c)
      : plugin_(Plugin(c.name)),
        size_(plugin_ == nullptr ? 0 : plugin_->workspace_size(c.level)),
        aligned_((size_ + 63) & ~size_t{63}),
        memory_(aligned_ + kPageSize) {
    if (plugin_ == nullptr) return;
    MallocForbidden guard;
    init_ = plugin_->init(workspace(), size_, c.level);
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
  const uzswap_compressor* plugin_;
  size_t size_;
  size_t aligned_;
  GuardedMemory memory_;
  int init_ = -1;
};

class CodecsTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    // Only the one with a GPL library may be missing.
    if (!codec_.exists() && std::string("lzo") == GetParam().name) {
      GTEST_SKIP() << "not built";
    }
    ASSERT_EQ(0, codec_.init());
  }
  void TearDown() override { EXPECT_TRUE(codec_.TailIsZero()); }

  Codec codec_{GetParam()};
  GuardedMemory source_{kPageSize};
  GuardedMemory destination_{kPageSize};
};

TEST_P(CodecsTest, PagesComeBackAsTheyWere) {
  std::map<std::string, int> kept;
  for (const SamplePage& page : testing::SamplePages(1)) {
    memcpy(source_.AtStart(), page.bytes.data(), kPageSize);
    size_t n = 0;
    const int r = codec_.Compress(source_.AtStart(), kPageSize,
                                  destination_.AtStart(), kPageSize, &n);
    ASSERT_TRUE(r == 0 || r == ENOSPC) << page.kind;
    if (r == ENOSPC) continue;
    ++kept[page.kind];
    ASSERT_GT(n, 0u);
    ASSERT_LE(n, kPageSize);
    memcpy(source_.AtEnd(n), destination_.AtStart(), n);
    memset(destination_.AtStart(), 0xa5, kPageSize);
    ASSERT_EQ(0, codec_.Decompress(source_.AtEnd(n), n, destination_.AtStart(),
                                   kPageSize))
        << page.kind;
    ASSERT_EQ(0, memcmp(destination_.AtStart(), page.bytes.data(), kPageSize))
        << page.kind;
  }
  EXPECT_EQ(1, kept["zero"]);
  EXPECT_EQ(0, kept["random"]);
  EXPECT_GT(kept["mixed"], 5);
  EXPECT_GT(kept["/bin/sh"], 5);
}

TEST_P(CodecsTest, EveryLengthComesBack) {
  Random random(2);
  const PageBytes page = testing::MixedPage(random);
  GuardedMemory room(2 * kPageSize);
  for (size_t length = 1; length <= kPageSize; ++length) {
    std::byte* from = source_.AtEnd(length);
    memcpy(from, page.data(), length);
    size_t n = 0;
    ASSERT_EQ(0,
              codec_.Compress(from, length, room.AtStart(), room.bytes(), &n));
    std::byte* to = destination_.AtEnd(length);
    ASSERT_EQ(0, codec_.Decompress(room.AtStart(), n, to, length)) << length;
    ASSERT_EQ(0, memcmp(to, page.data(), length)) << length;
  }
}

// CVE-2023-52612: an incompressible page and a destination of one page.
TEST_P(CodecsTest, NothingIsWrittenBehindTheDestination) {
  Random random(3);
  const std::vector<SamplePage> pages = testing::SamplePages(3);
  std::vector<std::byte> after(kPageSize, std::byte{0x5a});
  int refused = 0;
  for (int i = 0; i < 4000; ++i) {
    const PageBytes& page = pages[random() % pages.size()].bytes;
    const size_t room = i % 8 == 0 ? kPageSize : random() % kPageSize;
    // Once the guard watches, once a pattern: the pattern sees what a writer
    // that skips a page would do.
    const bool at_guard = i % 2 == 0;
    std::byte* to =
        at_guard ? destination_.AtEnd(room) : destination_.AtStart();
    memset(destination_.AtStart(), 0x5a, kPageSize);
    size_t n = 0;
    const int r = codec_.Compress(page.data(), kPageSize, to, room, &n);
    ASSERT_TRUE(r == 0 || r == ENOSPC) << r;
    ASSERT_LE(n, room);  // 0 if refused
    if (r != 0) ++refused;
    const std::byte* rest =
        at_guard ? destination_.AtStart() : destination_.AtStart() + room;
    ASSERT_EQ(0, memcmp(rest, after.data(), kPageSize - room));
  }
  EXPECT_GT(refused, 100);
}

TEST_P(CodecsTest, RefusalsLeaveNoTrace) {
  Random random(4);
  const PageBytes text = testing::TextPage(random);
  Codec fresh(GetParam());
  ASSERT_EQ(0, fresh.init());
  const PageBytes hopeless = testing::RandomPage(random);
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(codec_.Compressed(hopeless).empty());
    PageBytes copy = text;
    copy[static_cast<size_t>(i)] = std::byte{0xee};
    const std::vector<std::byte> packed = codec_.Compressed(copy);
    // A state that remembers the refused page would point into it.
    if (packed.empty()) continue;  // a run-length codec keeps no text
    PageBytes back;
    ASSERT_EQ(0, fresh.Decompress(packed.data(), packed.size(), back.data(),
                                  kPageSize));
    ASSERT_EQ(copy, back);
  }
}

TEST_P(CodecsTest, EveryCutIsRefused) {
  Random random(5);
  PageBytes page = testing::MixedPage(random);
  memset(page.data() + 100, 7, 3000);
  const std::vector<std::byte> packed = codec_.Compressed(page);
  ASSERT_FALSE(packed.empty());
  for (size_t n = 0; n < packed.size(); ++n) {
    std::byte* from = source_.AtEnd(n);
    memcpy(from, packed.data(), n);
    ASSERT_EQ(EIO,
              codec_.Decompress(from, n, destination_.AtStart(), kPageSize))
        << n;
  }
}

TEST_P(CodecsTest, OtherLengthsAreRefused) {
  const PageBytes page = {};
  const std::vector<std::byte> packed = codec_.Compressed(page);
  ASSERT_FALSE(packed.empty());
  GuardedMemory room(2 * kPageSize);
  for (const size_t length : {0ul, 1ul, kPageSize - 1, kPageSize + 1}) {
    EXPECT_EQ(EIO, codec_.Decompress(packed.data(), packed.size(),
                                     room.AtEnd(length), length))
        << length;
  }
}

TEST_P(CodecsTest, CorruptInputStaysInItsBuffers) {
  Random random(6);
  std::vector<std::vector<std::byte>> packed;
  for (const SamplePage& page : testing::SamplePages(6)) {
    packed.push_back(codec_.Compressed(page.bytes));
    if (packed.back().empty()) packed.pop_back();
  }
  ASSERT_GT(packed.size(), 10u);
  int refused = 0;
  for (int i = 0; i < 100000; ++i) {
    const std::vector<std::byte>& good = packed[random() % packed.size()];
    std::array<std::byte, kPageSize> bad;
    memcpy(bad.data(), good.data(), good.size());
    const size_t n =
        testing::Mutate(bad.data(), good.size(), kPageSize, random);
    std::byte* from = i % 2 == 0 ? source_.AtEnd(n) : source_.AtStart();
    memcpy(from, bad.data(), n);
    const int r = codec_.Decompress(from, n, destination_.AtStart(), kPageSize);
    ASSERT_TRUE(r == 0 || r == EIO) << r;
    if (r != 0) ++refused;
  }
  EXPECT_GT(refused, 10000);
  // None of it spoils the workspace for what is good.
  PageBytes back;
  ASSERT_EQ(0, codec_.Decompress(packed[0].data(), packed[0].size(),
                                 back.data(), kPageSize));
}

TEST_P(CodecsTest, RubbishStaysInItsBuffers) {
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const size_t n = random() % 200;
    std::byte* from = source_.AtEnd(n);
    for (size_t k = 0; k < n; ++k) from[k] = static_cast<std::byte>(random());
    const int r = codec_.Decompress(from, n, destination_.AtStart(), kPageSize);
    ASSERT_TRUE(r == 0 || r == EIO) << r;
  }
}

// Strict seccomp kills the child at any call but read, write and exit.
TEST_P(CodecsTest, CodecsMakeNoSystemCall) {
#ifdef UZSWAP_SANITIZED
  GTEST_SKIP() << "the sanitizer makes some itself";
#endif
  Random random(8);
  PageBytes page = testing::MixedPage(random);
  memset(page.data() + 100, 7, 3000);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(2);
    size_t n = 0;
    int r = codec_.Compress(page.data(), kPageSize, source_.AtStart(),
                            kPageSize, &n);
    r |= codec_.Decompress(source_.AtStart(), n, destination_.AtStart(),
                           kPageSize);
    syscall(SYS_exit, r == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(0, WEXITSTATUS(status));
}

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

INSTANTIATE_TEST_SUITE_P(
    All, CodecsTest,
    ::testing::Values(Case{"lz4", kDefault}, Case{"lz4", 8}, Case{"lz4", 64},
                      Case{"zstd", kDefault}, Case{"zstd", -7}, Case{"zstd", 3},
                      Case{"zstd", 6}, Case{"zstd", 13}, Case{"zstd", 19},
                      Case{"copy", kDefault}, Case{"lzo", kDefault}),
    [](const ::testing::TestParamInfo<Case>& info) {
      const int level = info.param.level;
      return std::string(info.param.name) +
             (level == kDefault ? "Default"
              : level < 0       ? "Minus" + std::to_string(-level)
                                : std::to_string(level));
    });

TEST(Codecs, UnknownLevelsAreRefused) {
  for (const Case& c :
       {Case{"lz4", 0}, Case{"lz4", -1}, Case{"lz4", 65538}, Case{"zstd", -8},
        Case{"zstd", 20}, Case{"zstd", 2147483647}, Case{"copy", 0},
        Case{"copy", 2}}) {
    EXPECT_EQ(EINVAL, Codec(c).init()) << c.name << " " << c.level;
  }
}

TEST(Codecs, ExtremeLevelsAreAccepted) {
  for (const Case& c : {Case{"lz4", 1}, Case{"lz4", 65537}, Case{"zstd", -7},
                        Case{"zstd", 19}, Case{"copy", 1}}) {
    EXPECT_EQ(0, Codec(c).init()) << c.name << " " << c.level;
  }
}

TEST(Codecs, EveryZstdLevelHasRoomInItsWorkspace) {
  Random random(9);
  const PageBytes page = testing::TextPage(random);
  for (int level = -7; level <= 19; ++level) {
    Codec codec({"zstd", level});
    ASSERT_EQ(0, codec.init()) << level;
    EXPECT_FALSE(codec.Compressed(page).empty()) << level;
    EXPECT_TRUE(codec.TailIsZero()) << level;
  }
}

TEST(Codecs, TheExampleDetectsEveryFlippedBit) {
  Codec codec({"copy", kDefault});
  PageBytes page = {};
  page[1000] = std::byte{1};
  std::vector<std::byte> packed = codec.Compressed(page);
  ASSERT_FALSE(packed.empty());
  PageBytes back;
  for (size_t bit = 0; bit < packed.size() * 8; ++bit) {
    packed[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(EIO, codec.Decompress(packed.data(), packed.size(), back.data(),
                                    kPageSize));
    packed[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace
}  // namespace uzswap
