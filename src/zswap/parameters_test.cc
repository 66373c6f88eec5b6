// SPDX-License-Identifier: Apache-2.0
#include "zswap/parameters.h"

#include <gtest/gtest.h>
#include <uzswap/uzswap.h>

#include <string>
#include <thread>
#include <vector>

#include "zswap/limit.h"

namespace uzswap {
namespace {

// Knows lz4 and zstd (levels to 22) in zsmalloc.
class FakeHost final : public ParameterHost {
 public:
  Status SwitchPool(const CompressorChoice& compressor,
                    const char* zpool) override {
    ++switches;
    const std::string name = compressor.name.text;
    if (name != "lz4" && name != "zstd") return Status::Error(ENOENT);
    if (std::string(zpool) != "zsmalloc" && std::string(zpool) != "zbud") {
      return Status::Error(ENOENT);
    }
    if (compressor.level > 22) return Status::Error(EINVAL);
    if (error != 0) return Status::Error(error);
    current = name + "/" + zpool;
    level = compressor.level;
    return kOk;
  }
  Status SetRecompressor(const CompressorChoice* compressor) override {
    ++recompressors;
    const std::string name = compressor == nullptr ? "" : compressor->name.text;
    if (name != "" && name != "zstd") return Status::Error(ENOENT);
    if (compressor != nullptr && compressor->level > 22) {
      return Status::Error(EINVAL);
    }
    recompressor = name;
    return kOk;
  }
  void Changed() override { ++changes; }

