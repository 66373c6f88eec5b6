// SPDX-License-Identifier: Apache-2.0
// Contexts and CPUs that come and go. The CPUs are simulated: a thread says on
// which it "is" (LockOn), and may be anywhere else by the time it has the lock,
// which is what migration means.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "base/cpuhp_testing.h"
#include "compress/builtin.h"
#include "compress/compressor.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using cpuhp::Simulator;
using testing::PageBytes;
using testing::Random;

// A plug-in that counts, fails on demand, and dies if two threads ever use one
// workspace at a time or if it gets one that is not zero-filled.
struct FakeWorkspace {
  std::atomic<int> users;
  bool initialised;
};
struct {
  std::atomic<int> inits{0};
  int fail_init_in = 0;  // 1: the next one
  const void* dictionary = nullptr;
  std::string dictionary_bytes;
  bool needs_hotplug_lock = false;  // in workspace_size
} fake;

size_t WorkspaceBytes(int) {
  // As the loading of a module may: hangs if the lock is held.
  if (fake.needs_hotplug_lock) (void)cpuhp::System().Online();
  return 3 * kPageSize;
}

int Init(void* workspace, size_t bytes, int) {
  auto* at = static_cast<std::byte*>(workspace);
  for (size_t i = 0; i < bytes; ++i) CHECK(at[i] == std::byte{0});
  ++fake.inits;
  memset(at, 0xee, bytes);  // also when it fails
  if (fake.fail_init_in != 0 && --fake.fail_init_in == 0) return ENOMEM;
  memset(at, 0, bytes);
  static_cast<FakeWorkspace*>(workspace)->initialised = true;
  return 0;
}

constexpr uzswap_compressor kFake = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "fake",
    .workspace_size = &WorkspaceBytes,
    .init = &Init,
    .compress =
        [](void* w, const void* from, size_t, void* to, size_t room,
           size_t* produced) {
          auto* workspace = static_cast<FakeWorkspace*>(w);
          CHECK(workspace->initialised && workspace->users.fetch_add(1) == 0);
          memcpy(to, from, room / 2);
          *produced = room / 2;
          CHECK(workspace->users.fetch_sub(1) == 1);
          return 0;
        },
    .decompress =
        [](void* w, const void* from, size_t n, void* to, size_t) {
          CHECK(static_cast<FakeWorkspace*>(w)->initialised);
          memcpy(to, from, n);
          return 0;
        },
};

