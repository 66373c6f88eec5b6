// SPDX-License-Identifier: Apache-2.0
#include "compress/compressor.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/os.h"
#include "compress/builtin.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::PageBytes;
using testing::Random;
using testing::SamplePage;

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

const uzswap_compressor& Plugin(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

Compressor* Make(const uzswap_compressor& plugin, int level = kDefault) {
  return Compressor::Create(plugin, {.level = level}).value();
}

// A plug-in that does what a test tells it, and dies if two threads ever use
// one workspace at a time.
struct FakeWorkspace {
  std::atomic<int> users;
  bool initialised;
};
struct {
  int init_error = 0;
  int compress_error = 0;
  int decompress_error = 0;
  size_t produced = 8;
  size_t overrun_buffer = 0;     // bytes written behind the destination
  size_t overrun_workspace = 0;  // bytes written behind the workspace
} fake;

struct OneUser {
  explicit OneUser(void* w) : workspace(static_cast<FakeWorkspace*>(w)) {
    CHECK(workspace->initialised);
    CHECK(workspace->users.fetch_add(1) == 0);
  }
  ~OneUser() { CHECK(workspace->users.fetch_sub(1) == 1); }
  FakeWorkspace* workspace;
};

constexpr uzswap_compressor kFake = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "fake",
    .workspace_size = [](int) { return sizeof(FakeWorkspace); },
    .init =
        [](void* w, size_t bytes, int) {
          for (size_t i = 0; i < bytes; ++i) {
            CHECK(static_cast<std::byte*>(w)[i] == std::byte{0});
          }
          if (fake.init_error == 0) {
            static_cast<FakeWorkspace*>(w)->initialised = true;
          }
          return fake.init_error;
        },
    .compress =
        [](void* w, const void*, size_t bytes, void* to, size_t room,
           size_t* produced) {
          OneUser user(w);
          CHECK(bytes == kPageSize && room == kPageSize);
          memset(static_cast<char*>(to) + room, 1, fake.overrun_buffer);
          memset(static_cast<void*>(user.workspace + 1), 1,
                 fake.overrun_workspace);
          *produced = fake.produced;
          return fake.compress_error;
        },
    .decompress =
        [](void* w, const void*, size_t, void*, size_t bytes) {
          OneUser user(w);
          CHECK(bytes == kPageSize);
          return fake.decompress_error;
        },
};

class CompressorTest : public ::testing::Test {
 protected:
  void SetUp() override { fake = {}; }
  void TearDown() override { sched_setaffinity(0, sizeof(all_), &all_); }
  // Where it was put, or false if that CPU is not ours to use.
  static bool RunOn(unsigned cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0 &&
           os::CurrentCpu() == cpu;
  }

  cpu_set_t all_ = [] {
    cpu_set_t set;
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
};

// False if a page came back as another one. Counts the pages it kept.
bool RoundTrip(Compressor& c, const PageBytes& page, int* kept) {
  AcompContext& context = c.Lock();
  const Result<ByteCount> n = c.Compress(context, page);
  bool good = n.ok() || n.error() == ENOSPC;
  if (n.ok()) {
    // As the zpool does: the content leaves the context before it is read.
    std::array<std::byte, kPageSize> stored;
    memcpy(stored.data(), context.buffers[0], n.value());
    c.Unlock(context);
    PageBytes back;
    AcompContext& second = c.Lock();
    good = c.Decompress(second, {stored.data(), n.value()}, back).ok() &&
           back == page;
    c.Unlock(second);
    ++*kept;
  } else {
    c.Unlock(context);
  }
  return good;
}

TEST_F(CompressorTest, PagesComeBackThroughEveryCodec) {
  for (const char* name : {"lz4", "zstd", "copy"}) {
    Compressor* c = Make(Plugin(name));
    EXPECT_STREQ(name, c->name());
    int kept = 0;
    for (const SamplePage& page : testing::SamplePages(1)) {
      EXPECT_TRUE(RoundTrip(*c, page.bytes, &kept)) << name << page.kind;
    }
    EXPECT_GT(kept, 30) << name;
    c->CheckInvariants();
    c->Destroy();
  }
}

TEST_F(CompressorTest, FourThreadsUseEveryCodecAtOnce) {
  const std::vector<SamplePage> pages = testing::SamplePages(2);
  for (const char* name : {"lz4", "zstd", "copy"}) {
    Compressor* c = Make(Plugin(name));
    std::atomic<int> bad{0};
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        Random random(t);
        int kept = 0;
        for (int i = 0; i < 3000; ++i) {
          const PageBytes& page = pages[random() % pages.size()].bytes;
          if (!RoundTrip(*c, page, &kept)) ++bad;
        }
      });
    }
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(0, bad.load()) << name;
    c->CheckInvariants();
    c->Destroy();
  }
}

