// SPDX-License-Identifier: Apache-2.0
#include "cli/size.h"

#include <gtest/gtest.h>

namespace uzswap::cli {
namespace {

TEST(ParseSize, UnderstandsEveryUsualSpelling) {
  EXPECT_EQ(ParseSize("0"), 0u);
  EXPECT_EQ(ParseSize("4096"), 4096u);
  EXPECT_EQ(ParseSize("17B"), 17u);
  for (const char* text : {"64M", "64m", "64MB", "64MiB", "64mib"}) {
    EXPECT_EQ(ParseSize(text), uint64_t{64} << 20) << text;
  }
  EXPECT_EQ(ParseSize("1.5G"), uint64_t{3} << 29);
  EXPECT_EQ(ParseSize("2T"), uint64_t{2} << 40);
  EXPECT_EQ(ParseSize("1k"), 1024u);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  for (const char* text : {"", "M", "-1", "+1", " 1", "1 M", "1X", "1MM", "1iB",
                           "nan", "inf", "0x10", "12e", "1,5G"}) {
    EXPECT_FALSE(ParseSize(text)) << text;
  }
}

TEST(ParseSize, RefusesWhatDoesNotFit) {
  EXPECT_FALSE(ParseSize("8192P"));
  EXPECT_FALSE(ParseSize("99999999999999999999"));
  EXPECT_EQ(ParseSize("4096P"), uint64_t{1} << 62);
}

TEST(ParseSeconds, UnderstandsUnits) {
  EXPECT_EQ(ParseSeconds("90"), 90u);
  EXPECT_EQ(ParseSeconds("90s"), 90u);
  EXPECT_EQ(ParseSeconds("5m"), 300u);
  EXPECT_EQ(ParseSeconds("1.5h"), 5400u);
  EXPECT_EQ(ParseSeconds("2d"), 172800u);
  EXPECT_EQ(ParseSeconds("0"), 0u);
  for (const char* text : {"", "s", "-5", "5 s", "5min", "0.5", "0.5s", "1e3",
                           "5ss", "30000d", "nan"}) {
    EXPECT_FALSE(ParseSeconds(text)) << text;
  }
}

TEST(ParseHundredths, KeepsTwoDigits) {
  EXPECT_EQ(ParseHundredths("0.2"), 20u);
  EXPECT_EQ(ParseHundredths("0.02"), 2u);
  EXPECT_EQ(ParseHundredths("0.20%"), 20u);
  EXPECT_EQ(ParseHundredths("5%"), 500u);
  EXPECT_EQ(ParseHundredths("100"), 10000u);
  for (const char* text : {"", "%", ".", ".5", "1.", "0.001", "100.01", "-1",
                           "1,5", "1.5.5", "1.-5", "2%%"}) {
    EXPECT_FALSE(ParseHundredths(text)) << text;
  }
}

TEST(ParseNumber, KeepsToItsRange) {
  EXPECT_EQ(ParseNumber("1", 1, 100), 1u);
  EXPECT_EQ(ParseNumber("100", 1, 100), 100u);
  for (const char* text :
       {"0", "101", "-1", "", "5%", "1.5", "1e1", " 5", "4294967297"}) {
    EXPECT_FALSE(ParseNumber(text, 1, 100)) << text;
  }
}

TEST(FormatSize, HasThreeDigitsAndAUnit) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1.00 KiB");
  EXPECT_EQ(FormatSize(uint64_t{256} << 20), "256 MiB");
  EXPECT_EQ(FormatSize(uint64_t{3} << 29), "1.50 GiB");
  EXPECT_EQ(FormatSize((uint64_t{1} << 30) - 1), "1.00 GiB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "16384 PiB");
}

TEST(FormatSize, WhatItPrintsCanBeParsedWithoutTheBlank) {
  for (uint64_t bytes = 1; bytes < uint64_t{1} << 60; bytes = bytes * 3 + 7) {
    std::string text = FormatSize(bytes);
    text.erase(text.find(' '), 1);
    const auto parsed = ParseSize(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_NEAR(static_cast<double>(*parsed), static_cast<double>(bytes),
                static_cast<double>(bytes) * 0.0051)
        << text;
  }
}

TEST(FormatCount, GroupsByThousands) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

TEST(FormatSeconds, ChoosesAUnit) {
  EXPECT_EQ(FormatSeconds(0.0004), "0.4 ms");
  EXPECT_EQ(FormatSeconds(0.99996), "1.0 s");
  EXPECT_EQ(FormatSeconds(12.34), "12.3 s");
  EXPECT_EQ(FormatSeconds(245), "4 min 05 s");
}

}  // namespace
}  // namespace uzswap::cli