  int switches = 0;
  int changes = 0;
  int recompressors = 0;
  std::string recompressor = "never set";
  int error = 0;
  std::string current = "none";
  int level = 0;
};

class ParametersTest : public testing::Test {
 protected:
  ~ParametersTest() override { parameters.CheckInvariants(); }
  void Start() {
    parameters.Start("lz4", UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc");
  }
  int Set(const char* name, const std::string& value) {
    return parameters.Set(name, value.c_str(), &host).error();
  }
  std::string Get(const char* name) {
    ParameterText text;
    EXPECT_TRUE(parameters.Format(name, &text).ok()) << name;
    return text.text;
  }

  Parameters parameters;
  FakeHost host;
};

constexpr const char* kNames[] = {
#define UZSWAP_PARAMETER(name) #name,
    UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};

TEST_F(ParametersTest, AnUnknownNameIsENOENTInEveryState) {
  for (const auto state :
       {InitState::kUninitialised, InitState::kSucceeded, InitState::kFailed}) {
    parameters.state = state;
    EXPECT_EQ(Set("compresor", "lz4"), ENOENT);
    EXPECT_EQ(Set("", "lz4"), ENOENT);
    ParameterText text;
    EXPECT_EQ(parameters.Format("enable", &text).error(), ENOENT);
    EXPECT_EQ(parameters.Set(nullptr, "1", &host).error(), ENOENT);
  }
  parameters.state = InitState::kUninitialised;
}

TEST_F(ParametersTest, BeforeInitialisationValuesAreOnlyRecorded) {
  EXPECT_EQ(parameters.Set("compressor", " nosuch:3\n", nullptr).error(), 0);
  EXPECT_EQ(parameters.Set("zpool", "neither", nullptr).error(), 0);
  EXPECT_EQ(parameters.Set("enabled", "N", nullptr).error(), 0);
  EXPECT_EQ(parameters.Set("max_pool_percent", "33", nullptr).error(), 0);
  EXPECT_EQ(Get("compressor"), "nosuch:3");
  EXPECT_EQ(Get("zpool"), "neither");
  EXPECT_EQ(Get("enabled"), "N");
  EXPECT_EQ(Get("max_pool_percent"), "33");
  EXPECT_EQ(host.switches, 0);
  EXPECT_TRUE(parameters.WasSet("zpool"));
  EXPECT_FALSE(parameters.WasSet("shrinker_enabled"));
}

TEST_F(ParametersTest, WhatIsTooLongToRecordIsENOSPC) {
  EXPECT_EQ(Set("compressor", std::string(64, 'x')), ENOSPC);
  EXPECT_EQ(Set("compressor", std::string(63, 'x')), 0);
  EXPECT_EQ(Set("zpool", "  " + std::string(63, 'y') + "  "), 0);
  Start();
  EXPECT_EQ(Set("compressor", std::string(64, 'x')), ENOENT);
  EXPECT_EQ(Get("compressor"), "lz4");
}

TEST_F(ParametersTest, BooleansTakeTheKernelsForms) {
  Start();
  for (const char* name : {"enabled", "shrinker_enabled"}) {
    for (const char* yes :
         {"Y", "y", "1", "on", "ON", "yes", "true", "T", " Y\n", "\t1 "}) {
      EXPECT_EQ(Set(name, "N"), 0);
      EXPECT_EQ(Get(name), "N");
      EXPECT_EQ(Set(name, yes), 0) << yes;
      EXPECT_EQ(Get(name), "Y") << yes;
    }
    for (const char* no : {"N", "n", "0", "off", "Off", "no", "false", "F"}) {
      EXPECT_EQ(Set(name, "Y"), 0);
      EXPECT_EQ(Set(name, no), 0) << no;
      EXPECT_EQ(Get(name), "N") << no;
    }
    for (const char* bad : {"", " ", "2", "-1", "o", "yn", "YY", "0x1"}) {
      EXPECT_EQ(Set(name, bad), EINVAL) << bad;
      EXPECT_EQ(Get(name), "N") << bad;
    }
  }
}

TEST_F(ParametersTest, PercentagesAreTheKernelsNumbersUpToAHundred) {
  for (const auto state :
       {InitState::kUninitialised, InitState::kSucceeded, InitState::kFailed}) {
    parameters.state = state;
    for (const char* name : {"max_pool_percent", "accept_threshold_percent"}) {
      const struct {
        const char* text;
        const char* value;
      } good[] = {{"0", "0"},     {"100", "100"}, {"1", "1"},   {" 42\n", "42"},
                  {"0x14", "20"}, {"0X1e", "30"}, {"010", "8"}, {"+7", "7"}};
      for (const auto& [text, value] : good) {
        EXPECT_EQ(Set(name, text), 0) << text;
        EXPECT_EQ(Get(name), value);
      }
      for (const char* bad : {"101", "-1", "", "ten", "5%", "1 2", "08", "0x",
                              "+", "++1", "1.5", "4294967295"}) {
        EXPECT_EQ(Set(name, bad), EINVAL) << bad;
      }
      EXPECT_EQ(Set(name, "4294967296"), ERANGE);
      EXPECT_EQ(Set(name, "99999999999999999999999999"), ERANGE);
      EXPECT_EQ(Set(name, std::string(70, '1')), EINVAL);
      EXPECT_EQ(Get(name), "7");
    }
  }
  parameters.state = InitState::kUninitialised;
}

TEST_F(ParametersTest, ANewCompressorSwitchesThePool) {
  Start();
  EXPECT_EQ(Set("compressor", "\n zstd \n"), 0);
  EXPECT_EQ(host.current, "zstd/zsmalloc");
  EXPECT_EQ(host.level, UZSWAP_COMPRESSOR_DEFAULT_LEVEL);
  EXPECT_EQ(Get("compressor"), "zstd");
  EXPECT_EQ(Set("zpool", "zbud\n"), 0);
  EXPECT_EQ(host.current, "zstd/zbud");
  EXPECT_EQ(Get("zpool"), "zbud");
}

TEST_F(ParametersTest, TheCurrentNameIsNoChange) {
  Start();
  EXPECT_EQ(Set("compressor", "lz4\n"), 0);
  EXPECT_EQ(Set("zpool", "zsmalloc"), 0);
  EXPECT_EQ(host.switches, 0);
}

TEST_F(ParametersTest, ALevelComesWithTheCompressor) {
  Start();
  EXPECT_EQ(Set("compressor", "zstd:19"), 0);
  EXPECT_EQ(host.level, 19);
  EXPECT_EQ(Get("compressor"), "zstd:19");
  EXPECT_EQ(Set("compressor", "zstd:-5"), 0);
  EXPECT_EQ(Get("compressor"), "zstd:-5");
  EXPECT_EQ(host.switches, 2);
  EXPECT_EQ(Set("compressor", "zstd:23"), EINVAL);
  for (const char* bad : {"zstd:", "zstd:x", "zstd:1x", "zstd:-", "zstd: 1"}) {
    EXPECT_EQ(Set("compressor", bad), EINVAL) << bad;
  }
  EXPECT_EQ(Set("compressor", "zstd:99999999999"), ERANGE);
  EXPECT_EQ(Get("compressor"), "zstd:-5");
  EXPECT_EQ(Set("compressor", "zstd"), 0);
  EXPECT_EQ(host.level, UZSWAP_COMPRESSOR_DEFAULT_LEVEL);
}

TEST_F(ParametersTest, B16_AFailedSwitchChangesNothing) {
  Start();
  EXPECT_EQ(Set("compressor", "lz5"), ENOENT);
  EXPECT_EQ(Set("compressor", ""), ENOENT);
  EXPECT_EQ(Set("zpool", "z3fold"), ENOENT);
  host.error = ENOMEM;
  EXPECT_EQ(Set("compressor", "zstd"), ENOMEM);
  EXPECT_EQ(Get("compressor"), "lz4");
  EXPECT_EQ(Get("zpool"), "zsmalloc");
  EXPECT_FALSE(parameters.WasSet("compressor"));
  host.error = 0;
  EXPECT_EQ(Set("compressor", "zstd"), 0);
}

TEST_F(ParametersTest, B17_WithoutAPoolNothingIsEnabledUntilOneIsMade) {
  Start();
  parameters.has_pool = false;
  EXPECT_EQ(Set("enabled", "Y"), ENODEV);
  EXPECT_EQ(Set("enabled", "N"), ENODEV);
  EXPECT_EQ(Set("enabled", "nonsense"), ENODEV);
  EXPECT_EQ(Set("max_pool_percent", "10"), 0);
  EXPECT_EQ(Set("compressor", "lz5"), ENOENT);
  EXPECT_EQ(Set("enabled", "Y"), ENODEV);
  // The name that is there already makes the first pool.
  EXPECT_EQ(Set("compressor", "lz4"), 0);
  EXPECT_EQ(host.current, "lz4/zsmalloc");
  EXPECT_EQ(Set("enabled", "Y"), 0);
}

TEST_F(ParametersTest, B16_AfterAFailedSetupOnlyNumbersAndShrinkerCanBeSet) {
  parameters.state = InitState::kFailed;
  EXPECT_EQ(Set("compressor", "zstd"), ENODEV);
  EXPECT_EQ(Set("zpool", "zbud"), ENODEV);
  EXPECT_EQ(Set("enabled", "Y"), ENODEV);
  EXPECT_EQ(Set("enabled", "N"), ENODEV);
  EXPECT_EQ(Set("shrinker_enabled", "Y"), 0);
  EXPECT_EQ(Set("accept_threshold_percent", "50"), 0);
  EXPECT_EQ(host.switches, 0);
  EXPECT_EQ(Get("compressor"), "lz4");
  EXPECT_EQ(Get("enabled"), "Y");
}

TEST_F(ParametersTest, EveryValueThatIsShownCanBeSet) {
  Start();
  for (const char* name : kNames) {
    EXPECT_EQ(Set(name, Get(name)), 0) << name;
    EXPECT_TRUE(parameters.WasSet(name));
  }
  EXPECT_EQ(parameters.Set("enabled", nullptr, &host).error(), EINVAL);
}

TEST_F(ParametersTest, TheHostIsToldOfNumbersOnlyWhenTheyAreTaken) {
  Start();
  EXPECT_EQ(Set("max_pool_percent", "10"), 0);
  EXPECT_EQ(Set("shrinker_enabled", "Y"), 0);
  EXPECT_EQ(host.changes, 2);
  EXPECT_EQ(Set("max_pool_percent", "1000"), EINVAL);
  EXPECT_EQ(host.changes, 2);
}

TEST_F(ParametersTest, WritersAndReadersDoNotMeetHalfAValue) {
  Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 2000; ++i) {
        EXPECT_EQ(Set("compressor", t == 0 ? "zstd:19" : "lz4"), 0);
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    const std::string now = Get("compressor");
    EXPECT_TRUE(now == "zstd:19" || now == "lz4") << now;
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(PoolLimit, PercentagesCanChangeWhileItIsFull) {
  using Verdict = PoolLimit::Verdict;
  PoolLimit limit(50, 90);
  limit.SetTotalPages(1000);
  EXPECT_EQ(limit.Check(500), Verdict::kHit);
  limit.SetPercent(100, 90);
  EXPECT_EQ(limit.Check(899), Verdict::kAccept);
  limit.SetPercent(0, 90);
  EXPECT_EQ(limit.max(), 0u);
  EXPECT_EQ(limit.Check(0), Verdict::kHit);
  limit.SetPercent(10, 0);
  EXPECT_EQ(limit.Check(1), Verdict::kStillFull);
  EXPECT_EQ(limit.Check(0), Verdict::kAccept);
}

TEST_F(ParametersTest, TheRecompressorIsNoneOrACompressorWithALevel) {
  EXPECT_EQ(Get("recompressor"), "none");
  EXPECT_EQ(Set("recompressor", "zstd:9"), 0);  // only recorded
  EXPECT_EQ(host.recompressors, 0);
  EXPECT_EQ(Get("recompressor"), "zstd:9");
  EXPECT_EQ(Set("recompressor", " \n"), 0);
  EXPECT_EQ(Get("recompressor"), "none");
  Start();
  EXPECT_EQ(Set("recompressor", "none"), 0);  // it is that already
  EXPECT_EQ(host.recompressors, 0);
  EXPECT_EQ(Set("recompressor", "zstd"), 0);
  EXPECT_EQ(host.recompressor, "zstd");
  EXPECT_EQ(Set("recompressor", "lz5"), ENOENT);
  EXPECT_EQ(Set("recompressor", "zstd:23"), EINVAL);
  EXPECT_EQ(Set("recompressor", "zstd:x"), EINVAL);
  EXPECT_EQ(Set("recompressor", ":3"), EINVAL);
  EXPECT_EQ(Set("recompressor", std::string(64, 'x')), ENOENT);
  EXPECT_EQ(Get("recompressor"), "zstd");
  EXPECT_EQ(Set("recompressor", ""), 0);
  EXPECT_EQ(host.recompressor, "");
  EXPECT_EQ(Get("recompressor"), "none");
  parameters.state = InitState::kFailed;
  EXPECT_EQ(Set("recompressor", "zstd"), ENODEV);
  parameters.state = InitState::kSucceeded;
}

}  // namespace
}  // namespace uzswap
