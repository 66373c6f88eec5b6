// SPDX-License-Identifier: Apache-2.0
// Batches done by codecs, and the rules for groups. Devices: offload_test.cc.
#include "compress/acomp.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "compress/builtin.h"
#include "compress/offload_test_support.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::GuardedMemory;
using testing::PageBytes;
using testing::Random;
using testing::SamplePage;
using testing::Workspace;

constexpr unsigned kMax = Batch::kMaxUnits;

const uzswap_compressor& Plugin(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

// A codec that fails at chosen calls, counts them, and says any length.
struct {
  unsigned calls = 0;
  std::map<unsigned, int> errors;  // call number: error
  size_t produced = 10;
} fake;

constexpr uzswap_compressor kFake = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "fake",
    .workspace_size = [](int) { return size_t{0}; },
    .init = [](void*, size_t, int) { return 0; },
    .compress =
        [](void*, const void* from, size_t, void* to, size_t,
           size_t* produced) {
          *produced = fake.produced;
          memcpy(to, from, 10);
          const auto found = fake.errors.find(fake.calls++);
          return found == fake.errors.end() ? 0 : found->second;
        },
    .decompress =
        [](void*, const void* from, size_t, void* to, size_t bytes) {
          memcpy(to, from, 1);
          memset(static_cast<char*>(to) + 1, 0, bytes - 1);
          const auto found = fake.errors.find(fake.calls++);
          return found == fake.errors.end() ? 0 : found->second;
        },
};
const SyncCodec kFakeCodec{&kFake, nullptr};

class AcompTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fake = {};
    ASSERT_TRUE(acomp_.Init({}).ok());
    for (unsigned i = 0; i < kMax; ++i) {
      pages_[i].fill(static_cast<std::byte>(i + 1));
    }
  }
  void TearDown() override { EXPECT_TRUE(acomp_.Release().ok()); }

  void AddPages(Batch& batch, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      batch.Add(ConstPage(pages_[i]), std::span<std::byte>(buffers_[i]));
    }
  }

  Acomp acomp_;
  PageBytes pages_[kMax];
  PageBytes buffers_[kMax];
};

TEST_F(AcompTest, B33_CodecsFinishInSubmit) {
  for (unsigned n = 1; n <= kMax; ++n) {
    fake = {};
    Batch batch(AcompOp::kCompress, kFakeCodec);
    AddPages(batch, n);
    EXPECT_EQ(EINPROGRESS, batch.first_error());
    batch.CheckInvariants();
    EXPECT_TRUE(acomp_.Submit(batch).ok());
    batch.CheckInvariants();
    EXPECT_TRUE(batch.done());
    EXPECT_TRUE(acomp_.Poll(batch).ok());
    acomp_.Wait(batch);
    EXPECT_EQ(n, fake.calls) << "each unit is done exactly once";
    EXPECT_EQ(0, batch.first_error());
    for (unsigned i = 0; i < n; ++i) {
      ASSERT_EQ(10u, batch.result(i).size());
      EXPECT_EQ(buffers_[i].data(), batch.result(i).data());
      EXPECT_EQ(std::byte(i + 1), batch.result(i)[0]) << "its own source";
    }
  }
  EXPECT_FALSE(acomp_.has_device());
  EXPECT_EQ(0u, acomp_.metadata_bytes());
}

TEST_F(AcompTest, PagesOfEveryCodecRoundTripInBatches) {
  const std::vector<SamplePage> samples = testing::SamplePages(7);
  for (const char* name : {"lz4", "zstd", "copy"}) {
    const Workspace workspace(Plugin(name));
    const SyncCodec codec{&Plugin(name), workspace.get()};
    for (size_t first = 0; first < samples.size(); first += kMax) {
      const auto n =
          static_cast<unsigned>(std::min(size_t{kMax}, samples.size() - first));
      Batch batch(AcompOp::kCompress, codec);
      for (unsigned i = 0; i < n; ++i) {
        batch.Add(ConstPage(samples[first + i].bytes),
                  std::span<std::byte>(buffers_[i]));
      }
      acomp_.Run(batch);
      Batch back(AcompOp::kDecompress, codec);
      std::vector<unsigned> which;
      for (unsigned i = 0; i < n; ++i) {
        if (batch.error(i) == ENOSPC) continue;
        ASSERT_EQ(0, batch.error(i)) << name << samples[first + i].kind;
        back.Add(batch.result(i), MutablePage(pages_[i]));
        which.push_back(i);
      }
      if (which.empty()) continue;
      acomp_.Run(back);
      EXPECT_EQ(0, back.first_error());
      back.CheckInvariants();
      for (const unsigned i : which) {
        EXPECT_EQ(samples[first + i].bytes, pages_[i]);
      }
    }
  }
}

