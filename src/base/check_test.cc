// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <climits>
#include <string>

namespace uzswap {
namespace {

// What Log writes for this line, taken from descriptor 2.
std::string Logged(Line& line) {
  testing::internal::CaptureStderr();
  Log(line);
  return testing::internal::GetCapturedStderr();
}

TEST(Line, WritesNumbersOfBothSigns) {
  Line line;
  line << "a " << 0 << " " << -1 << " " << 4294967295u << " " << UINT64_MAX
       << " " << INT64_MIN;
  EXPECT_STREQ(line.c_str(),
               "a 0 -1 4294967295 18446744073709551615 -9223372036854775808");
}

TEST(Line, WritesHexWithoutLeadingZeros) {
  Line line;
  line.Hex(0) << " ";
  line.Hex(0xdeadbeef) << " ";
  line.Hex(UINT64_MAX);
  EXPECT_STREQ(line.c_str(), "0x0 0xdeadbeef 0xffffffffffffffff");
}

TEST(Line, MarksWhatItHadToCut) {
  const std::string fits(512, 'x');
  Line full;
  full << fits.c_str();
  EXPECT_EQ(full.c_str(), fits);
  full << "y" << 12345;
  EXPECT_EQ(full.c_str(), fits + "...");
}

TEST(Log, AddsPrefixAndNewline) {
  Line line;
  line << "hello";
  EXPECT_EQ(Logged(line), "uzswap: hello\n");
}

TEST(Log, KeepsTheNewlineOfACutLine) {
  Line line;
  line << std::string(600, 'x').c_str();
  EXPECT_EQ(Logged(line), "uzswap: " + std::string(512, 'x') + "...\n");
}

TEST(CheckDeathTest, NamesConditionAndFile) {
  const int two = 2;
  EXPECT_EXIT(CHECK(two == 3), testing::KilledBySignal(SIGABRT),
              "check_test.cc:[0-9]+: check failed: two == 3");
}

TEST(CheckDeathTest, DiesEvenIfAbortIsCaughtAndBlocked) {
  auto die = [] {
    signal(SIGABRT, SIG_IGN);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    CHECK(false);
  };
  EXPECT_EXIT(die(), testing::KilledBySignal(SIGABRT), "check failed");
}

TEST(CheckDeathTest, HookReceivesTheMessageFirst) {
  auto die = [] {
    SetDeathHook([](const char* message) {
      _exit(std::string(message).find("false") == std::string::npos ? 1 : 7);
    });
    CHECK(false);
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(7), "");
}

TEST(Check, SetDeathHookReturnsThePreviousOne) {
  DeathHook hook = [](const char*) {};
  EXPECT_EQ(SetDeathHook(hook), nullptr);
  EXPECT_EQ(SetDeathHook(nullptr), hook);
}

TEST(Check, EvaluatesItsConditionOnce) {
  int calls = 0;
  CHECK(++calls == 1);
  EXPECT_EQ(calls, 1);
}

TEST(Dcheck, IsEvaluatedInDebugBuildsOnly) {
  int calls = 0;
  DCHECK(++calls == 1);
#ifdef UZSWAP_DEBUG
  EXPECT_EQ(calls, 1);
#else
  EXPECT_EQ(calls, 0);
#endif
}

}  // namespace
}  // namespace uzswap
