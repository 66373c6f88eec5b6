// SPDX-License-Identifier: Apache-2.0
// The registry is one for the process and never forgets, so each test runs in a
// child of its own.
#include "compress/registry.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "compress/builtin.h"

namespace uzswap {
namespace {

namespace fs = std::filesystem;

void InChild(const std::function<void()>& body) {
  fflush(nullptr);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status) << "in the child";
}

std::string PluginFile(const std::string& name) {
  return "uzswap-compressor-" + name + ".so";
}

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() {
    char path[] = "/tmp/uzswap_registry_test.XXXXXX";
    if (mkdtemp(path) == nullptr) abort();
    directory_ = path;
  }
  ~RegistryTest() override { fs::remove_all(directory_); }

  int FindError(const char* name) {
    return registry::Find(name, directory_.c_str()).error();
  }

  std::string directory_;
};

uzswap_compressor GoodTable(const char* name) {
  return {
      .struct_size = sizeof(uzswap_compressor),
      .api_version = UZSWAP_COMPRESSOR_API_VERSION,
      .name = name,
      .workspace_size = [](int) -> size_t { return 0; },
      .init = [](void*, size_t, int) { return 0; },
      .compress = [](void*, const void*, size_t, void*, size_t,
                     size_t*) { return EINVAL; },
      .decompress = [](void*, const void*, size_t, void*,
                       size_t) { return EIO; },
  };
}

TEST_F(RegistryTest, BuiltinsAreThereAfterRegistration) {
  InChild([] {
    EXPECT_EQ(ENOENT, registry::Find("lz4", nullptr).error());
    EXPECT_EQ(nullptr, registry::At(0));
    registry::RegisterBuiltins();
    registry::RegisterBuiltins();
    for (const char* name :
         {"lz4", "zstd", "copy", "lz4hc", "lzo-rle", "deflate", "842"}) {
      EXPECT_STREQ(name, registry::Find(name, nullptr).value()->name);
    }
    EXPECT_STREQ("lz4", registry::At(0)->name);
    EXPECT_NE(nullptr, registry::At(6));
    EXPECT_EQ(nullptr, registry::At(7));
  });
}

TEST_F(RegistryTest, UnknownNamesAreENOENT) {
  InChild([this] {
    registry::RegisterBuiltins();
    EXPECT_EQ(ENOENT, registry::Find("none", nullptr).error());
    EXPECT_EQ(ENOENT, FindError("none"));
    EXPECT_EQ(ENOENT, registry::Find("none", "").error());
    EXPECT_EQ(ENOENT, registry::Find("none", "/nonexistent").error());
    EXPECT_EQ(ENOENT, FindError(""));
    EXPECT_EQ(ENOENT, FindError(nullptr));
    EXPECT_EQ(ENOENT, FindError("LZ4"));
    EXPECT_EQ(ENOENT, FindError(std::string(100, 'a').c_str()));
    EXPECT_EQ(ENAMETOOLONG,
              registry::Find("none", std::string(5000, 'd').c_str()).error());
  });
}

TEST_F(RegistryTest, NamesDoNotLeaveTheDirectory) {
  fs::create_directories(directory_ + "/uzswap-compressor-");
  std::ofstream(directory_ + "/x.so") << "text";
  InChild([this] {
    // The file exists under this path, but nobody looks.
    ASSERT_TRUE(fs::exists(directory_ + "/" + PluginFile("/../x")));
    EXPECT_EQ(ENOENT, FindError("/../x"));
  });
}

TEST_F(RegistryTest, BadTablesAreEINVAL) {
  InChild([] {
    EXPECT_EQ(EINVAL, registry::Register(nullptr).error());
    const auto rejected = [](void (*spoil)(uzswap_compressor&)) {
      uzswap_compressor table = GoodTable("bad");
      spoil(table);
      return registry::Register(&table).error() == EINVAL;
    };
    using T = uzswap_compressor;
    EXPECT_TRUE(rejected([](T& t) { t.struct_size = 0; }));
    EXPECT_TRUE(
        rejected([](T& t) { t.struct_size = UZSWAP_COMPRESSOR_MIN_SIZE - 1; }));
    EXPECT_TRUE(rejected([](T& t) {
      t.init_with = [](void*, size_t, const uzswap_compressor_parameters*) {
        return 0;
      };
    }));
    EXPECT_TRUE(rejected([](T& t) {
      t.workspace_size_with =
          [](const uzswap_compressor_parameters*) -> size_t { return 0; };
    }));
    EXPECT_TRUE(rejected([](T& t) { t.api_version = 0; }));
    EXPECT_TRUE(rejected([](T& t) { t.api_version += 1; }));
    EXPECT_TRUE(rejected([](T& t) { t.name = nullptr; }));
    EXPECT_TRUE(rejected([](T& t) { t.name = ""; }));
    EXPECT_TRUE(rejected([](T& t) { t.name = "a/b"; }));
    EXPECT_TRUE(rejected([](T& t) { t.workspace_size = nullptr; }));
    EXPECT_TRUE(rejected([](T& t) { t.init = nullptr; }));
    EXPECT_TRUE(rejected([](T& t) { t.compress = nullptr; }));
    EXPECT_TRUE(rejected([](T& t) { t.decompress = nullptr; }));
    EXPECT_EQ(nullptr, registry::At(0));
  });
}

