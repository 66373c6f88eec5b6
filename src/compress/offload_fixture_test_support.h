// SPDX-License-Identifier: Apache-2.0
// For tests only: eight pages, their destinations, a codec that counts its
// calls, and an emulated device. The test runs the device's jobs by hand unless
// it sets engines.
#ifndef UZSWAP_COMPRESS_OFFLOAD_FIXTURE_TEST_SUPPORT_H_
#define UZSWAP_COMPRESS_OFFLOAD_FIXTURE_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <memory>

#include "compress/acomp.h"
#include "compress/builtin.h"
#include "compress/offload_test_support.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap::testing {

inline constexpr unsigned kMax = Batch::kMaxUnits;
inline constexpr uint64_t kLong = 60'000'000'000;
inline constexpr uint64_t kShort = 1'000'000;

inline const uzswap_compressor& Lz4() {
  registry::RegisterBuiltins();
  return *registry::Find("lz4", nullptr).value();
}

// How often the codec of the submitter (not the device's) was asked.
inline unsigned codec_calls = 0;
inline const uzswap_compressor kCounting = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "counting",
    .workspace_size = Lz4().workspace_size,
    .init = Lz4().init,
    .compress =
        [](void* w, const void* from, size_t n, void* to, size_t room,
           size_t* produced) {
          ++codec_calls;
          return Lz4().compress(w, from, n, to, room, produced);
        },
    .decompress =
        [](void* w, const void* from, size_t n, void* to, size_t bytes) {
          ++codec_calls;
          return Lz4().decompress(w, from, n, to, bytes);
        },
};

class OffloadTest : public ::testing::Test {
 protected:
  OffloadTest() {
    codec_calls = 0;
    settings_.codec = &Lz4();
    config_.timeout_ns = kLong;
    config_.busy_ns = kLong;
    Random random(11);
    for (PageBytes& page : pages_) page = TextPage(random);
    for (PageBytes& buffer : buffers_) buffer.fill(std::byte{0x77});
  }
  void Start() {
    device_ = std::make_unique<EmulatedDevice>(settings_);
    config_.device = device_.get();
    ASSERT_TRUE(acomp_.Init(config_).ok());
  }
  void TearDown() override {
    if (device_ == nullptr || !acomp_.has_device()) return;
    acomp_.CheckInvariants(/*idle=*/true);
    EXPECT_TRUE(acomp_.Release().ok());
  }

  SyncCodec codec() { return {&kCounting, workspace_.get()}; }
  void Add(Batch& batch, unsigned count = kMax) {
    for (unsigned i = 0; i < count; ++i) {
      batch.Add(ConstPage(pages_[i]), std::span<std::byte>(buffers_[i]));
    }
  }
  // Unit i holds page i, whoever compressed it.
  void ExpectPage(const Batch& batch, unsigned i) {
    ASSERT_EQ(0, batch.error(i)) << i;
    PageBytes back;
    const std::span<const std::byte> made = batch.result(i);
    ASSERT_EQ(0, Lz4().decompress(workspace_.get(), made.data(), made.size(),
                                  back.data(), back.size()));
    EXPECT_EQ(pages_[i], back) << i;
  }
  void ExpectPages(const Batch& batch) {
    ASSERT_TRUE(batch.done());
    batch.CheckInvariants();
    for (unsigned i = 0; i < batch.size(); ++i) ExpectPage(batch, i);
  }
  bool Untouched(unsigned i) const {
    for (const std::byte b : buffers_[i]) {
      if (b != std::byte{0x77}) return false;
    }
    return true;
  }

  EmulatedDevice::Settings settings_;
  AcompConfig config_;
  std::unique_ptr<EmulatedDevice> device_;
  Acomp acomp_;
  const Workspace workspace_{Lz4()};
  PageBytes pages_[kMax];
  PageBytes buffers_[kMax];
};

}  // namespace uzswap::testing

#endif  // UZSWAP_COMPRESS_OFFLOAD_FIXTURE_TEST_SUPPORT_H_