TEST_F(AcompTest, AFailureStaysWithItsUnit) {
  for (unsigned bad = 0; bad < kMax; ++bad) {
    for (const auto& [said, told] : std::map<int, int>{
             {ENOSPC, ENOSPC}, {EINVAL, EINVAL}, {EIO, EINVAL}}) {
      fake = {};
      fake.errors[bad] = said;
      Batch batch(AcompOp::kCompress, kFakeCodec);
      AddPages(batch, kMax);
      acomp_.Run(batch);
      batch.CheckInvariants();
      EXPECT_EQ(told, batch.first_error());
      for (unsigned i = 0; i < kMax; ++i) {
        EXPECT_EQ(i == bad ? told : 0, batch.error(i)) << i;
      }
    }
  }
}

TEST_F(AcompTest, ADamagedSourceFailsAlone) {
  for (unsigned bad = 0; bad < kMax; ++bad) {
    fake = {};
    fake.errors[bad] = EINVAL;
    Batch batch(AcompOp::kDecompress, kFakeCodec);
    for (unsigned i = 0; i < kMax; ++i) {
      batch.Add(std::span<const std::byte>(pages_[i]).first(5),
                MutablePage(buffers_[i]));
    }
    acomp_.Run(batch);
    for (unsigned i = 0; i < kMax; ++i) {
      EXPECT_EQ(i == bad ? EIO : 0, batch.error(i));
      if (i != bad) {
        EXPECT_EQ(kPageSize, batch.result(i).size());
      }
    }
  }
  fake = {};
  Batch empty(AcompOp::kDecompress, kFakeCodec);
  empty.Add(std::span<const std::byte>(), MutablePage(buffers_[0]));
  acomp_.Run(empty);
  EXPECT_EQ(EIO, empty.error(0));
  EXPECT_EQ(0u, fake.calls) << "no codec sees an empty source";
}

TEST_F(AcompTest, LengthsThatAreNoCompressionAreRefused) {
  for (const auto& [produced, error] :
       std::map<size_t, int>{{0, ENOSPC},
                             {1, 0},
                             {kPageSize - 1, 0},
                             {kPageSize, ENOSPC},
                             {kPageSize + 1, ENOSPC}}) {
    fake.produced = produced;
    Batch batch(AcompOp::kCompress, kFakeCodec);
    AddPages(batch, 1);
    acomp_.Run(batch);
    EXPECT_EQ(error, batch.error(0)) << produced;
  }
  // Longer than the room it was given.
  fake.produced = 11;
  Batch batch(AcompOp::kCompress, kFakeCodec);
  batch.Add(ConstPage(pages_[0]), std::span<std::byte>(buffers_[0]).first(10));
  acomp_.Run(batch);
  EXPECT_EQ(ENOSPC, batch.error(0));
}

TEST_F(AcompTest, B30_NothingIsWrittenBehindTheRoom) {
  Random random(3);
  for (const char* name : {"lz4", "zstd", "copy"}) {
    const Workspace workspace(Plugin(name));
    GuardedMemory memory(kPageSize);
    for (size_t room = 1; room <= kPageSize; room += 1 + random() % 300) {
      Batch batch(AcompOp::kCompress, {&Plugin(name), workspace.get()});
      const PageBytes page = testing::RandomPage(random);
      batch.Add(ConstPage(page),
                std::span<std::byte>(memory.AtEnd(room), room));
      acomp_.Run(batch);
      EXPECT_EQ(ENOSPC, batch.error(0)) << name << room;
    }
  }
}

TEST_F(AcompTest, ADestroyedBatchWasNeverRun) {
  {
    Batch batch(AcompOp::kCompress, kFakeCodec);
    AddPages(batch, 3);
  }
  EXPECT_EQ(0u, fake.calls);
  Batch batch(AcompOp::kCompress, kFakeCodec);
  AddPages(batch, 3);
  batch.Cancel();
  batch.CheckInvariants();
  EXPECT_TRUE(batch.done());
  EXPECT_EQ(ECANCELED, batch.first_error());
  EXPECT_EQ(0u, fake.calls);
}

// ---- groups: a store that publishes what a verdict lets it

