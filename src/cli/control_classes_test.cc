// SPDX-License-Identifier: Apache-2.0
// Questions for size classes: one process answers at a time, so they take turns
// and none of them can stop the others.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "cli/control_client.h"
#include "cli/control_server.h"
#include "cli/control_test_support.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

ControlRequest ClassesRequest(unsigned wait_ms, pid_t pid) {
  ControlRequest request = GetRequest(wait_ms);
  request.classes_of = pid;
  return request;
}

class ControlClasses : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_FALSE(server_.Open());
    loop_ = std::thread([this] {
      while (!stop_) {
        pollfd event = {server_.fd(), POLLIN, 0};
        const int most = server_.timeout_ms();
        poll(&event, 1, most < 0 || most > 20 ? 20 : most);
        server_.Step();
      }
    });
  }
  void TearDown() override {
    stop_ = true;
    loop_.join();
    if (process_.joinable()) process_.join();
  }
  // From now on these answer, with one class of which the size is their number.
  void Answer(const std::vector<int>& pids) {
    process_ = std::thread([this, pids] {
      while (!stop_) {
        for (const int pid : pids) run_.AnswerClasses(pid);
        usleep(500);
      }
    });
  }
  static Json Ask(pid_t pid, unsigned wait_ms = 20'000) {
    Json reply;
    const Check failure =
        AskRun(getpid(), ClassesRequest(wait_ms, pid), &reply);
    if (failure) return Json{{"failure", failure->sentence}};
    return reply;
  }
  static int SizeIn(const Json& reply) {
    return reply.contains("classes") ? reply["classes"][0]["size"].get<int>()
                                     : -1;
  }

  FakeRun run_;
  ControlServer server_{run_.report.get(), ControlInfo{getpid(), "fake"},
                        [](pid_t) { return true; }};
  std::thread loop_, process_;
  std::atomic<bool> stop_{false};
};

TEST_F(ControlClasses, ManyQuestionsAtOnceEachGetTheirOwnAnswer) {
  for (const int pid : {11, 12, 13}) run_.Add(pid);
  Answer({11, 12, 13});
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i) {
    const int pid = 11 + i % 3;
    clients.emplace_back([pid] {
      for (int n = 0; n < 5; ++n) EXPECT_EQ(SizeIn(Ask(pid)), pid);
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(ControlClasses, WhoSleepsIsSaidToSleepAndHoldsUpNobody) {
  for (const int pid : {11, 12}) run_.Add(pid);
  Answer({12});
  std::thread waiting([] { EXPECT_EQ(SizeIn(Ask(12)), 12); });
  EXPECT_NE(Ask(11, 100)["failure"].get<std::string>().find("sleeps"),
            std::string::npos);
  waiting.join();
  EXPECT_EQ(SizeIn(Ask(12)), 12);
}

TEST_F(ControlClasses, AQuestionEndsWithItsClient) {
  for (const int pid : {11, 12}) run_.Add(pid);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const ControlAddress name(getpid());
  ASSERT_EQ(connect(fd, name.address(), name.bytes()), 0);
  const std::string line = FormatRequest(ClassesRequest(60'000, 11));
  ASSERT_EQ(write(fd, line.data(), line.size()),
            static_cast<ssize_t>(line.size()));
  usleep(50'000);
  close(fd);
  Answer({12});
  EXPECT_EQ(SizeIn(Ask(12)), 12);
}

TEST_F(ControlClasses, OneOfSeveralMustBeNamed) {
  EXPECT_NE(Ask(getpid())["failure"].get<std::string>().find("no process"),
            std::string::npos);
  run_.Add(11);
  Answer({11});
  EXPECT_EQ(SizeIn(Ask(getpid())), 11);
  run_.Add(12);
  EXPECT_EQ(Ask(getpid())["failure"],
            "several processes are managed; give the id of one: 11 (fake), "
            "12 (fake)");
}

TEST(ControlClassesProtocol, IsReadAsItIsWritten) {
  ControlRequest request;
  std::string why;
  EXPECT_EQ(FormatRequest(ClassesRequest(200, 42)), "classes 200 42\n");
  ASSERT_TRUE(ParseRequest("classes 200 42", &request, &why)) << why;
  EXPECT_EQ(request.classes_of, 42);
  EXPECT_EQ(request.wait_ms, 200u);
  EXPECT_FALSE(request.set);
  for (const char* bad : {"classes", "classes 200", "classes 200 ",
                          "classes 200 0", "classes 200 x", "classes x 42",
                          "classes 200 42 43", "classes 200 99999999999"}) {
    EXPECT_FALSE(ParseRequest(bad, &request, &why)) << bad;
  }
}

}  // namespace
}  // namespace uzswap::cli
