// SPDX-License-Identifier: Apache-2.0
// The contract of zpool.h, run against every zpool by name.
#include "zpool/zpool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "zpool/failure.h"
#include "zpool/zsmalloc.h"

namespace uzswap {
namespace {

// An object that the test knows: its bytes follow from its seed.
struct Object {
  Handle handle;
  ByteCount bytes;
  uint32_t seed;
};

std::byte PatternByte(uint32_t seed, size_t i) {
  return static_cast<std::byte>((seed * 2654435761u + i * 40503u) >> 8);
}

class ZpoolTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const Result<Zpool*> pool = CreateZpool(GetParam().c_str());
    ASSERT_TRUE(pool.ok());
    pool_ = pool.value();
  }
  void TearDown() override {
    if (pool_ == nullptr) return;
    pool_->CheckInvariants();
    pool_->Destroy();
  }

  static std::vector<std::byte> Image(uint32_t seed, ByteCount count) {
    std::vector<std::byte> bytes(count);
    for (size_t i = 0; i < count; ++i) bytes[i] = PatternByte(seed, i);
    return bytes;
  }
  void Fill(const Object& object) {
    pool_->Write(object.handle, Image(object.seed, object.bytes));
  }
  bool Intact(const Object& object) {
    const auto bytes =
        pool_->ReadBegin(object.handle, object.bytes, MutablePage(scratch_));
    bool intact = bytes.size() == object.bytes;
    for (size_t i = 0; i < bytes.size() && intact; ++i) {
      intact = bytes[i] == PatternByte(object.seed, i);
    }
    pool_->ReadEnd(object.handle);
    return intact;
  }
  bool Intact(const std::vector<Object>& objects) {
    return std::all_of(objects.begin(), objects.end(),
                       [this](const Object& o) { return Intact(o); });
  }
  Object Make(ByteCount bytes) {
    const uint32_t seed = next_seed_++;
    // Every second one in two steps.
    const Result<Handle> handle = seed % 2 == 0
                                      ? pool_->Allocate(bytes)
                                      : pool_->Store(Image(seed, bytes));
    EXPECT_TRUE(handle.ok()) << handle.error();
    const Object object{handle.value(), bytes, seed};
    if (seed % 2 == 0) Fill(object);
    return object;
  }
  void FreeAll(const std::vector<Object>& objects) {
    for (const Object& object : objects) pool_->Free(object.handle);
  }
  Object TakeRandom(std::vector<Object>& objects) {
    std::swap(objects[random_() % objects.size()], objects.back());
    const Object object = objects.back();
    objects.pop_back();
    return object;
  }

  Zpool* pool_ = nullptr;
  std::mt19937 random_{42};
  uint32_t next_seed_ = 1;
  std::byte scratch_[kPageSize];
};

TEST_P(ZpoolTest, KnowsItsName) { EXPECT_EQ(GetParam(), pool_->name()); }

TEST_P(ZpoolTest, EverySizeComesBackUnchanged) {
  std::vector<Object> objects;
  std::set<uint64_t> handles;
  for (ByteCount bytes = 1; bytes <= kPageSize; ++bytes) {
    objects.push_back(Make(bytes));
    ASSERT_NE(objects.back().handle, kNoHandle);
    ASSERT_TRUE(
        handles.insert(static_cast<uint64_t>(objects.back().handle)).second);
  }
  EXPECT_TRUE(Intact(objects));
  pool_->CheckInvariants();
  std::shuffle(objects.begin(), objects.end(), random_);
  while (!objects.empty()) {
    pool_->Free(objects.back().handle);
    objects.pop_back();
    if (objects.size() % 512 == 0) {
      pool_->CheckInvariants();
      ASSERT_TRUE(Intact(objects));
    }
  }
}

TEST_P(ZpoolTest, ImpossibleSizesAreRefusedAndChangeNothing) {
  const Object object = Make(100);
  const PageCount pages = pool_->total_pages();
  EXPECT_EQ(pool_->Allocate(0).error(), EINVAL);
  EXPECT_EQ(pool_->Store({}).error(), EINVAL);
  EXPECT_EQ(pool_->Allocate(kPageSize + 1).error(), ENOSPC);
  EXPECT_EQ(pool_->Allocate(UINT64_MAX).error(), ENOSPC);
  EXPECT_EQ(pool_->total_pages(), pages);
  EXPECT_TRUE(Intact(object));
  pool_->Free(object.handle);
}

