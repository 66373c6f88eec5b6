// SPDX-License-Identifier: Apache-2.0
// A log over a storage that fails on demand, and what it should hold.
#ifndef UZSWAP_DEVICE_SEGMENT_LOG_TEST_SUPPORT_H_
#define UZSWAP_DEVICE_SEGMENT_LOG_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "device/device_test_support.h"
#include "device/segment_log.h"
#include "support/faulty_storage.h"

namespace uzswap {

using Bytes = std::vector<std::byte>;

inline Bytes ObjectOf(uint64_t seed) {
  const PageBuffer page = Pattern(seed);
  const size_t length = 200 + seed * 7919 % 1800;
  return {page.begin(), page.begin() + static_cast<ptrdiff_t>(length)};
}

// Objects of about 1100 bytes: more than 50 make a segment.
inline constexpr uint64_t kPerSegment = 56;

class SegmentLogTest : public testing::TestWithParam<Protection> {
 protected:
  void Open(uint64_t extents, size_t alignment = 1) {
    storage_ = std::make_unique<FaultyStorage>(extents, alignment);
    log_ = NewSegmentLog(storage_.get(), GetParam()).value();
  }
  ~SegmentLogTest() override {
    if (log_ == nullptr) return;
    log_->CheckInvariants();
    for (const auto& [seed, id] : kept_) log_->Free(id);
    log_->CheckInvariants();
    EXPECT_EQ(log_->used(), 0u);
    EXPECT_EQ(storage_->used(), 0u);
    log_->Destroy();
    EXPECT_TRUE(storage_->destroyed);
  }

  Status Put(uint64_t seed) {
    const Result<ObjectId> id = log_->Write(ObjectOf(seed));
    if (id.ok()) kept_[seed] = id.value();
    return id.status();
  }
  void MustPut(uint64_t first, uint64_t count) {
    for (uint64_t i = first; i < first + count; ++i) {
      ASSERT_TRUE(Put(i).ok()) << i;
    }
  }
  void Drop(uint64_t seed) {
    log_->Free(kept_.at(seed));
    kept_.erase(seed);
  }
  // 0: exactly those bytes. The error otherwise; -1: other bytes.
  int Get(uint64_t seed) {
    const Bytes expected = ObjectOf(seed);
    Bytes bytes(expected.size());
    const Status s = log_->Read(kept_.at(seed), bytes);
    if (!s.ok()) return s.error();
    return bytes == expected ? 0 : -1;
  }
  std::map<int, unsigned> GetAll() {
    std::map<int, unsigned> results;
    for (const auto& [seed, id] : kept_) ++results[Get(seed)];
    return results;
  }
  void ExpectAllRight() {
    const std::map<int, unsigned> right{
        {0, static_cast<unsigned>(kept_.size())}};
    EXPECT_EQ(GetAll(), right);
  }

  std::unique_ptr<FaultyStorage> storage_;
  Device* log_ = nullptr;
  std::map<uint64_t, ObjectId> kept_;
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_SEGMENT_LOG_TEST_SUPPORT_H_