TEST_F(RegistryTest, TablesOfNewerPluginsAreAccepted) {
  InChild([] {
    static struct {
      uzswap_compressor table;
      void* later_member;
    } newer{GoodTable("newer"), nullptr};
    newer.table.struct_size = sizeof(newer);
    EXPECT_TRUE(registry::Register(&newer.table).ok());
    EXPECT_EQ(&newer.table, registry::Find("newer", nullptr).value());
  });
}

// As it was compiled before there were optional members: behind it is nothing.
TEST_F(RegistryTest, TablesOfOlderPluginsAreAccepted) {
  InChild([] {
    const long page = sysconf(_SC_PAGESIZE);
    auto* memory =
        static_cast<char*>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_EQ(0, mprotect(memory + page, page, PROT_NONE));
    char* at = memory + page - UZSWAP_COMPRESSOR_MIN_SIZE;
    uzswap_compressor table = GoodTable("older");
    table.struct_size = UZSWAP_COMPRESSOR_MIN_SIZE;
    memcpy(at, &table, UZSWAP_COMPRESSOR_MIN_SIZE);
    const auto* older = reinterpret_cast<uzswap_compressor*>(at);
    EXPECT_TRUE(registry::Register(older).ok());
    EXPECT_EQ(older, registry::Find("older", nullptr).value());
    EXPECT_FALSE(UZSWAP_COMPRESSOR_HAS(older, max_level));
    EXPECT_FALSE(UZSWAP_COMPRESSOR_HAS(older, init_with));
  });
}

TEST_F(RegistryTest, WhiteSpaceAroundANameIsIgnored) {
  InChild([] {
    registry::RegisterBuiltins();
    const uzswap_compressor* lz4 = registry::Find("lz4", nullptr).value();
    for (const char* name : {"lz4\n", " lz4", "lz4 \t\n", "\n\nlz4\r\n"}) {
      EXPECT_EQ(lz4, registry::Find(name, nullptr).value()) << name;
    }
    for (const char* name : {"lz 4", "\n", " ", "lz4\nzstd"}) {
      EXPECT_EQ(ENOENT, registry::Find(name, UZSWAP_PLUGIN_DIR).error());
    }
    EXPECT_TRUE(registry::Find("example\n", UZSWAP_PLUGIN_DIR).ok());
  });
}

TEST_F(RegistryTest, LoadAllTakesWhatIsGoodAndNothingElse) {
  std::ofstream(directory_ + "/" + PluginFile("text")) << "no ELF at all";
  std::ofstream(directory_ + "/" + PluginFile("")) << "no name";
  std::ofstream(directory_ + "/" + PluginFile(std::string(200, 'a'))) << "long";
  std::ofstream(directory_ + "/readme") << "no plug-in";
  const std::string example = "/" + PluginFile("example");
  fs::copy_file(UZSWAP_PLUGIN_DIR + example, directory_ + example);
  InChild([this] {
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(1u, registry::LoadAll(directory_.c_str()));
    EXPECT_EQ("", ::testing::internal::GetCapturedStderr());
    EXPECT_STREQ("example", registry::At(0)->name);
    EXPECT_EQ(nullptr, registry::At(1));
    registry::Seal();
    EXPECT_EQ(1u, registry::LoadAll(directory_.c_str()));  // known already
    EXPECT_EQ(0u, registry::LoadAll("/nonexistent"));
    EXPECT_EQ(0u, registry::LoadAll(nullptr));
  });
}

// ---- loads -----------------------------------------------------------------

std::atomic<int> load_count{0};
const uzswap_compressor slow_table = GoodTable("slow");

Status SlowLoader(const char*, const char*, registry::Loaded* loaded) {
  load_count.fetch_add(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  loaded->table = &slow_table;
  return kOk;
}

TEST_F(RegistryTest, ManyWhoWantTheSameLoadItOnce) {
  InChild([] {
    registry::SetLoaderForTest(SlowLoader);
    std::vector<std::thread> threads;
    std::atomic<int> found{0};
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        const auto r = registry::Find("slow", "/anywhere");
        if (r.ok() && r.value() == &slow_table) found.fetch_add(1);
      });
    }
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(8, found.load());
    EXPECT_EQ(1, load_count.load());
  });
}

