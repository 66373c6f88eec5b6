// SPDX-License-Identifier: Apache-2.0
// The promises of include/uzswap/compressor.h, put to every compressor: one
// suite, no knowledge of any codec. malloc aborts while a codec runs, and every
// buffer it is given touches an inaccessible page.
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "../compressors/codec_under_test.h"

namespace uzswap {
namespace {

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

INSTANTIATE_TEST_SUITE_P(
    All, CodecsTest,
    ::testing::Values(Case{"lz4", kDefault}, Case{"lz4", 8}, Case{"lz4", 64},
                      Case{"lz4", kDefault, 1000}, Case{"lz4", 8, 100000},
                      Case{"lz4hc", kDefault}, Case{"lz4hc", 1},
                      Case{"lz4hc", 4}, Case{"lz4hc", kDefault, 1000},
                      Case{"lz4hc", 3, 100000}, Case{"zstd", kDefault},
                      Case{"zstd", -7}, Case{"zstd", 3}, Case{"zstd", 6},
                      Case{"zstd", 13}, Case{"zstd", 19},
                      Case{"zstd", kDefault, 1000}, Case{"zstd", 13, 100000},
                      Case{"deflate", kDefault}, Case{"deflate", 1},
                      Case{"deflate", 12}, Case{"842", kDefault},
                      Case{"lzo-rle", kDefault}, Case{"copy", kDefault},
                      Case{"lzo", kDefault}),
    [](const ::testing::TestParamInfo<Case>& info) {
      const int level = info.param.level;
      std::string name = info.param.name;
      std::erase(name, '-');
      name += level == kDefault ? "Default"
              : level < 0       ? "Minus" + std::to_string(-level)
                                : "Level" + std::to_string(level);
      if (info.param.dictionary_bytes != 0) {
        name += "Dictionary" + std::to_string(info.param.dictionary_bytes);
      }
      return name;
    });

}  // namespace
}  // namespace uzswap