TEST_F(CompressorTest, NoWorkspaceEverHasTwoUsers) {
  Compressor* c = Make(kFake);
  std::vector<std::thread> threads;
  const PageBytes page = {};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50000; ++i) {
        AcompContext& context = c->Lock();
        EXPECT_TRUE(c->Compress(context, page).ok());
        c->Unlock(context);
      }
    });
  }
  for (std::thread& t : threads) t.join();
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorTest, OnlyShorterThanAPageIsCompressed) {
  Compressor* c = Make(kFake);
  AcompContext& context = c->Lock();
  const PageBytes page = {};
  const auto error = [&](int plugin_error, size_t produced) {
    fake.compress_error = plugin_error;
    fake.produced = produced;
    return c->Compress(context, page).error();
  };
  EXPECT_EQ(0, error(0, 1));
  EXPECT_EQ(0, error(0, kPageSize - 1));
  EXPECT_EQ(ENOSPC, error(0, 0));
  EXPECT_EQ(ENOSPC, error(0, kPageSize));
  EXPECT_EQ(ENOSPC, error(0, kPageSize + 1));
  EXPECT_EQ(ENOSPC, error(ENOSPC, 8));
  EXPECT_EQ(EINVAL, error(EINVAL, 8));
  EXPECT_EQ(EINVAL, error(EIO, 8));
  EXPECT_EQ(EINVAL, error(-1, 8));
  c->Unlock(context);
  c->Destroy();
}

TEST_F(CompressorTest, WhateverDecompressSaysIsEIO) {
  Compressor* c = Make(kFake);
  AcompContext& context = c->Lock();
  PageBytes page;
  const std::byte some[8] = {};
  for (const int error : {EIO, EINVAL, ENOSPC, -1}) {
    fake.decompress_error = error;
    EXPECT_EQ(EIO, c->Decompress(context, some, page).error());
  }
  fake.decompress_error = 0;
  EXPECT_TRUE(c->Decompress(context, some, page).ok());
  EXPECT_EQ(EIO, c->Decompress(context, {}, page).error());
  c->Unlock(context);
  c->Destroy();
}

TEST_F(CompressorTest, CreateReportsWhatInitSays) {
  EXPECT_EQ(EINVAL, Compressor::Create(Plugin("lz4"), {.level = 0}).error());
  EXPECT_EQ(EINVAL, Compressor::Create(Plugin("zstd"), {.level = 99}).error());
  fake.init_error = ENOMEM;
  EXPECT_EQ(ENOMEM, Compressor::Create(kFake, {.level = 1}).error());
  uzswap_compressor huge = kFake;
  huge.workspace_size = [](int) { return ~size_t{0} / 2; };
  EXPECT_EQ(ENOMEM, Compressor::Create(huge, {.level = 1}).error());
}

TEST_F(CompressorTest, ABusyContextIsPassedBy) {
  ASSERT_TRUE(RunOn(os::CurrentCpu()));
  Compressor* c = Make(Plugin("lz4"));
  AcompContext& own = c->Lock();
  AcompContext& spare = c->Lock();
  EXPECT_NE(&own, &spare);
  EXPECT_NE(own.workspace, spare.workspace);
  EXPECT_NE(own.buffers[0], spare.buffers[0]);
  EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(&own) % kCacheLine);
  c->Unlock(own);
  AcompContext& again = c->Lock();
  EXPECT_EQ(&own, &again);
  c->Unlock(spare);
  c->Unlock(again);
  c->Destroy();
}

