// SPDX-License-Identifier: Apache-2.0
// The channel against clients of every kind. A thread plays the
// supervisor's loop.
#include "cli/control_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "cli/control_board.h"
#include "cli/control_client.h"
#include "cli/control_test_support.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

class ControlChannel : public testing::Test {
 protected:
  void SetUp() override {
    run.report->magic = UZSWAP_REPORT_MAGIC;
    server = std::make_unique<ControlServer>(run.report.get(),
                                             ControlInfo{getpid(), "fake"},
                                             [](pid_t) { return true; });
    const Check failure = server->Open();
    ASSERT_FALSE(failure) << failure->sentence;
    ASSERT_EQ(server->Descriptors().size(), 2u);
  }
  void TearDown() override { Stop(); }

  // As Supervisor::Wait.
  void Serve() {
    thread = std::thread([this] {
      while (!stop) {
        pollfd event = {server->fd(), POLLIN, 0};
        const int most = server->timeout_ms();
        poll(&event, 1, most < 0 || most > 50 ? 50 : most);
        server->Step();
        ++steps;
      }
    });
  }
  void Stop() {
    stop = true;
    if (thread.joinable()) thread.join();
  }

  int Connect() const {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_GE(fd, 0);
    const ControlAddress name(self);
    EXPECT_EQ(connect(fd, name.address(), name.bytes()), 0)
        << std::strerror(errno);
    return fd;
  }
  static void Send(int fd, const std::string& text) {
    send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }
  static std::string ReadAll(int fd) {
    std::string text;
    char bytes[4096];
    for (ssize_t n; (n = read(fd, bytes, sizeof(bytes))) > 0;) {
      text.append(bytes, static_cast<size_t>(n));
    }
    return text;
  }
  // A request that must be answered, whatever else goes on.
  void ExpectAlive() {
    Json reply;
    const Check failure = AskRun(getpid(), GetRequest(0), &reply);
    ASSERT_FALSE(failure) << failure->sentence;
    EXPECT_EQ(reply["supervisor"], getpid());
  }

  const pid_t self = getpid();  // a forked client's is another
  FakeRun run;
  std::unique_ptr<ControlServer> server;
  std::thread thread;
  std::atomic<bool> stop{false};
  std::atomic<int> steps{0};
};

TEST_F(ControlChannel, ASetIsAnsweredWhenEverybodyHasTakenIt) {
  uzswap_record& record = run.Add(getpid());
  Serve();
  std::thread process([&] {
    while (std::atomic_ref(run.report->control.sequence).load() == 0) {
      usleep(1000);
    }
    run.Take(record);
  });
  Json reply;
  const Check failure =
      AskRun(getpid(), SetRequest(20000, "compressor=zstd"), &reply);
  process.join();
  ASSERT_FALSE(failure) << failure->sentence;
  EXPECT_EQ(reply["results"][0]["processes"][0]["state"], "taken");
  EXPECT_EQ(reply["processes"][0]["parameters"]["compressor"], "zstd");
  EXPECT_EQ(reply["processes"][0]["asleep"], false);
  EXPECT_EQ(reply["requested"]["compressor"], "zstd");
}

TEST_F(ControlChannel, AProcessThatSleepsIsReportedAsAsleep) {
  run.Add(getpid());
  Serve();
  const auto begin = std::chrono::steady_clock::now();
  Json reply;
  ASSERT_FALSE(AskRun(getpid(), SetRequest(200, "enabled=N"), &reply));
  EXPECT_GE(std::chrono::steady_clock::now() - begin,
            std::chrono::milliseconds(200));
  EXPECT_EQ(reply["results"][0]["processes"][0]["state"], "asleep");
  EXPECT_EQ(reply["results"][0]["withdrawn"], false);
  EXPECT_EQ(reply["requested"]["enabled"], "N");
}