const uzswap_compressor& Plugin(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

// Mappings, and pages in them: read without allocating, which would change
// them.
struct Footprint {
  size_t mappings = 0;
  size_t pages = 0;
  friend bool operator==(const Footprint&, const Footprint&) = default;
};

Footprint FootprintOfProcess() {
  static char text[1 << 16];
  Footprint now;
  int fd = open("/proc/self/statm", O_RDONLY);
  CHECK(fd >= 0 && read(fd, text, sizeof(text)) > 0);
  now.pages = strtoull(text, nullptr, 10);
  close(fd);
  fd = open("/proc/self/maps", O_RDONLY);
  for (ssize_t n; (n = read(fd, text, sizeof(text))) > 0;) {
    now.mappings += static_cast<size_t>(std::count(text, text + n, '\n'));
  }
  close(fd);
  return now;
}

// Eight possible CPUs, five of them online.
class CompressorHotplug : public ::testing::Test {
 protected:
  CompressorHotplug() {
    fake.inits = 0;
    fake.fail_init_in = 0;
    fake.needs_hotplug_lock = false;
  }
  Compressor* Make(const CompressorParameters& parameters = {}) {
    return Compressor::Create(kFake, parameters).value();
  }
  // Where a thread on this CPU finds its context, if nobody else is there.
  static AcompContext* ContextOf(Compressor& c, unsigned cpu) {
    AcompContext& context = c.LockOn(cpu);
    c.Unlock(context);
    return &context;
  }
  static std::set<AcompContext*> ContextsOf(Compressor& c) {
    std::set<AcompContext*> all;
    for (unsigned cpu = 0; cpu < 8; ++cpu) all.insert(ContextOf(c, cpu));
    return all;
  }

  Simulator cpus_{cpuhp::System(), 8, 5};
};

TEST_F(CompressorHotplug, EveryOnlineCpuIsSetUpOnceAndAtCreate) {
  Compressor* c = Make();
  EXPECT_EQ(1 + 5, fake.inits);  // the spare, too
  EXPECT_EQ(5u + 1, ContextsOf(*c).size());
  EXPECT_EQ(1 + 5, fake.inits) << "nothing is set up by locking";
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorHotplug, ACpuThatAppearsLaterGetsItsContextThen) {
  Compressor* c = Make();
  AcompContext* const spare = ContextOf(*c, 7);
  EXPECT_TRUE(cpus_.Up(7).ok());
  EXPECT_EQ(1 + 6, fake.inits);
  EXPECT_NE(spare, ContextOf(*c, 7));
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorHotplug, ACpuWithoutAContextUsesTheSpareAndIsRemembered) {
  Compressor* c = Make();
  EXPECT_FALSE(c->HasWanted());
  const Footprint before = FootprintOfProcess();
  AcompContext& spare = c->LockOn(6);
  EXPECT_TRUE(c->Compress(spare, PageBytes{}).ok());
  EXPECT_TRUE(before == FootprintOfProcess());
  EXPECT_EQ(1 + 5, fake.inits);
  EXPECT_TRUE(c->HasWanted());
  c->Unlock(spare);
  EXPECT_TRUE(c->SetUpWanted().ok());
  EXPECT_FALSE(c->HasWanted());
  EXPECT_EQ(1 + 6, fake.inits);
  EXPECT_NE(&spare, ContextOf(*c, 6));
  EXPECT_TRUE(c->SetUpWanted().ok());
  EXPECT_EQ(1 + 6, fake.inits);
  // That CPU is announced at last: there is nothing left to do.
  EXPECT_TRUE(cpus_.Up(6).ok());
  EXPECT_EQ(1 + 6, fake.inits);
  c->Destroy();
}

TEST_F(CompressorHotplug, WithoutAContextAndTheSpareTakenOneWaitsForTheSpare) {
  Compressor* c = Make();
  AcompContext& spare = c->LockOn(6);
  std::atomic<bool> entered{false};
  std::thread other([&] {
    AcompContext& mine = c->LockOn(7);
    EXPECT_EQ(&spare, &mine);
    entered = true;
    c->Unlock(mine);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(entered);
  c->Unlock(spare);
  other.join();
  c->Destroy();
}

TEST_F(CompressorHotplug, B6_OfflineTakesNothingFromWhoHoldsTheContext) {
  Compressor* c = Make();
  AcompContext& context = c->LockOn(3);
  std::thread([&] { cpus_.Down(3); }).join();
  PageBytes page{};
  EXPECT_TRUE(c->Compress(context, page).ok());
  // B12: coming back does not make it anew under the one who has it.
  std::thread([&] { EXPECT_TRUE(cpus_.Up(3).ok()); }).join();
  EXPECT_EQ(1 + 5, fake.inits);
  EXPECT_FALSE(context.mutex.TryLock());
  EXPECT_TRUE(
      c->Decompress(context, {context.buffers[0], kPageSize / 2}, page).ok());
  c->Unlock(context);
  EXPECT_EQ(&context, ContextOf(*c, 3));
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorHotplug, B10_B11_FailedAddLeavesNothing) {
  Make()->Destroy();  // what the first time costs
  for (int k = 1; k <= 6; ++k) {
    for (const bool plugin_fails : {true, false}) {
      const Footprint before = FootprintOfProcess();
      if (plugin_fails) {
        fake.fail_init_in = k;
      } else if (k <= 5) {
        cpus_.FailNth(static_cast<unsigned>(k), ENOMEM);
      } else {
        continue;  // the spare is not a CPU
      }
      EXPECT_EQ(ENOMEM, Compressor::Create(kFake, {}).error()) << k;
      EXPECT_TRUE(before == FootprintOfProcess()) << k;
      cpuhp::System().CheckInvariants();
      // A CPU that comes meets no dead instance, and another attempt works.
      EXPECT_TRUE(cpus_.Up(6).ok());
      cpus_.Down(6);
      Compressor* c = Make();
      EXPECT_EQ(5u + 1, ContextsOf(*c).size());
      c->Destroy();
    }
  }
}

TEST_F(CompressorHotplug, AMappingThatIsRefusedIsENOMEMAndLeavesNothing) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{.rlim_cur = 0, .rlim_max = RLIM_INFINITY};
    rlimit old{};
    bool good = getrlimit(RLIMIT_AS, &old) == 0;
    good = good && setrlimit(RLIMIT_AS, &none) == 0;
    const Result<Compressor*> refused = Compressor::Create(kFake, {});
    good = good && refused.error() == ENOMEM && fake.inits == 0;
    good = good && setrlimit(RLIMIT_AS, &old) == 0;
    const Result<Compressor*> made = Compressor::Create(kFake, {});
    _exit(good && made.ok() ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

TEST_F(CompressorHotplug, B10_ACpuWhoseSetUpFailsGoesOnWithTheSpare) {
  Compressor* c = Make();
  AcompContext* const spare = ContextOf(*c, 7);
  fake.fail_init_in = 1;
  EXPECT_EQ(ENOMEM, cpus_.Up(7).error());
  EXPECT_EQ(spare, ContextOf(*c, 7));
  cpus_.FailCpu(7, EAGAIN);
  EXPECT_EQ(EAGAIN, c->SetUpWanted().error());
  EXPECT_EQ(EAGAIN, cpuhp::Refresh().error());
  EXPECT_EQ(spare, ContextOf(*c, 7));
  EXPECT_TRUE(c->HasWanted());
  cpus_.FailCpu(7, 0);
  // Its workspace is zero-filled again, or Init would die.
  EXPECT_TRUE(cpuhp::Refresh().ok());
  EXPECT_NE(spare, ContextOf(*c, 7));
  c->CheckInvariants();
  c->Destroy();
}

TEST_F(CompressorHotplug, B36_NoLoaderRunsUnderTheHotplugLock) {
  fake.needs_hotplug_lock = true;
  Compressor* c = Make();
  EXPECT_TRUE(cpus_.Up(5).ok());
  c->Destroy();
}

TEST_F(CompressorHotplug, EightPagesFitBeforeAnyIsWrittenAway) {
  Compressor* c =
      Compressor::Create(Plugin("lz4"), {.buffers = kMaxBatch}).value();
  Random random(6);
  PageBytes pages[kMaxBatch];
  ByteCount lengths[kMaxBatch];
  AcompContext& context = c->LockOn(0);
  std::set<std::byte*> buffers;
  for (unsigned i = 0; i < kMaxBatch; ++i) {
    EXPECT_EQ(0u, reinterpret_cast<uintptr_t>(context.buffers[i]) % kPageSize);
    buffers.insert(context.buffers[i]);
    pages[i] = testing::HeapPage(random);
    lengths[i] = c->CompressInto(context, pages[i], i).value();
  }
  EXPECT_EQ(kMaxBatch, buffers.size());
  for (unsigned i = 0; i < kMaxBatch; ++i) {
    PageBytes back;
    EXPECT_TRUE(
        c->Decompress(context, {context.buffers[i], lengths[i]}, back).ok());
    EXPECT_EQ(pages[i], back);
  }
  c->Unlock(context);
  c->CheckInvariants();
  c->Destroy();
  for (const unsigned bad : {0u, kMaxBatch + 1}) {
    EXPECT_EQ(EINVAL, Compressor::Create(kFake, {.buffers = bad}).error());
  }
}

constexpr uzswap_compressor WithDictionary() {
  uzswap_compressor table = kFake;
  table.workspace_size_with = [](const uzswap_compressor_parameters*) {
    return 3 * kPageSize;
  };
  table.init_with = [](void* workspace, size_t bytes,
                       const uzswap_compressor_parameters* parameters) {
    CHECK(parameters->struct_size == sizeof(*parameters));
    fake.dictionary = parameters->dictionary;
    fake.dictionary_bytes.assign(
        static_cast<const char*>(parameters->dictionary),
        parameters->dictionary_bytes);
    return Init(workspace, bytes, parameters->level);
  };
  return table;
}

TEST_F(CompressorHotplug, TheDictionaryIsACopyThatLivesAsLong) {
  static constexpr uzswap_compressor kTable = WithDictionary();
  const std::string text(10000, 'd');
  auto callers = std::make_unique<std::string>(text);
  Compressor* c =
      Compressor::Create(kTable,
                         {.dictionary = std::as_bytes(std::span(*callers))})
          .value();
  EXPECT_NE(static_cast<const void*>(callers->data()), fake.dictionary);
  const void* const copy = fake.dictionary;
  memset(callers->data(), 'x', callers->size());
  callers.reset();
  fake.dictionary_bytes.clear();
  EXPECT_TRUE(cpus_.Up(7).ok());
  EXPECT_EQ(copy, fake.dictionary);
  EXPECT_EQ(text, fake.dictionary_bytes);
  EXPECT_GE(c->metadata_bytes(), text.size());
  c->Destroy();
  EXPECT_EQ(EINVAL, Compressor::Create(
                        kFake, {.dictionary = std::as_bytes(std::span(text))})
                        .error());
}

// Four threads compress, "on" CPUs that are just going, while CPUs come and
// go, set-ups fail and other compressors are made and destroyed.
void Storm(Simulator& cpus, const uzswap_compressor& plugin, uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Compressor* c = Compressor::Create(plugin, {.buffers = 2}).value();
  cpus.FailAtRandom(4, seed);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> bad{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Random random(seed * 100 + t);
      for (int i = 0; i < 1500; ++i) {
        PageBytes page = testing::HeapPage(random);
        // Half a page is all that the fake keeps.
        memset(&page[kPageSize / 2], 0, kPageSize / 2);
        const unsigned buffer = static_cast<unsigned>(random() % 2);
        const unsigned cpu = static_cast<unsigned>(random() % 8);
        if (random() % 4 == 0) std::this_thread::yield();  // CPU goes here
        AcompContext& context = c->LockOn(cpu);
        if (random() % 4 == 0) std::this_thread::yield();  // ... or here
        const Result<ByteCount> n = c->CompressInto(context, page, buffer);
        PageBytes back{};
        if (!n.ok() ||
            !c->Decompress(context, {context.buffers[buffer], n.value()}, back)
                 .ok() ||
            back != page) {
          ++bad;
        }
        c->Unlock(context);
        if (random() % 16 == 0 && c->HasWanted()) {
          c->SetUpWanted().Ignore();  // some fail
        }
      }
    });
  }
  std::thread storm([&] {
    for (uint64_t i = 0; !stop; ++i) cpus.Storm(seed + i, 50);
  });
  std::thread pools([&] {
    while (!stop) {
      const Result<Compressor*> other = Compressor::Create(plugin, {});
      if (other.ok()) other.value()->Destroy();
    }
  });
  for (std::thread& t : threads) t.join();
  stop = true;
  storm.join();
  pools.join();
  EXPECT_EQ(0u, bad);
  cpus.FailAtRandom(0, 0);
  c->CheckInvariants();
  c->Destroy();
  cpuhp::System().CheckInvariants();
}

TEST_F(CompressorHotplug, B6_B10_B12_StormsHarmNobody) {
  uint64_t seed = 1;
  if (const char* given = getenv("UZSWAP_SEED"))
    seed = strtoull(given, nullptr, 0);
  for (uint64_t i = 0; i < 3; ++i) {
    Storm(cpus_, kFake, seed + i);
    Storm(cpus_, Plugin("lz4"), seed + i);
  }
}

TEST_F(CompressorHotplug, ChildrenOfAStormSetUpAndCompress) {
  Compressor* c = Make();
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    for (uint64_t i = 0; !stop; ++i) {
      cpus_.Storm(i, 20);
      c->SetUpWanted().Ignore();
      c->Unlock(c->LockOn(7));
    }
  });
  for (int i = 0; i < 20; ++i) {
    c->LockAll();
    const pid_t child = fork();
    if (child == 0) {
      lockdep::ResetThread();
      c->ResetLocksInChild();
      // Through the machine, but not the simulator: its lock is std::mutex.
      AcompContext& context = c->LockOn(5);
      const bool good = c->Compress(context, PageBytes{}).ok();
      c->Unlock(context);
      c->CheckInvariants();
      cpuhp::System().HoldOff();  // its lock is free
      _exit(good ? 0 : 1);
    }
    c->UnlockAll();
    int status = -1;
    ASSERT_EQ(child, waitpid(child, &status, 0));
    EXPECT_EQ(0, status);
  }
  stop = true;
  storm.join();
  c->Destroy();
}