TEST_F(RegistryTest, AFailedLoadLeavesNoTraceAndMayBeTriedAgain) {
  InChild([] {
    registry::SetLoaderForTest([](const char*, const char*, registry::Loaded*) {
      load_count.fetch_add(1);
      return Status::Error(ENOMEM);
    });
    for (int i = 1; i <= 20; ++i) {
      EXPECT_EQ(ENOMEM, registry::Find("slow", "/anywhere").error());
      EXPECT_EQ(i, load_count.load());
      EXPECT_EQ(nullptr, registry::At(0));
    }
    registry::SetLoaderForTest(SlowLoader);
    EXPECT_EQ(&slow_table, registry::Find("slow", "/anywhere").value());
  });
}

TEST_F(RegistryTest, ALibraryThatCannotBeUsedIsUnloaded) {
  InChild([] {
    const std::string path =
        std::string(UZSWAP_PLUGIN_DIR) + "/" + PluginFile("example");
    // Registered by somebody else while the file is being loaded.
    registry::SetLoaderForTest(
        [](const char* at, const char*, registry::Loaded* loaded) {
          loaded->library = dlopen(at, RTLD_NOW | RTLD_LOCAL);
          static const uzswap_compressor first = GoodTable("example");
          static const uzswap_compressor second = GoodTable("example");
          EXPECT_TRUE(registry::Register(&first).ok());
          loaded->table = &second;
          return kOk;
        });
    const auto found = registry::Find("example", UZSWAP_PLUGIN_DIR);
    EXPECT_EQ(found.value(), registry::At(0));
    EXPECT_EQ(nullptr, dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD));
  });
}

TEST_F(RegistryTest, ALoaderThatLoadsIsToldOff) {
  InChild([] {
    static std::atomic<int> inner{0};
    registry::SetLoaderForTest(
        [](const char*, const char*, registry::Loaded* loaded) {
          inner = registry::Find("other", "/anywhere").error();
          loaded->table = &slow_table;
          return kOk;
        });
    EXPECT_TRUE(registry::Find("slow", "/anywhere").ok());
    EXPECT_EQ(EDEADLK, inner.load());
  });
}

// The kernel's three-way deadlock of zram: a load under the hotplug lock runs a
// process that waits for a driver that registers with the hotplug machinery.
constinit Mutex hotplug{cpu_hotplug_class};

Status LoaderThatNeedsHotplug(const char*, const char*,
                              registry::Loaded* loaded) {
  std::thread driver([] { ScopedLock lock(hotplug); });
  const pid_t helper = fork();
  if (helper == 0) _exit(0);
  int status = 0;
  waitpid(helper, &status, 0);
  driver.join();
  loaded->table = &slow_table;
  return kOk;
}

TEST_F(RegistryTest, B36_ALoaderMayWaitForTheHotplugLock) {
  InChild([] {
    registry::SetLoaderForTest(LoaderThatNeedsHotplug);
    std::atomic<bool> stop{false};
    std::thread busy([&] {
      while (!stop) {
        ScopedLock lock(hotplug);
        std::this_thread::yield();
      }
    });
    std::thread second([] { EXPECT_TRUE(registry::Find("slow", "/x").ok()); });
    EXPECT_TRUE(registry::Find("slow", "/x").ok());
    second.join();
    stop = true;
    busy.join();
  });
}

#ifdef UZSWAP_DEBUG
TEST_F(RegistryTest, B36_LoadingUnderTheHotplugLockIsFoundOut) {
  EXPECT_DEATH(
      {
        registry::SetLoaderForTest(SlowLoader);
        ScopedLock lock(hotplug);
        registry::Find("slow", "/x").status().Ignore();
      },
      "HeldCount");
  // Nothing is loaded for what is known, whatever is held.
  InChild([] {
    registry::RegisterBuiltins();
    ScopedLock lock(hotplug);
    EXPECT_TRUE(registry::Find("lz4", "/x").ok());
  });
}
#endif

TEST_F(RegistryTest, AForkInTheMiddleOfALoadDoesNotStopTheChild) {
  InChild([] {
    static std::atomic<int> child_result{-1};
    registry::SetLoaderForTest(
        [](const char*, const char*, registry::Loaded* loaded) {
          loaded->table = &slow_table;
          if (load_count.fetch_add(1) != 0) return kOk;
          std::thread forker([] {
            const pid_t child = fork();
            if (child == 0) {
              _exit(registry::Find("slow", "/x").ok() ? 0 : 1);
            }
            int status = -1;
            waitpid(child, &status, 0);
            child_result = status;
          });
          forker.join();
          return kOk;
        });
    EXPECT_TRUE(registry::Find("slow", "/x").ok());
    EXPECT_EQ(0, child_result.load());
  });
}

