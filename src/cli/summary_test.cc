// SPDX-License-Identifier: Apache-2.0
#include "cli/summary.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "cli/json.h"
#include "cli/stats_fields.h"

namespace uzswap::cli {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

uzswap_record Record(int pid, const char* program) {
  uzswap_record record = {};
  record.state = UZSWAP_RECORD_ENDED;
  record.pid = pid;
  std::strcpy(record.program, program);
  record.sites_known = 500;
  record.sites_patched = 500;
  record.stats.memory_limit = 256 * kMiB;
  record.stats.peak_bytes = 250 * kMiB;
  record.stats.peak_without_bytes = 1024 * kMiB;
  record.stats.pages_out = 2560;
  record.stats.pages_in = 1280;
  record.stats.faults = 1500;
  record.stats.fault_ns = 2'500'000'000;
  record.stats.stall_ns = 1'000'000'000;
  record.stats.zswpout = 2560;
  record.stats.same_filled_pages = 256;
  record.stats.compressed_bytes_in = 90 * kMiB;
  record.stats.compressed_bytes_out = 20 * kMiB;
  return record;
}

RunResult SortRun() {
  RunResult run;
  run.options.memory = 256 * kMiB;
  run.options.compressor = "lz4";
  run.options.backing = "/var/tmp";
  run.options.syscalls = "auto";
  run.program = "sort";
  run.pid = 7;
  run.seconds = 10;
  run.records = {Record(7, "sort")};
  return run;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Summary, SaysTheMainThingsOfOneProcess) {
  const std::string text = Summarize(SortRun());
  EXPECT_TRUE(Has(text, "uzswap: sort, 10.0 s, exit status 0\n")) << text;
  EXPECT_TRUE(Has(text,
                  "peak 250 MiB of 256 MiB allowed; without uzswap 1.00 "
                  "GiB, saved 76 %"))
      << text;
  EXPECT_TRUE(Has(text, "lz4, ratio 4.5; 10 % of the pages same-filled"))
      << text;
  EXPECT_TRUE(Has(text, "2,560 pages, 10.0 MiB (1.00 MiB/s)")) << text;
  EXPECT_TRUE(Has(text, "1,500 in 2.5 s, 10 % of the run time")) << text;
  EXPECT_TRUE(Has(text, "nothing was written")) << text;
  EXPECT_FALSE(Has(text, "warning")) << text;
  EXPECT_FALSE(Has(text, "processes")) << text;
}

TEST(Summary, SaysWhatAPageCostOnTheDisk) {
  RunResult run = SortRun();
  run.records[0].stats.zswpwb = 1000;
  run.records[0].stats.device_written_bytes = 1'234'567;
  run.records[0].stats.device_in = 512;
  const std::string text = Summarize(run);
  EXPECT_TRUE(Has(text,
                  "1.18 MiB written, 1,234 bytes a page; 2.00 MiB of pages "
                  "read back, in /var/tmp"))
      << text;
  EXPECT_TRUE(Has(ToJson(run), "\"device_written_bytes\": 1234567"));
  EXPECT_TRUE(Has(ToJson(run), "\"encrypt\": true"));
}

TEST(Summary, NamesTheCompressorAtTheEndAndThoseBefore) {
  RunResult run = SortRun();
  uzswap_record& record = run.records[0];
  std::strcpy(record.parameter[0].value, "zstd:3");
  std::strcpy(record.used, "lz4 copy zstd:3");
  EXPECT_EQ(CompressorAtEnd(record), "zstd:3");
  EXPECT_TRUE(Has(Summarize(run), "zstd:3, before lz4 copy, ratio 4.5"))
      << Summarize(run);
  EXPECT_TRUE(Has(ToJson(run), "\"compressor\": \"zstd:3\""));
  std::strcpy(record.used, "lz4 copy zstd:3 zstd:1 842 zstd");
  EXPECT_TRUE(Has(Summarize(run), "zstd:3, before 5 others, ratio 4.5"))
      << Summarize(run);
}

TEST(Summary, IsShortAndAligned) {
  std::istringstream lines(Summarize(SortRun()));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    EXPECT_LE(line.size(), 100u);
    if (count == 0) continue;
    EXPECT_EQ(line.substr(0, 2), "  ");
    EXPECT_EQ(line[13], ' ') << line;
    EXPECT_NE(line[14], ' ') << line;
  }
  EXPECT_LE(count, 8);
}