TEST_F(CompressorTest, WhenAllInUseAreBusyOneWaits) {
  if (os::CpuCount() < 2) GTEST_SKIP() << "one CPU";
  ASSERT_TRUE(RunOn(os::CurrentCpu()));
  Compressor* c = Make(Plugin("lz4"));
  AcompContext& own = c->Lock();
  AcompContext& spare = c->Lock();
  const ByteCount before = c->metadata_bytes();
  std::atomic<bool> entered{false};
  std::thread third([&] {  // inherits the CPU
    AcompContext& mine = c->Lock();
    EXPECT_EQ(&own, &mine);
    entered = true;
    c->Unlock(mine);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(entered);
  c->Unlock(own);
  third.join();
  // The other CPUs' contexts were left alone.
  EXPECT_EQ(before, c->metadata_bytes());
  c->Unlock(spare);
  c->Destroy();
}

ByteCount Resident(const std::byte* from, ByteCount bytes) {
  std::vector<unsigned char> pages(bytes / kPageSize);
  EXPECT_EQ(0, mincore(const_cast<std::byte*>(from), bytes, pages.data()));
  return kPageSize *
         static_cast<ByteCount>(std::count(pages.begin(), pages.end(), 1));
}

TEST_F(CompressorTest, UnusedContextsCostWhatSettingUpWrote) {
  if (CPU_COUNT(&all_) < 2) GTEST_SKIP() << "one CPU";
  if (!RunOn(1) || !RunOn(0)) GTEST_SKIP() << "not all CPUs are ours";
  ASSERT_EQ(0, sched_setaffinity(0, sizeof(all_), &all_));
  ASSERT_TRUE(cpuhp::Refresh().ok());
  Compressor* c = Make(Plugin("zstd"));
  const ByteCount before = c->metadata_bytes();
  std::byte* frames[2];
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    AcompContext& context = c->LockOn(cpu);
    frames[cpu] = context.buffers[0];
    c->Unlock(context);
  }
  const auto stride = static_cast<ByteCount>(frames[1] - frames[0]);
  const ByteCount set_up = Resident(frames[1], stride);
  EXPECT_GT(set_up, 0u);
  EXPECT_LE(set_up, 5 * kPageSize);
  EXPECT_EQ(before + 2 * (stride - set_up), c->metadata_bytes());

  ASSERT_TRUE(RunOn(0));
  int kept = 0;
  Random random(5);
  ASSERT_TRUE(RoundTrip(*c, testing::TextPage(random), &kept));
  EXPECT_GT(Resident(frames[0], stride), set_up);
  EXPECT_EQ(set_up, Resident(frames[1], stride));
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorTest, LockAllWaitsForUsersAndHoldsOffNewOnes) {
  Compressor* c = Make(Plugin("lz4"));
  AcompContext& context = c->Lock();
  std::atomic<bool> closed{false};
  std::thread closer([&] {
    c->LockAll();
    closed = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(closed);
  c->Unlock(context);
  closer.join();
  EXPECT_TRUE(closed);

  std::atomic<int> entered{0};
  std::vector<std::thread> users;
  for (int i = 0; i < 4; ++i) {
    users.emplace_back([&] {
      AcompContext& mine = c->Lock();
      ++entered;
      c->Unlock(mine);
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(0, entered);
  c->UnlockAll();
  for (std::thread& t : users) t.join();
  EXPECT_EQ(4, entered);
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorTest, ChildrenOfBusyProcessesCompress) {
  Compressor* c = Make(Plugin("zstd"));
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  Random random(3);
  const PageBytes page = testing::TextPage(random);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      int kept = 0;
      while (!stop) EXPECT_TRUE(RoundTrip(*c, page, &kept));
    });
  }
  for (int i = 0; i < 20; ++i) {
    c->LockAll();
    const pid_t child = fork();
    if (child == 0) {
      lockdep::ResetThread();
      c->ResetLocksInChild();
      int kept = 0;
      _exit(RoundTrip(*c, page, &kept) && kept == 1 ? 0 : 1);
    }
    c->UnlockAll();
    int status = -1;
    ASSERT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
  stop = true;
  for (std::thread& t : threads) t.join();
  c->Destroy();
}

using CompressorDeathTest = CompressorTest;

TEST_F(CompressorDeathTest, B30_AnOverrunOfAnyBufferIsFound) {
  for (size_t* overrun : {&fake.overrun_buffer, &fake.overrun_workspace}) {
    for (const unsigned buffer : {0u, 3u, kMaxBatch - 1}) {
      Compressor* c = Compressor::Create(kFake, {.buffers = kMaxBatch}).value();
      *overrun = 1;
      AcompContext& context = c->Lock();
      EXPECT_TRUE(c->CompressInto(context, PageBytes{}, buffer).ok());
      c->Unlock(context);
      EXPECT_DEATH(c->CheckInvariants(), "AllZero");
      *overrun = 0;
      c->Destroy();
    }
  }
}

TEST_F(CompressorDeathTest, DestroyingUnderAUserIsABug) {
  Compressor* c = Make(kFake);
  std::atomic<bool> locked{false};
  std::atomic<bool> stop{false};
  std::thread user([&] {
    AcompContext& context = c->Lock();
    locked = true;
    while (!stop) std::this_thread::yield();
    c->Unlock(context);
  });
  while (!locked) std::this_thread::yield();
  EXPECT_DEATH(c->Destroy(), "TryLock");
  stop = true;
  user.join();
  c->Destroy();
}

}  // namespace
}  // namespace uzswap