TEST_P(ZpoolTest, AShorterWriteAndAShorterReadStayInsideTheObject) {
  const Object before = Make(300);
  const Object object = Make(300);
  const Object after = Make(300);
  const std::byte prefix[7] = {std::byte{0xa5}};
  pool_->Write(object.handle, prefix);
  const auto bytes = pool_->ReadBegin(object.handle, 7, MutablePage(scratch_));
  ASSERT_EQ(bytes.size(), 7u);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), prefix));
  pool_->ReadEnd(object.handle);
  EXPECT_TRUE(Intact(before));
  EXPECT_TRUE(Intact(after));
  FreeAll({before, object, after});
}

TEST_P(ZpoolTest, NeighboursStayIntactThroughEveryOperation) {
  std::vector<Object> objects;
  for (int step = 0; step < 1500; ++step) {
    const uint64_t dice = random_() % 100;
    if (objects.size() < 8 || (dice < 50 && objects.size() < 150)) {
      const ByteCount bytes =
          dice % 4 == 0 ? 1 + random_() % 64 : 1 + random_() % kPageSize;
      objects.push_back(Make(bytes));
    } else if (dice < 90) {
      pool_->Free(TakeRandom(objects).handle);
    } else {
      Object& object = objects[random_() % objects.size()];
      object.seed = next_seed_++;
      Fill(object);
    }
    ASSERT_TRUE(Intact(objects)) << "step " << step;
    if (step % 100 == 0) pool_->CheckInvariants();
  }
  FreeAll(objects);
}

TEST_P(ZpoolTest, AnOpenReadOutlivesFreesOfItsNeighbours) {
  std::vector<Object> objects;
  for (int i = 0; i < 400; ++i) objects.push_back(Make(500));
  const Object kept = TakeRandom(objects);
  const auto bytes =
      pool_->ReadBegin(kept.handle, kept.bytes, MutablePage(scratch_));
  std::byte other_scratch[kPageSize];
  const auto again =
      pool_->ReadBegin(kept.handle, kept.bytes, MutablePage(other_scratch));
  FreeAll(objects);
  for (size_t i = 0; i < bytes.size(); ++i) {
    ASSERT_EQ(bytes[i], PatternByte(kept.seed, i));
    ASSERT_EQ(again[i], PatternByte(kept.seed, i));
  }
  pool_->ReadEnd(kept.handle);
  pool_->ReadEnd(kept.handle);
  pool_->Free(kept.handle);
}

TEST_P(ZpoolTest, MemoryGoesBackWhenAllIsFreed) {
  for (int round = 0; round < 3; ++round) {
    std::vector<Object> objects;
    ByteCount payload = 0;
    while (payload < (16 << 20)) {
      objects.push_back(Make(1 + random_() % kPageSize));
      payload += objects.back().bytes;
    }
    EXPECT_GE(pool_->total_pages() * kPageSize, payload);
    std::shuffle(objects.begin(), objects.end(), random_);
    FreeAll(objects);
    EXPECT_LE(pool_->total_pages(), 16u);
    pool_->CheckInvariants();
  }
}

TEST_P(ZpoolTest, CompactionGivesFramesBackAndChangesNoObject) {
  std::mt19937 random(5);
  std::vector<std::pair<Handle, std::vector<std::byte>>> objects;
  for (int i = 0; i < 6000; ++i) {
    std::vector<std::byte> bytes(1 + random() % 2000);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    const Handle handle = pool_->Allocate(bytes.size()).value();
    pool_->Write(handle, bytes);
    objects.emplace_back(handle, bytes);
  }
  std::shuffle(objects.begin(), objects.end(), random);
  while (objects.size() > 2000) {
    pool_->Free(objects.back().first);
    objects.pop_back();
  }
  const PageCount before = pool_->total_pages();
  // An object that is being read stays, and its bytes with it.
  const auto& [read, text] = objects[0];
  std::byte scratch[kPageSize];
  const auto open = pool_->ReadBegin(read, text.size(), MutablePage(scratch));
  const std::byte* const at = open.data();
  PageCount gone = 0;
  while (const PageCount n = pool_->Compact(100)) gone += n;
  gone += pool_->Compact(1u << 30);
  EXPECT_EQ(pool_->total_pages(), before - gone);
  EXPECT_EQ(open.data(), at);
  EXPECT_EQ(memcmp(at, text.data(), text.size()), 0);
  pool_->ReadEnd(read);
  EXPECT_GT(gone, before / 3);
  pool_->CheckInvariants();
  for (const auto& [handle, bytes] : objects) {
    const auto got =
        pool_->ReadBegin(handle, bytes.size(), MutablePage(scratch));
    EXPECT_EQ(memcmp(got.data(), bytes.data(), bytes.size()), 0);
    pool_->ReadEnd(handle);
    pool_->Free(handle);
  }
}