TEST(Summary, OfSeveralProcessesAddsUpAndNamesTheLargest) {
  RunResult run = SortRun();
  run.records.push_back(Record(8, "child"));
  run.records[1].stats.peak_without_bytes = 2000 * kMiB;
  const std::string text = Summarize(run);
  EXPECT_TRUE(Has(text, "2, largest child (8)")) << text;
  EXPECT_TRUE(Has(text, "without uzswap 1.95 GiB")) << text;
  EXPECT_TRUE(Has(text, "5,120 pages")) << text;
  EXPECT_TRUE(Has(text, "3,000 in 5.0 s")) << text;
}

TEST(Summary, CountsAnExecAsTheSameProcess) {
  RunResult run = SortRun();
  run.records.insert(run.records.begin(), Record(7, "sh"));
  run.records[0].state = UZSWAP_RECORD_EXECED;
  EXPECT_FALSE(Has(Summarize(run), "processes"));
}

TEST(Summary, SaysNothingWhenUzswapCouldNotStart) {
  RunResult run = SortRun();
  run.records[0].state = UZSWAP_RECORD_FAILED;
  EXPECT_EQ(Summarize(run), "");
  EXPECT_EQ(run.StartFailure(), &run.records[0]);
}

TEST(Summary, WarnsWhenUzswapWasNeverLoaded) {
  RunResult run = SortRun();
  run.records.clear();
  EXPECT_TRUE(Has(Summarize(run), "ran without uzswap"));
  run.wait_status = SIGKILL;
  EXPECT_EQ(Summarize(run), "");
}

TEST(Summary, WarnsOfEachTrouble) {
  RunResult run = SortRun();
  run.records[0].stats.limit_exceeded = 3;
  run.records[0].stats.peak_bytes = 300 * kMiB;
  run.records[0].stats.device_write_fail = 2;
  run.records[0].sites_known = 0;
  run.records[0].calls_unlisted = 5;
  run.records_lost = 1;
  run.records.push_back(Record(9, "kid"));
  run.records[1].state = UZSWAP_RECORD_FAILED;
  std::strcpy(run.records[1].why, "no memory");
  const std::string text = Summarize(run);
  EXPECT_TRUE(Has(text, "exceeded 3 times")) << text;
  EXPECT_TRUE(Has(text, "sort (7) took up to 300 MiB")) << text;
  EXPECT_TRUE(Has(text, "2 writes, 0 reads")) << text;
  EXPECT_TRUE(Has(text, "libc build not known")) << text;
  EXPECT_TRUE(Has(text, "5 system calls")) << text;
  EXPECT_TRUE(Has(text, "1 processes found no room")) << text;
  EXPECT_TRUE(Has(text, "kid (9) ran unmanaged or not at all: no memory"))
      << text;
  // Whoever asks for dispatch knows that it is slower.
  run.options.syscalls = "dispatch";
  EXPECT_FALSE(Has(Summarize(run), "libc build"));
}

TEST(Summary, IsThreeLinesWhenThereWasNothingToDo) {
  RunResult run;
  run.records.push_back({});
  run.records[0].state = UZSWAP_RECORD_LIVE;
  run.records[0].sites_known = 1;
  const std::string text = Summarize(run);
  EXPECT_TRUE(Has(text, "nothing: everything fitted")) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST(DescribeEnd, TellsExitFromSignal) {
  EXPECT_EQ(DescribeEnd(3 << 8), "exit status 3");
  EXPECT_EQ(DescribeEnd(SIGKILL), "killed by signal 9 (Killed)");
}

TEST(Totals, AddUpCountsAndKeepHighestPeaks) {
  const auto totals = Totals({Record(1, "a"), Record(2, "b")});
  EXPECT_EQ(totals.pages_out, 5120u);
  EXPECT_EQ(totals.peak_bytes, 250 * kMiB);
  EXPECT_EQ(totals.memory_limit, 256 * kMiB);
}

TEST(Json, HoldsEveryFigureOfEveryProcess) {
  RunResult run = SortRun();
  run.options.command = {"sort", "a\"b\xff"};
  const std::string text = ToJson(run);
  for (const StatsField& field : StatsFields()) {
    EXPECT_TRUE(Has(text, std::string("\"") + field.name + "\"")) << field.name;
  }
  EXPECT_TRUE(Has(text, "\"state\": \"ended\"")) << text;
  EXPECT_TRUE(Has(text, "\"exit_status\": 0")) << text;
  EXPECT_TRUE(Has(text, "\"signal\": null")) << text;
  run.wait_status = SIGTERM;
  EXPECT_TRUE(Has(ToJson(run), "\"signal\": 15"));
}

}  // namespace
}  // namespace uzswap::cli
