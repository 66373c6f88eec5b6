// SPDX-License-Identifier: Apache-2.0
// For tests of zbud and z3fold: objects with known bytes and guards at both
// ends, where they lie, and a full scan of the pool after every step.
#ifndef UZSWAP_ZPOOL_FOLD_TEST_SUPPORT_H_
#define UZSWAP_ZPOOL_FOLD_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <span>
#include <vector>

#include "zpool/chunk_pool.h"
#include "zpool/failure.h"
#include "zpool/fold_hooks.h"
#include "zpool/zpool.h"

namespace uzswap {

// An object of the test. Its first and last bytes are guards.
struct FoldObject {
  Handle handle = kNoHandle;
  ByteCount bytes = 0;
  uint8_t seed = 0;
};

inline std::vector<std::byte> FoldImage(const FoldObject& object) {
  std::vector<std::byte> image(object.bytes);
  for (size_t i = 0; i < image.size(); ++i) {
    image[i] = static_cast<std::byte>(object.seed + i * 7);
  }
  for (size_t i = 0; i < std::min<size_t>(8, image.size()); ++i) {
    image[i] = image[image.size() - 1 - i] = std::byte{0xc5};
  }
  return image;
}

// pre: the pool is destroyed by the fixture.
class FoldTest : public testing::Test {
 protected:
  explicit FoldTest(const char* zpool) : pool_(CreateZpool(zpool).value()) {}
  ~FoldTest() override {
#ifdef UZSWAP_TEST_HOOKS
    fold_hooks::hooks = {};
    zpool_failure::FailNth(0);
#endif
    pool_->CheckInvariants();
    pool_->Destroy();
  }

  FoldObject Make(ByteCount bytes) {
    const FoldObject object{pool_->Allocate(bytes).value(), bytes, ++seed_};
    pool_->Write(object.handle, FoldImage(object));
    pool_->CheckInvariants();
    return object;
  }
  FoldObject MakeChunks(unsigned chunks) { return Make(chunks * kChunkSize); }
  std::vector<FoldObject> MakeMany(unsigned count, unsigned chunks) {
    std::vector<FoldObject> objects;
    for (unsigned i = 0; i < count; ++i) objects.push_back(MakeChunks(chunks));
    return objects;
  }
  void Free(const FoldObject& object) {
    EXPECT_TRUE(Intact(object));
    pool_->Free(object.handle);
    pool_->CheckInvariants();
  }
  void FreeAll(const std::vector<FoldObject>& objects) {
    for (const FoldObject& object : objects) Free(object);
  }
  bool Intact(const FoldObject& object) {
    const auto bytes =
        pool_->ReadBegin(object.handle, object.bytes, MutablePage(scratch_));
    const bool same =
        memcmp(bytes.data(), FoldImage(object).data(), object.bytes) == 0;
    pool_->ReadEnd(object.handle);
    return same;
  }
  bool Intact(const std::vector<FoldObject>& objects) {
    for (const FoldObject& object : objects) {
      if (!Intact(object)) return false;
    }
    return true;
  }
  uintptr_t AddressOf(const FoldObject& object) {
    const auto bytes =
        pool_->ReadBegin(object.handle, 1, MutablePage(scratch_));
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    pool_->ReadEnd(object.handle);
    return address;
  }
  uintptr_t PageOf(const FoldObject& object) {
    return PageFloor(AddressOf(object));
  }
  unsigned ChunkOf(const FoldObject& object) {
    return AddressOf(object) % kPageSize >> kChunkShift;
  }
  size_t PagesOf(const std::vector<FoldObject>& objects) {
    std::set<uintptr_t> pages;
    for (const FoldObject& object : objects) pages.insert(PageOf(object));
    return pages.size();
  }
  void OpenRead(const FoldObject& object) {
    (void)pool_->ReadBegin(object.handle, 1, MutablePage(scratch_));
  }
  void CloseRead(const FoldObject& object) { pool_->ReadEnd(object.handle); }

  Zpool* const pool_;
  uint8_t seed_ = 0;
  std::byte scratch_[kPageSize];
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_FOLD_TEST_SUPPORT_H_
