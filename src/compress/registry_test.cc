// SPDX-License-Identifier: Apache-2.0
// The registry is one for the process and never forgets, so each test runs in a
// child of its own.
#include "compress/registry.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

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
    for (const char* name : {"lz4", "zstd", "copy"}) {
      EXPECT_STREQ(name, registry::Find(name, nullptr).value()->name);
    }
    EXPECT_STREQ("lz4", registry::At(0)->name);
    EXPECT_NE(nullptr, registry::At(2));
    EXPECT_EQ(nullptr, registry::At(3));
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
    EXPECT_TRUE(rejected([](T& t) { t.struct_size -= 1; }));
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
    static char names[33][8];
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
    EXPECT_EQ(lzo.value(), registry::At(3));
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