TEST_P(ZpoolTest, CompactionRunsBesideEveryOtherCall) {
  std::atomic<bool> done{false};
  std::atomic<uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<std::pair<Handle, uint32_t>> objects;
      std::byte scratch[kPageSize];
      for (int step = 0; step < 20000; ++step) {
        if (objects.size() < 200 || random() % 2 == 0) {
          const uint32_t word = static_cast<uint32_t>(random());
          std::vector<uint32_t> bytes(1 + random() % 300, word);
          const Handle handle = pool_->Allocate(bytes.size() * 4).value();
          pool_->Write(handle, std::as_bytes(std::span(bytes)));
          objects.emplace_back(handle, word);
        } else {
          std::swap(objects[random() % objects.size()], objects.back());
          const auto [handle, word] = objects.back();
          objects.pop_back();
          const auto got = pool_->ReadBegin(handle, 4, MutablePage(scratch));
          wrong += memcmp(got.data(), &word, 4) != 0;
          pool_->ReadEnd(handle);
          pool_->Free(handle);
        }
      }
      for (const auto& object : objects) pool_->Free(object.first);
    });
  }
  std::thread compactor([&] {
    while (!done) (void)pool_->Compact(50);
  });
  for (std::thread& thread : threads) thread.join();
  done = true;
  compactor.join();
  EXPECT_EQ(wrong, 0u);
  pool_->CheckInvariants();
}

TEST_P(ZpoolTest, ThreadsDoNotDisturbEachOther) {
  const Object shared = Make(3000);
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 4; ++id) {
    threads.emplace_back([this, id, &shared] {
      std::mt19937 random(id);
      std::byte scratch[kPageSize];
      std::byte image[kPageSize];
      std::vector<Object> objects;
      for (uint32_t step = 0; step < 20'000; ++step) {
        if (objects.size() < 50 ||
            (random() % 2 != 0 && objects.size() < 500)) {
          const ByteCount bytes = 1 + random() % kPageSize;
          const Result<Handle> handle = pool_->Allocate(bytes);
          ASSERT_TRUE(handle.ok());
          memset(image, static_cast<int>(step), bytes);
          pool_->Write(handle.value(), {image, bytes});
          objects.push_back({handle.value(), bytes, step});
        } else {
          std::swap(objects[random() % objects.size()], objects.back());
          const Object o = objects.back();
          objects.pop_back();
          const auto b =
              pool_->ReadBegin(o.handle, o.bytes, MutablePage(scratch));
          ASSERT_TRUE(std::all_of(b.begin(), b.end(), [&o](std::byte v) {
            return v == static_cast<std::byte>(o.seed);
          }));
          pool_->ReadEnd(o.handle);
          pool_->Free(o.handle);
        }
        const auto b = pool_->ReadBegin(shared.handle, 1, MutablePage(scratch));
        ASSERT_EQ(b[0], PatternByte(shared.seed, 0));
        pool_->ReadEnd(shared.handle);
      }
      for (const Object& o : objects) pool_->Free(o.handle);
    });
  }
  for (std::thread& thread : threads) thread.join();
  pool_->CheckInvariants();
  EXPECT_TRUE(Intact(shared));
  pool_->Free(shared.handle);
  EXPECT_LE(pool_->total_pages(), 16u);
}

TEST_P(ZpoolTest, AForkedChildHasItsOwnCopy) {
  std::vector<Object> objects;
  for (int i = 0; i < 500; ++i) objects.push_back(Make(1 + random_() % 4096));
  const PageCount pages = pool_->total_pages();
  pool_->LockAll();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    pool_->ResetLocksInChild();
    pool_->CheckInvariants();
    bool good = Intact(objects) && pool_->total_pages() == pages;
    for (Object& object : objects) {
      object.seed += 1000;
      Fill(object);
    }
    good = good && Intact(objects);
    for (int i = 0; i < 250; ++i) pool_->Free(TakeRandom(objects).handle);
    for (int i = 0; i < 250; ++i) objects.push_back(Make(1 + random_() % 4096));
    good = good && Intact(objects);
    pool_->CheckInvariants();
    _exit(good ? 0 : 1);
  }
  pool_->UnlockAll();
  for (int i = 0; i < 100; ++i) pool_->Free(TakeRandom(objects).handle);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(Intact(objects));
  FreeAll(objects);
}

