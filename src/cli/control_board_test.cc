// SPDX-License-Identifier: Apache-2.0
#include "cli/control_board.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "cli/control.h"
#include "cli/control_test_support.h"

namespace uzswap::cli {
namespace {

TEST(ControlProtocol, ARequestSurvivesTheWire) {
  const ControlRequest request =
      SetRequest(2000, "compressor=zstd:3\tenabled=N\tzpool=");
  EXPECT_EQ(FormatRequest(request),
            "set 2000 compressor=zstd:3\tenabled=N\tzpool=\n");
  ASSERT_EQ(request.assignments.size(), 3u);
  EXPECT_EQ(request.assignments[0].value, "zstd:3");
  EXPECT_EQ(request.assignments[2].value, "");
  EXPECT_EQ(FormatRequest(GetRequest(7)), "get 7\n");
}

TEST(ControlProtocol, NonsenseIsRefusedWithAReason) {
  const std::string long_value(UZSWAP_PARAMETER_BYTES, 'x');
  for (const std::string& line :
       std::vector<std::string>{"",
                                "get",
                                "get ",
                                "set",
                                "set 0",
                                "set 0 ",
                                "put 0 enabled=1",
                                "get 0 enabled",
                                "get -1",
                                "get 60001",
                                "get 1x",
                                "set 0 enabled",
                                "set 0 =1",
                                "set 0 nosuch=1",
                                "set 0 enabled=1\tx",
                                "set 0 zpool=" + long_value,
                                std::string("set 0 zpool=a\0b", 15),
                                "set 0 zpool=\x1b[31m",
                                "GET 0",
                                " get 0",
                                "set 0 enabled=1\t"}) {
    ControlRequest request;
    std::string why;
    EXPECT_FALSE(ParseRequest(line, &request, &why)) << line;
    EXPECT_FALSE(why.empty()) << line;
  }
}

TEST(ControlBoard, OnlyTheNewestLiveRecordOfAProcessCounts) {
  FakeRun run;
  run.Add(10).state = UZSWAP_RECORD_EXECED;
  run.Add(10).state = UZSWAP_RECORD_LIVE;
  run.Add(11).state = UZSWAP_RECORD_ENDED;
  run.Add(12).state = UZSWAP_RECORD_FAILED;
  run.Add(13);
  run.Add(14);
  run.Add(14).parent = 99;
  ControlBoard board(run.report.get(), [](pid_t pid) { return pid != 13; });
  const std::vector<uzswap_record> all = board.Processes();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].pid, 10);
  EXPECT_EQ(all[1].pid, 14);
  EXPECT_EQ(all[1].parent, 99);
}

TEST(ControlBoard, GarbageFromAProcessIsCutAndNeverReadBack) {
  FakeRun run;
  uzswap_record& record = run.Add(10);
  ControlBoard board(run.report.get(), [](pid_t) { return true; });
  const uint32_t first = board.Ask({{0, "lz4"}});
  std::memset(&run.report->control, 0xff, sizeof(run.report->control));
  run.report->next = 0xffffffff;
  std::memset(record.parameter, 'x', sizeof(record.parameter));
  std::memset(record.program, 'x', sizeof(record.program));
  const uint32_t second = board.Ask({{1, "zsmalloc"}});
  EXPECT_EQ(second, first + 1);
  EXPECT_STREQ(run.report->control.request[0].value, "lz4");
  EXPECT_EQ(run.report->control.sequence, second);
  EXPECT_EQ(run.report->control.version % 2, 0u);
  const std::vector<uzswap_record> all = board.Processes();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(std::strlen(all[0].program), sizeof(record.program) - 1);
  EXPECT_EQ(std::strlen(all[0].parameter[2].value),
            size_t{UZSWAP_PARAMETER_BYTES} - 1);
}

TEST(ControlBoard, AWithdrawnValueGivesWayToTheOneBefore) {
  FakeRun run;
  ControlBoard board(run.report.get());
  const uint32_t good = board.Ask({{0, "zstd"}});
  const uint32_t bad = board.Ask({{0, "bad"}});
  board.Withdraw(0, good);  // not the newest: nothing
  EXPECT_EQ(board.Wanted(0), "bad");
  board.Withdraw(0, bad);
  EXPECT_EQ(board.Wanted(0), "zstd");
  EXPECT_EQ(board.SequenceOf(0), good);
  EXPECT_STREQ(run.report->control.request[0].value, "zstd");
}

TEST(ControlBoard, ZombiesAreNotAlive) {
  EXPECT_TRUE(IsAlive(getpid()));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT),
            0);
  EXPECT_FALSE(IsAlive(child));
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(IsAlive(child));
}

}  // namespace
}  // namespace uzswap::cli