struct ToyStore {
  // Stores one folio; false: it stores nothing of it.
  bool StoreFolio(Acomp& acomp, const std::vector<PageBytes>& folio,
                  bool raw_allowed) {
    const Status s =
        ForEachGroup(folio.size(), [&](PageCount first, unsigned n) {
          return StoreGroup(acomp, &folio[first], first, n, raw_allowed);
        });
    if (!s.ok()) objects.clear();  // groups before it are visible already
    return s.ok();
  }
  Status StoreGroup(Acomp& acomp, const PageBytes* pages, PageCount first,
                    unsigned n, bool raw_allowed) {
    PageBytes buffers[kMax];
    Batch batch(AcompOp::kCompress, kFakeCodec);
    for (unsigned i = 0; i < n; ++i) {
      batch.Add(ConstPage(pages[i]), std::span<std::byte>(buffers[i]));
    }
    acomp.Run(batch);
    ++groups;
    const GroupVerdict verdict = JudgeGroup(batch, raw_allowed);
    incompressible += verdict.incompressible;
    failed += verdict.failed;
    if (!verdict.keep) return Status::Error(EINVAL);
    for (unsigned i = 0; i < n; ++i) {
      const auto bytes = ContentToKeep(batch, i, ConstPage(pages[i]));
      objects[first + i].assign(bytes.begin(), bytes.end());
    }
    return kOk;
  }
  std::map<PageCount, std::vector<std::byte>> objects;
  unsigned groups = 0, incompressible = 0, failed = 0;
};

TEST_F(AcompTest, B38_AGroupIsKeptWholeOrNotAtAll) {
  const std::vector<PageBytes> folio(pages_, pages_ + kMax);
  for (unsigned bad = 0; bad < kMax; ++bad) {
    for (const int error : {ENOSPC, EINVAL}) {
      for (const bool raw_allowed : {false, true}) {
        fake = {};
        fake.errors[bad] = error;
        ToyStore store;
        EXPECT_EQ(raw_allowed, store.StoreFolio(acomp_, folio, raw_allowed));
        EXPECT_EQ(error == ENOSPC ? 1u : 0u, store.incompressible);
        EXPECT_EQ(error == ENOSPC ? 0u : 1u, store.failed);
        ASSERT_EQ(raw_allowed ? kMax : 0u, store.objects.size());
        if (!raw_allowed) continue;
        for (unsigned i = 0; i < kMax; ++i) {
          ASSERT_EQ(i == bad ? kPageSize : 10u, store.objects[i].size());
          EXPECT_TRUE(std::equal(store.objects[i].begin(),
                                 store.objects[i].end(), pages_[i].begin()));
        }
      }
    }
  }
}

TEST_F(AcompTest, B38_AFolioIsCutIntoGroupsUpToTheFirstThatFails) {
  for (unsigned pages = 1; pages <= 3 * kMax; ++pages) {
    const std::vector<PageBytes> folio(pages, pages_[0]);
    fake = {};
    ToyStore store;
    EXPECT_TRUE(store.StoreFolio(acomp_, folio, false));
    EXPECT_EQ((pages + kMax - 1) / kMax, store.groups);
    EXPECT_EQ(pages, store.objects.size());
    EXPECT_EQ(pages, fake.calls);
    for (unsigned bad = 0; bad < pages; ++bad) {
      fake = {};
      fake.errors[bad] = ENOSPC;
      ToyStore failing;
      EXPECT_FALSE(failing.StoreFolio(acomp_, folio, false));
      EXPECT_EQ(bad / kMax + 1, failing.groups);
      EXPECT_EQ(1u, failing.incompressible);
      EXPECT_TRUE(failing.objects.empty());
    }
  }
  EXPECT_TRUE(
      ForEachGroup(0, [](PageCount, unsigned) { return Status::Error(EIO); })
          .ok())
      << "no pages, no group";
}

// ---- what only a programmer can do

using AcompDeathTest = AcompTest;

TEST_F(AcompDeathTest, MisuseDies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Batch full(AcompOp::kCompress, kFakeCodec);
  AddPages(full, kMax);
  EXPECT_DEATH(AddPages(full, 1), "size_ < kMaxUnits");
  Batch empty(AcompOp::kCompress, kFakeCodec);
  EXPECT_DEATH(acomp_.Submit(empty).Ignore(), "size_ > 0");
  EXPECT_DEATH(empty.Add(std::span<const std::byte>(pages_[0]).first(1),
                         MutablePage(buffers_[0])),
               "kDecompress");
  EXPECT_DEATH(JudgeGroup(full, true), "done");
  Batch failed(AcompOp::kCompress, kFakeCodec);
  AddPages(failed, 1);
  fake.errors[0] = EINVAL;
  acomp_.Run(failed);
  EXPECT_DEATH(failed.result(0), "error == 0");
  EXPECT_DEATH(AddPages(failed, 1), "owner_ == nullptr");
}

}  // namespace
}  // namespace uzswap