TEST_F(ControlChannel, AValueThatNobodyCanTakeIsWithdrawn) {
  uzswap_record& record = run.Add(getpid());
  Serve();
  std::thread process([&] {
    while (!stop) {
      run.Take(record);
      usleep(1000);
    }
  });
  Json reply;
  ASSERT_FALSE(AskRun(getpid(), SetRequest(5000, "zpool=good"), &reply));
  ASSERT_FALSE(AskRun(getpid(), SetRequest(5000, "zpool=bad"), &reply));
  Stop();
  process.join();
  EXPECT_EQ(reply["results"][0]["processes"][0]["state"], "failed");
  EXPECT_EQ(reply["results"][0]["processes"][0]["error"], EINVAL);
  EXPECT_EQ(reply["results"][0]["withdrawn"], true);
  EXPECT_EQ(reply["requested"]["zpool"], "good");
}

TEST_F(ControlChannel, GarbageAndHalfMessagesAreAnsweredOrDropped) {
  Serve();
  for (const std::string& text : std::vector<std::string>{
           "hello\n", "\n", std::string(5000, 'x'), std::string(100, '\0'),
           "set 0 enabled=1 and more\n", std::string("\xff\xfe\n"),
           "get 0\nget 0\nget 0\n"}) {
    const int fd = Connect();
    Send(fd, text);
    if (text.find('\n') != std::string::npos || text.size() > 1024) {
      const Json reply = Json::parse(ReadAll(fd), nullptr, false);
      EXPECT_TRUE(reply.is_object()) << text;
    }
    close(fd);
  }
  const int half = Connect();
  Send(half, "set 0 ena");
  ExpectAlive();
  Send(half, "bled=N\n");
  EXPECT_EQ(Json::parse(ReadAll(half))["requested"]["enabled"], "N");
  close(half);
}

TEST_F(ControlChannel, AThousandMuteClientsDoNotKeepOutTheNext) {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  Serve();
  std::vector<int> mute;
  for (int i = 0; i < 1000; ++i) {
    mute.push_back(Connect());
    if (i % 3 == 0) Send(mute.back(), "get");
  }
  const auto begin = std::chrono::steady_clock::now();
  ExpectAlive();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
  for (const int fd : mute) close(fd);
  ExpectAlive();
}

TEST_F(ControlChannel, AThousandClientsAreAllAnswered) {
  Serve();
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 20; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        Json reply;
        answered += !AskRun(getpid(), GetRequest(0), &reply);
      }
    });
  }
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(answered, 1000);
}

TEST_F(ControlChannel, ManyWaitingClientsAreAllServedInTheEnd) {
  uzswap_record& record = run.Add(getpid());
  Serve();
  std::vector<int> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(Connect());
    Send(clients.back(), "set 300 max_pool_percent=10\n");
  }
  run.Take(record);
  int answered = 0;
  for (const int fd : clients) {
    answered += Json::parse(ReadAll(fd), nullptr, false).is_object();
    close(fd);
  }
  EXPECT_EQ(answered, 200);
}