#ifdef UZSWAP_DEBUG
using CompressorHotplugDeathTest = CompressorHotplug;

TEST_F(CompressorHotplugDeathTest,
       B36_LoadingCodeUnderTheHotplugLockIsReported) {
  // As zram did: a startup callback that looks a compressor up (B36).
  static cpuhp::State state{
      "test/loads:prepare", [](unsigned, cpuhp::Instance&) {
        return registry::Find("example", UZSWAP_PLUGIN_DIR).status();
      }};
  ASSERT_TRUE(cpuhp::System().SetUpState(state).ok());
  cpuhp::Instance instance;
  EXPECT_DEATH((void)cpuhp::System().AddInstance(state, instance),
               "cpu_hotplug_lock|HeldCount");
  cpuhp::System().RemoveState(state);
}

TEST_F(CompressorHotplugDeathTest, B8_B9_CompressorsAreNeverMadeUnderAContext) {
  // As in syzbot's report of 2025; the first Create has taught the order.
  Compressor* c = Make();
  Compressor* other = Make();
  AcompContext& context = c->LockOn(0);
  EXPECT_DEATH((void)Compressor::Create(kFake, {}), "cpu_hotplug_lock");
  EXPECT_DEATH(other->Destroy(), "cpu_hotplug_lock");
  c->Unlock(context);
  AcompContext& spare = c->LockOn(7);
  EXPECT_DEATH((void)c->SetUpWanted(), "cpu_hotplug_lock");
  c->Unlock(spare);
  other->Destroy();
  c->Destroy();
}

TEST_F(CompressorHotplugDeathTest, B7_ReclaimNeverTakesTheHotplugLock) {
  Compressor* c = Make();
  lockdep::ReclaimBegin();
  AcompContext& spare = c->LockOn(7);
  c->Unlock(spare);
  EXPECT_DEATH((void)c->SetUpWanted(), "cpu_hotplug_lock");
  lockdep::ReclaimEnd();
  EXPECT_TRUE(c->SetUpWanted().ok());
  c->Destroy();
}
#endif

}  // namespace
}  // namespace uzswap
