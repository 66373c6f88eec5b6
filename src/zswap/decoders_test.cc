// SPDX-License-Identifier: Apache-2.0
#include "zswap/decoders.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "compress/compressor.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

const uzswap_compressor& Codec(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

// What `plugin` makes of the page at this level.
std::vector<std::byte> Compressed(const uzswap_compressor& plugin, int level,
                                  const PageBuffer& page) {
  Compressor* compressor = Compressor::Create(plugin, {.level = level}).value();
  AcompContext& context = compressor->Lock();
  const ByteCount length = compressor->Compress(context, page).value();
  std::vector<std::byte> bytes(context.buffers[0], context.buffers[0] + length);
  compressor->Unlock(context);
  compressor->Destroy();
  return bytes;
}

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

TEST(Decoders, EachKindDecodesItsOwnAfterTheCompressorHasGone) {
  static Decoders decoders;
  const PageBuffer page = PageOf(1, 1);
  for (const char* name : {"lz4", "zstd", "deflate", "842"}) {
    const std::vector<std::byte> bytes =
        Compressed(Codec(name), kDefault, page);
    const DecoderIndex index = decoders.Acquire(Codec(name), kDefault).value();
    for (int i = 0; i < 3; ++i) {
      PageBuffer got{};
      memcpy(got.data(), bytes.data(), bytes.size());
      ASSERT_TRUE(decoders.Decode(index, got, bytes.size()).ok()) << name;
      EXPECT_EQ(got, page) << name;
    }
    decoders.Drop(index);
  }
  EXPECT_EQ(decoders.bytes(), 0u);
}

TEST(Decoders, WhatIsNotCompressedDataIsEio) {
  static Decoders decoders;
  const DecoderIndex index = decoders.Acquire(Codec("zstd"), kDefault).value();
  PageBuffer page = PageOf(1, 1, Content::kRandom);
  EXPECT_EQ(decoders.Decode(index, page, 1000).error(), EIO);
  decoders.Drop(index);
}

TEST(Decoders, TheSameKindIsSharedAndOthersAreNot) {
  static Decoders decoders;
  const DecoderIndex a = decoders.Acquire(Codec("zstd"), 1).value();
  EXPECT_EQ(decoders.Acquire(Codec("zstd"), 1).value(), a);
  const DecoderIndex b = decoders.Acquire(Codec("zstd"), 2).value();
  const DecoderIndex c = decoders.Acquire(Codec("lz4"), kDefault).value();
  EXPECT_NE(a, b);
  EXPECT_NE(a, c);
  decoders.Drop(a);
  decoders.Hold(a);
  decoders.Drop(a);
  EXPECT_EQ(decoders.references(a), 1u);
  decoders.Drop(a);
  // Its place is free again, for another kind.
  EXPECT_EQ(decoders.Acquire(Codec("deflate"), kDefault).value(), a);
  for (const DecoderIndex i : {a, b, c}) decoders.Drop(i);
}

TEST(Decoders, MemoryIsCountedWhileItIsUsed) {
  static Decoders decoders;
  const PageBuffer page = PageOf(1, 1);
  const std::vector<std::byte> bytes =
      Compressed(Codec("zstd"), kDefault, page);
  const DecoderIndex index = decoders.Acquire(Codec("zstd"), kDefault).value();
  EXPECT_EQ(decoders.bytes(), 0u);
  PageBuffer got{};
  memcpy(got.data(), bytes.data(), bytes.size());
  ASSERT_TRUE(decoders.Decode(index, got, bytes.size()).ok());
  EXPECT_GE(decoders.bytes(), Codec("zstd").workspace_size(kDefault));
  decoders.Drop(index);
  EXPECT_EQ(decoders.bytes(), 0u);
}

TEST(Decoders, FullTableSaysSo) {
  static Decoders decoders;
  for (unsigned i = 0; i < Decoders::kMax; ++i) {
    ASSERT_TRUE(decoders.Acquire(Codec("copy"), static_cast<int>(i)).ok());
  }
  EXPECT_EQ(decoders.Acquire(Codec("lz4"), kDefault).error(), ENOSPC);
  for (unsigned i = 0; i < Decoders::kMax; ++i) {
    decoders.Drop(static_cast<DecoderIndex>(i));
  }
}

TEST(Decoders, ThreadsThatDecodeAtTheSameTimeAllGetTheirPage) {
  static Decoders decoders;
  const DecoderIndex index = decoders.Acquire(Codec("lz4"), kDefault).value();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    const PageBuffer page = PageOf(t, 1);
    const std::vector<std::byte> bytes =
        Compressed(Codec("lz4"), kDefault, page);
    threads.emplace_back([&, page, bytes] {
      for (int i = 0; i < 2000; ++i) {
        decoders.Hold(index);
        PageBuffer got{};
        memcpy(got.data(), bytes.data(), bytes.size());
        if (!decoders.Decode(index, got, bytes.size()).ok() || got != page) {
          ++wrong;
        }
        decoders.Drop(index);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  decoders.Drop(index);
}

}  // namespace
}  // namespace uzswap