TEST_F(ControlChannel, ASlowReaderDoesNotHoldUpAnybody) {
  for (int i = 0; i < 400; ++i) run.Add(i + 1);  // an answer of a megabyte
  Serve();
  // Not optimised and under a sanitizer, one answer takes a quarter of a
  // second.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || \
    defined(UZSWAP_DEBUG)
  constexpr int kSlow = 8;
#else
  constexpr int kSlow = 50;
#endif
  std::vector<int> slow;
  for (int i = 0; i < kSlow; ++i) {
    slow.push_back(Connect());
    const int small = 1;
    setsockopt(slow.back(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    Send(slow.back(), "get 0\n");
  }
  ExpectAlive();
  for (const int fd : slow) close(fd);
  ExpectAlive();
}

TEST_F(ControlChannel, AClientKilledAtAnyMomentLeavesNoTrace) {
  run.Add(getpid());
  Serve();
  for (int i = 0; i < 30; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      const int fd = Connect();
      Send(fd, i % 2 == 0 ? "set 60000 enabled=1\n" : "set 600");
      pause();
    }
    usleep(2000);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  ExpectAlive();
}

TEST_F(ControlChannel, NothingToDoCostsTenLooksASecond) {
  Serve();
  ExpectAlive();
  usleep(100'000);
  const int before = steps;
  usleep(500'000);
  EXPECT_LE(steps - before, 15);  // the thread's own 50 ms
  Stop();
  usleep(110'000);  // it is due
  server->Step();
  EXPECT_GT(server->timeout_ms(), 50);
}

TEST_F(ControlChannel, AnotherUserIsRefused) {
  if (getuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  // A server that is not root's: root is let in, a third user is not.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t owner = fork();
  if (owner == 0) {
    if (setuid(65534) != 0) _exit(1);
    ControlServer mine(run.report.get(), {getpid(), "mine"});
    if (mine.Open()) _exit(2);
    if (write(ready[1], "x", 1) != 1) _exit(3);
    for (;;) {
      pollfd event = {mine.fd(), POLLIN, 0};
      poll(&event, 1, mine.timeout_ms());
      mine.Step();
    }
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  Json reply;
  EXPECT_FALSE(AskRun(owner, GetRequest(0), &reply));
  const pid_t third = fork();
  if (third == 0) {
    if (setuid(65533) != 0) _exit(1);
    // Not even without the client's own check.
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    const ControlAddress name(owner);
    if (connect(fd, name.address(), name.bytes()) != 0) _exit(2);
    Send(fd, "set 0 enabled=N\n");
    const Json answer = Json::parse(ReadAll(fd), nullptr, false);
    if (!answer.is_object() || !answer.contains("error")) _exit(3);
    const Check failure = AskRun(owner, GetRequest(0), &reply);
    if (!failure) _exit(4);
    _exit(failure->sentence.find("only its owner") == std::string::npos ? 5
                                                                        : 0);
  }
  int status = 0;
  waitpid(third, &status, 0);
  EXPECT_EQ(status, 0) << WEXITSTATUS(status);
  EXPECT_EQ(run.report->control.sequence, 0u);
  kill(owner, SIGKILL);
  waitpid(owner, nullptr, 0);
}

TEST_F(ControlChannel, ANameThatIsTakenIsAFailureAndNothingElse) {
  ControlServer second(run.report.get(), {getpid(), "second"});
  const Check failure = second.Open();
  ASSERT_TRUE(failure);
  EXPECT_NE(failure->sentence.find("uzswap-"), std::string::npos);
  EXPECT_EQ(second.fd(), -1);
  EXPECT_TRUE(second.Descriptors().empty());
  second.Step();
}

TEST_F(ControlChannel, NoDescriptorsLeftIsSurvived) {
  Serve();
  const int client = Connect();
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit none = {static_cast<rlim_t>(client) + 1, old.rlim_max};
  usleep(100'000);
  std::vector<int> fillers;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int fd; (fd = dup(0)) >= 0;) fillers.push_back(fd);
  usleep(300'000);
  for (const int fd : fillers) close(fd);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  ExpectAlive();
  close(client);
}

TEST(ControlClient, SaysWhyNobodyAnswers) {
  Json reply;
  const Check none = AskRun(1 << 29, GetRequest(0), &reply);
  ASSERT_TRUE(none);
  EXPECT_NE(none->sentence.find("no process 536870912"), std::string::npos);
  const Check here = AskRun(getpid(), GetRequest(0), &reply);
  ASSERT_TRUE(here);
  EXPECT_EQ(here->exit_code, kExitUzswap);
  EXPECT_NE(here->sentence.find("not under a running 'uzswap run'"),
            std::string::npos);
}

TEST(ControlClient, ReadsPidsAndTimesStrictly) {
  pid_t pid = 0;
  for (const char* bad : {"", "0", "-1", "abc", "12x", "99999999999"}) {
    EXPECT_TRUE(ParsePid(bad, &pid)) << bad;
  }
  EXPECT_FALSE(ParsePid("123", &pid));
  EXPECT_EQ(pid, 123);
  unsigned ms = 0;
  for (const char* bad : {"", "x", "-1", "1s", "61", "nan", "inf"}) {
    EXPECT_TRUE(ParseWait(bad, &ms)) << bad;
  }
  EXPECT_FALSE(ParseWait("0.25", &ms));
  EXPECT_EQ(ms, 250u);
}

}  // namespace
}  // namespace uzswap::cli