TEST_P(ZpoolTest, FreeingTwiceDies) {
  const Object only = Make(1000);
  pool_->Free(only.handle);
  EXPECT_DEATH(pool_->Free(only.handle), "uzswap");
  const Object object = Make(1000);
  const Object other = Make(1000);
  pool_->Free(object.handle);
  EXPECT_DEATH(pool_->Free(object.handle), "uzswap");
  pool_->Free(other.handle);
  EXPECT_DEATH(pool_->Free(other.handle), "uzswap");
  EXPECT_DEATH(pool_->Free(kNoHandle), "uzswap");
}

#ifdef UZSWAP_TEST_HOOKS
TEST_P(ZpoolTest, AnyFailedAllocationLeavesEverythingAsItWas) {
  bool failed = true;
  unsigned failures = 0;
  for (uint64_t k = 1; failed; ++k) {
    failed = false;
    pool_->Destroy();
    pool_ = CreateZpool(GetParam().c_str()).value();
    std::mt19937 random(7);
    std::vector<Object> objects;
    zpool_failure::FailNth(k);
    for (int step = 0; step < 1200; ++step) {
      if (step % 5 == 4) {
        pool_->Free(TakeRandom(objects).handle);
        continue;
      }
      const ByteCount bytes = step % 3 == 0 ? 8 : 1 + random() % kPageSize;
      const PageCount pages = pool_->total_pages();
      const Result<Handle> handle = pool_->Allocate(bytes);
      if (!handle.ok()) {
        ASSERT_FALSE(failed);
        ASSERT_EQ(handle.error(), ENOMEM);
        ASSERT_EQ(pool_->total_pages(), pages);
        pool_->CheckInvariants();
        ASSERT_TRUE(Intact(objects));
        failed = true;
        ++failures;
        --step;
        continue;
      }
      objects.push_back({handle.value(), bytes, next_seed_++});
      Fill(objects.back());
    }
    ASSERT_TRUE(Intact(objects));
    FreeAll(objects);
    pool_->CheckInvariants();
    ASSERT_LE(pool_->total_pages(), 16u);
  }
  zpool_failure::FailNth(0);
  EXPECT_GT(failures, 200u);
}
#endif

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (unsigned i = 0; ZpoolName(i) != nullptr; ++i) {
    names.emplace_back(ZpoolName(i));
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, ZpoolTest, testing::ValuesIn(AllNames()),
                         [](const auto& info) { return info.param; });
#ifndef __SANITIZE_THREAD__  // slow, and the locks are those of the default
INSTANTIATE_TEST_SUITE_P(Chains, ZpoolTest,
                         testing::Values("zsmalloc:4", "zsmalloc:16",
                                         "zsmalloc:64"),
                         [](const auto& info) {
                           return "Chain" + info.param.substr(9);
                         });
#endif

TEST(ZpoolTable, KnowsItsOwnNamesAndNoOthers) {
  for (const std::string& name : AllNames()) {
    EXPECT_EQ(FindZpool(name.c_str()).value(), name);
  }
  EXPECT_FALSE(AllNames().empty());
  for (const char* name : {"", "zsmallo", "zsmalloc2", "nothing"}) {
    EXPECT_EQ(FindZpool(name).error(), ENOENT);
    EXPECT_EQ(CreateZpool(name).error(), ENOENT);
  }
}

TEST(ZpoolTable, OneNameForEachChain) {
  const auto name = [](const char* given) {
    return std::string(FindZpool(given).value());
  };
  EXPECT_EQ(name("zsmalloc:16"), "zsmalloc:16");
  EXPECT_EQ(name("zsmalloc:0016"), "zsmalloc:16");
  EXPECT_EQ(name("zsmalloc:4"), "zsmalloc:4");
  const std::string usual = "zsmalloc:" + std::to_string(kZsmallocChain);
  EXPECT_EQ(name(usual.c_str()), "zsmalloc");
}

TEST(ZpoolTable, RefusesWhatIsNoChain) {
  for (const char* name :
       {"zsmalloc:", "zsmalloc:3", "zsmalloc:65", "zsmalloc:-8", "zsmalloc:8 ",
        "zsmalloc:x", "zsmalloc:8:8", "zsmalloc:99999999999999999999", "zbud:8",
        "z3fold:"}) {
    EXPECT_EQ(FindZpool(name).error(), EINVAL) << name;
    EXPECT_EQ(CreateZpool(name).error(), EINVAL) << name;
  }
}

}  // namespace
}  // namespace uzswap
