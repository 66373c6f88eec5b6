// SPDX-License-Identifier: Apache-2.0
// Bugs of the kernel around compression contexts, by their numbers in
// docs/bugs.md; those about CPUs are in compressor_hotplug_test.cc. Each test
// fails if the guard against its bug is taken away (tools/mutants.py).
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/cpuhp_testing.h"
#include "compress/acomp.h"
#include "compress/builtin.h"
#include "compress/compressor.h"
#include "compress/offload_test_support.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::PageBytes;
using testing::Random;

const uzswap_compressor& Lz4() {
  registry::RegisterBuiltins();
  return *registry::Find("lz4", nullptr).value();
}

// Asks in init, where a plug-in of the kernel allocates, and an allocation may
// have to reclaim memory, and that compresses.
AcompContext* locked_in_reclaim = nullptr;
unsigned found_free = 0;
const uzswap_compressor kAllocating = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "allocating",
    .workspace_size = [](int) { return size_t{64}; },
    .init =
        [](void*, size_t, int) {
          lockdep::MightReclaim();
          if (locked_in_reclaim == nullptr) return 0;
          if (!locked_in_reclaim->mutex.TryLock()) return EDEADLK;
          locked_in_reclaim->mutex.Unlock();
          ++found_free;
          return 0;
        },
    .compress = [](void*, const void*, size_t, void*, size_t,
                   size_t*) { return EINVAL; },
    .decompress = [](void*, const void*, size_t, void*, size_t) { return EIO; },
};

// A context was made ready with its own lock held; what that allocated had to
// be reclaimed first, which compressed, with that lock.
TEST(CompressorBugs, B8_ContextsAreSetUpWithoutTheirLock) {
  cpuhp::Simulator cpus(cpuhp::System(), 4, 3);
  locked_in_reclaim = nullptr;
  found_free = 0;
  Compressor* c = Compressor::Create(kAllocating, {}).value();
  AcompContext& first = c->LockOn(0);
  c->Unlock(first);
  locked_in_reclaim = &first + 3;  // they are an array
  EXPECT_TRUE(cpus.Up(3).ok());
  EXPECT_EQ(found_free, 1u);
  EXPECT_EQ(&c->LockOn(3), locked_in_reclaim);
  c->Unlock(*locked_in_reclaim);
  locked_in_reclaim = nullptr;
  c->Destroy();
}

// A compressor that did not look at the room it had wrote behind the buffer,
// which used to be two pages for that reason. Ours has one.
TEST(CompressorBugs, B30_NoCodecNeedsMoreThanItsPage) {
  Random random(30);
  for (unsigned i = 0; registry::RegisterBuiltins(), registry::At(i); ++i) {
    Compressor* c = Compressor::Create(*registry::At(i), {}).value();
    for (int n = 0; n < 50; ++n) {
      const PageBytes page =
          n % 2 == 0 ? testing::RandomPage(random) : testing::MixedPage(random);
      AcompContext& context = c->Lock();
      const Result<ByteCount> length = c->Compress(context, page);
      EXPECT_TRUE(length.ok() || length.error() == ENOSPC) << c->name();
      c->Unlock(context);
    }
    c->CheckInvariants();  // of what is behind the buffers
    c->Destroy();
  }
}

// ---- requests with a source and a destination

class AcompBugs : public ::testing::Test {
 protected:
  AcompBugs() {
    Random random(34);
    for (unsigned i = 0; i < Batch::kMaxUnits; ++i) {
      pages_[i] = testing::TextPage(random);
      made_[i].fill(std::byte{0x11});
      back_[i].fill(std::byte{0x22});
    }
  }
  // Sources stay as they are, and destinations get what is theirs.
  void RoundTrip(Acomp& acomp) {
    const PageBytes* before = std::begin(pages_);
    const std::vector<PageBytes> copies(before, before + Batch::kMaxUnits);
    Batch there(AcompOp::kCompress, {&Lz4(), workspace_.get()});
    for (unsigned i = 0; i < Batch::kMaxUnits; ++i) {
      there.Add(ConstPage(pages_[i]), std::span<std::byte>(made_[i]));
    }
    acomp.Run(there);
    ASSERT_EQ(0, there.first_error());
    const std::vector<PageBytes> results(std::begin(made_), std::end(made_));
    Batch again(AcompOp::kDecompress, {&Lz4(), workspace_.get()});
    for (unsigned i = 0; i < Batch::kMaxUnits; ++i) {
      ASSERT_EQ(copies[i], pages_[i]) << "the source was written";
      ASSERT_EQ(made_[i].data(), there.result(i).data());
      again.Add(there.result(i), MutablePage(back_[i]));
    }
    acomp.Run(again);
    ASSERT_EQ(0, again.first_error());
    for (unsigned i = 0; i < Batch::kMaxUnits; ++i) {
      EXPECT_EQ(results[i], made_[i]) << "the source was written";
      EXPECT_EQ(copies[i], back_[i]);
    }
  }

  const testing::Workspace workspace_{Lz4()};
  PageBytes pages_[Batch::kMaxUnits];
  PageBytes made_[Batch::kMaxUnits];
  PageBytes back_[Batch::kMaxUnits];
};

// What was meant to set the destination of a request set its source.
TEST_F(AcompBugs, B34_SourcesAreReadAndDestinationsWritten) {
  Acomp codecs;
  ASSERT_TRUE(codecs.Init({}).ok());
  RoundTrip(codecs);
  EXPECT_TRUE(codecs.Release().ok());
}

TEST_F(AcompBugs, B34_SourcesAreReadByADeviceToo) {
  testing::EmulatedDevice::Settings settings;
  settings.codec = &Lz4();
  settings.engines = 2;
  testing::EmulatedDevice device(settings);
  Acomp offloaded;
  ASSERT_TRUE(
      offloaded.Init({.device = &device, .timeout_ns = 60'000'000'000}).ok());
  RoundTrip(offloaded);
  EXPECT_EQ(2u * Batch::kMaxUnits, offloaded.Stats().completed);
  EXPECT_TRUE(offloaded.Release().ok());
}

}  // namespace
}  // namespace uzswap