TEST_F(RegistryTest, TheSecondOfANameIsEEXIST) {
  InChild([] {
    static const uzswap_compressor first = GoodTable("twin");
    static const uzswap_compressor second = GoodTable("twin");
    EXPECT_TRUE(registry::Register(&first).ok());
    EXPECT_EQ(EEXIST, registry::Register(&second).error());
    EXPECT_EQ(EEXIST, registry::Register(&first).error());
    EXPECT_EQ(&first, registry::Find("twin", nullptr).value());
  });
}

TEST_F(RegistryTest, TheThirtyThirdIsENOSPC) {
  InChild([] {
    static char names[33][16];
    static uzswap_compressor tables[33];
    for (int i = 0; i < 33; ++i) {
      snprintf(names[i], sizeof(names[i]), "n%d", i);
      tables[i] = GoodTable(names[i]);
      EXPECT_EQ(i < 32 ? 0 : ENOSPC, registry::Register(&tables[i]).error());
    }
    EXPECT_EQ(&tables[31], registry::At(31));
    EXPECT_EQ(nullptr, registry::At(32));
  });
}

TEST_F(RegistryTest, FilesThatAreNoPluginAreELIBBAD) {
  std::ofstream(directory_ + "/" + PluginFile("text")) << "no ELF at all";
  std::ofstream(directory_ + "/" + PluginFile("empty"));
  // A shared object, but without our entry.
  for (const char* libc : {"/lib/x86_64-linux-gnu/libm.so.6",
                           "/lib64/libm.so.6", "/usr/lib/libm.so.6"}) {
    if (!fs::exists(libc)) continue;
    fs::copy_file(libc, directory_ + "/" + PluginFile("stranger"));
    break;
  }
  // A plug-in that answers to another name.
  fs::copy_file(std::string(UZSWAP_PLUGIN_DIR) + "/" + PluginFile("example"),
                directory_ + "/" + PluginFile("alias"));
  InChild([this] {
    EXPECT_EQ(ELIBBAD, FindError("text"));
    EXPECT_EQ(ELIBBAD, FindError("empty"));
    EXPECT_EQ(ELIBBAD, FindError("stranger"));
    EXPECT_EQ(ELIBBAD, FindError("alias"));
    EXPECT_EQ(nullptr, registry::At(0));
  });
}

TEST_F(RegistryTest, StandAlonePluginsWork) {
  InChild([] {
    const auto example = registry::Find("example", UZSWAP_PLUGIN_DIR);
    ASSERT_TRUE(example.ok()) << strerror(example.error());
    EXPECT_STREQ("example", example.value()->name);
    // Known from now on, and the same for who comes later.
    EXPECT_EQ(example.value(), registry::Find("example", nullptr).value());

    const uzswap_compressor& c = *example.value();
    char page[4096] = {};
    char packed[4096];
    char back[4096];
    memset(page + 7, 'x', 1000);
    memset(back, 1, sizeof(back));
    size_t n = 0;
    EXPECT_EQ(0, c.init(nullptr, 0, UZSWAP_COMPRESSOR_DEFAULT_LEVEL));
    EXPECT_EQ(0, c.compress(nullptr, page, 4096, packed, 4096, &n));
    EXPECT_LT(n, 200u);
    EXPECT_EQ(0, c.decompress(nullptr, packed, n, back, 4096));
    EXPECT_EQ(0, memcmp(page, back, 4096));
  });
}

TEST_F(RegistryTest, LzoIsLoadedOnDemand) {
  if (!fs::exists(std::string(UZSWAP_PLUGIN_DIR) + "/" + PluginFile("lzo"))) {
    GTEST_SKIP() << "not built";
  }
  InChild([] {
    registry::RegisterBuiltins();
    EXPECT_EQ(ENOENT, registry::Find("lzo", nullptr).error());
    const auto lzo = registry::Find("lzo", UZSWAP_PLUGIN_DIR);
    ASSERT_TRUE(lzo.ok()) << strerror(lzo.error());
    EXPECT_EQ(lzo.value(), registry::At(7));
  });
}

TEST_F(RegistryTest, SealedMeansNothingIsAdded) {
  InChild([] {
    registry::RegisterBuiltins();
    registry::Seal();
    EXPECT_EQ(ENOENT, registry::Find("example", UZSWAP_PLUGIN_DIR).error());
    static const uzswap_compressor late = GoodTable("late");
    EXPECT_EQ(EPERM, registry::Register(&late).error());
    registry::RegisterBuiltins();  // all there already: still harmless
    EXPECT_TRUE(registry::Find("zstd", UZSWAP_PLUGIN_DIR).ok());
  });
}

}  // namespace
}  // namespace uzswap
