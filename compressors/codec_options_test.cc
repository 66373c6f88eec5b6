// SPDX-License-Identifier: Apache-2.0
// What single compressors promise besides: levels, dictionaries, and the
// formats that others read, too.
#include "../compressors/codec_under_test.h"

namespace uzswap {
namespace {

constexpr const char* kNames[] = {"lz4", "lz4hc",   "zstd", "deflate",
                                  "842", "lzo-rle", "copy"};

TEST(Codecs, TheLevelsThatAreToldAreTheOnesThatAreAccepted) {
  for (const char* name : kNames) {
    const uzswap_compressor& c = *Codec::Plugin(name);
    ASSERT_TRUE(UZSWAP_COMPRESSOR_HAS(&c, max_level)) << name;
    EXPECT_LE(c.min_level, c.default_level) << name;
    EXPECT_LE(c.default_level, c.max_level) << name;
    for (const int level : {c.min_level, c.default_level, c.max_level}) {
      EXPECT_EQ(0, Codec({name, level}).init()) << name << " " << level;
    }
    for (const int level : {c.min_level - 1, c.max_level + 1, 2147483647}) {
      EXPECT_EQ(EINVAL, Codec({name, level}).init()) << name << " " << level;
    }
  }
}

TEST(Codecs, TheDefaultLevelIsTheOneThatIsTold) {
  Random random(14);
  const PageBytes page = testing::TextPage(random);
  for (const char* name : kNames) {
    Codec named({name, Codec::Plugin(name)->default_level});
    Codec unnamed({name, kDefault});
    EXPECT_EQ(named.Compressed(page), unnamed.Compressed(page)) << name;
  }
}

TEST(Codecs, EveryLevelHasRoomInItsWorkspace) {
  Random random(9);
  const PageBytes page = testing::TextPage(random);
  const PageBytes hopeless = testing::RandomPage(random);
  for (const char* name : {"zstd", "lz4hc", "deflate"}) {
    const uzswap_compressor& c = *Codec::Plugin(name);
    for (int level = c.min_level; level <= c.max_level; ++level) {
      Codec codec({name, level});
      ASSERT_EQ(0, codec.init()) << name << level;
      EXPECT_FALSE(codec.Compressed(page).empty()) << name << level;
      EXPECT_TRUE(codec.Compressed(hopeless).empty()) << name << level;
      EXPECT_TRUE(codec.TailIsZero()) << name << level;
    }
  }
}

TEST(Codecs, EveryLevelHasRoomForDictionariesOfAnySize) {
  Random random(10);
  const PageBytes page = testing::TextPage(random);
  const PageBytes hopeless = testing::RandomPage(random);
  for (const char* name : {"zstd", "lz4hc", "lz4"}) {
    const uzswap_compressor& c = *Codec::Plugin(name);
    for (const size_t bytes : {1, 7, 8, 500, 4096, 65535, 65536, 200000}) {
      const int last = std::min(c.max_level, 19);
      for (int level = c.min_level; level <= last; ++level) {
        Codec codec({name, level, bytes});
        ASSERT_EQ(0, codec.init()) << name << level << " " << bytes;
        const std::vector<std::byte> packed = codec.Compressed(page);
        ASSERT_FALSE(packed.empty()) << name << level << " " << bytes;
        EXPECT_TRUE(codec.Compressed(hopeless).empty());
        PageBytes back;
        ASSERT_EQ(0, codec.Decompress(packed.data(), packed.size(), back.data(),
                                      kPageSize));
        ASSERT_EQ(page, back);
        EXPECT_TRUE(codec.TailIsZero()) << name << level << " " << bytes;
      }
    }
  }
}

TEST(Codecs, DictionariesMakePagesSmaller) {
  Random random(11);
  for (const char* name : {"lz4", "lz4hc", "zstd"}) {
    Codec with({name, kDefault, 16384});
    Codec without({name, kDefault});
    size_t sum_with = 0, sum_without = 0;
    for (int i = 0; i < 20; ++i) {
      const PageBytes page = testing::TextPage(random);
      sum_with += with.Compressed(page).size();
      sum_without += without.Compressed(page).size();
    }
    EXPECT_LT(sum_with, sum_without) << name;
  }
}

TEST(Codecs, OneContextReadsWhatAnotherWroteWithTheSameDictionary) {
  Random random(12);
  for (const char* name : {"lz4", "lz4hc", "zstd"}) {
    Codec writer({name, kDefault, 5000});
    Codec reader({name, kDefault, 5000});
    const PageBytes page = testing::TextPage(random);
    const std::vector<std::byte> packed = writer.Compressed(page);
    PageBytes back;
    ASSERT_EQ(0, reader.Decompress(packed.data(), packed.size(), back.data(),
                                   kPageSize));
    EXPECT_EQ(page, back) << name;
  }
}

// It begins as what `zstd --train` makes does.
TEST(Codecs, DictionariesThatAreDamagedAreRefused) {
  const unsigned char bad[64] = {0x37, 0xa4, 0x30, 0xec, 1, 2, 3};
  const uzswap_compressor_parameters p = {sizeof(p), kDefault, bad,
                                          sizeof(bad)};
  const uzswap_compressor& zstd = *Codec::Plugin("zstd");
  const size_t bytes = zstd.workspace_size_with(&p);
  GuardedMemory workspace(bytes);
  MallocForbidden guard;
  EXPECT_EQ(EINVAL, zstd.init_with(workspace.AtStart(), bytes, &p));
  EXPECT_EQ(EINVAL, zstd.init_with(workspace.AtStart(), bytes - 1, &p));
}

TEST(Codecs, NoBitOfAnIntactPageOf842MayFlip) {
  Random random(13);
  for (const SamplePage& page : testing::SamplePages(13)) {
    if (random() % 8 != 0) continue;
    Codec codec({"842", kDefault});
    std::vector<std::byte> packed = codec.Compressed(page.bytes);
    PageBytes back;
    for (size_t bit = 0; bit < packed.size() * 8; ++bit) {
      packed[bit / 8] ^= std::byte{1} << (bit % 8);
      const int r = codec.Decompress(packed.data(), packed.size(), back.data(),
                                     kPageSize);
      // Another way to say the same, such as a repetition of zeros.
      ASSERT_TRUE(r != 0 || page.bytes == back) << bit;
      packed[bit / 8] ^= std::byte{1} << (bit % 8);
    }
  }
}

// liblzo2 writes and reads bitstream version 0.
TEST(Codecs, LzoRleReadsLzoAndIsReadByItWhereThereAreNoRuns) {
  Codec lzo({"lzo", kDefault});
  if (!lzo.exists()) GTEST_SKIP() << "not built";
  Codec rle({"lzo-rle", kDefault});
  int without_runs = 0;
  for (const SamplePage& page : testing::SamplePages(15)) {
    PageBytes back = {};
    const std::vector<std::byte> old = lzo.Compressed(page.bytes);
    if (!old.empty()) {
      ASSERT_EQ(0,
                rle.Decompress(old.data(), old.size(), back.data(), kPageSize));
      ASSERT_EQ(page.bytes, back) << page.kind;
    }
    if (page.kind != "text" && page.kind != "mixed") continue;
    PageBytes no_zeros = page.bytes;
    for (std::byte& b : no_zeros) b |= std::byte{1};
    const std::vector<std::byte> packed = rle.Compressed(no_zeros);
    if (packed.empty()) continue;
    ++without_runs;
    ASSERT_EQ(0, lzo.Decompress(packed.data() + 2, packed.size() - 2,
                                back.data(), kPageSize));
    ASSERT_EQ(no_zeros, back) << page.kind;
  }
  EXPECT_GT(without_runs, 20);
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
