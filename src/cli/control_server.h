// SPDX-License-Identifier: Apache-2.0
// The end of the channel (control.h) that `uzswap run` serves, beside its real
// work: on the thread that waits for the program, without ever blocking it. A
// client that is slow, mute, dead or malicious costs a slot for a few seconds;
// when slots or memory run out, the client that has done least goes first.
#ifndef UZSWAP_CLI_CONTROL_SERVER_H_
#define UZSWAP_CLI_CONTROL_SERVER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <vector>

#include "cli/control.h"
#include "cli/control_board.h"
#include "cli/control_reply.h"
#include "cli/fail.h"
#include "cli/tree_limits.h"

namespace uzswap::cli {

class ControlServer {
 public:
  static constexpr size_t kMaxClients = 64;
  static constexpr size_t kMaxReplyBytes = size_t{16} << 20;  // all together

  ControlServer(uzswap_report* report, ControlInfo info,
                std::function<bool(pid_t)> is_alive = IsAlive);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Fails when somebody else has the name, or there are no descriptors left.
  Check Open();
  // To be kept open; empty when Open failed or was not called.
  std::vector<int> Descriptors() const;

  // Readable when there is something to do; -1: never.
  int fd() const { return epoll_; }
  // Step is to be called after that many milliseconds at the latest; -1: none.
  int timeout_ms() const;
  // Does what can be done without waiting. Throws nothing.
  void Step();

  ControlBoard& board() { return board_; }
  TreeLimits& limits() { return limits_; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { kReading, kWaiting, kWriting };
  struct Client {
    int fd = -1;
    State state = State::kReading;
    bool dropped = false;
    Clock::time_point deadline;  // then a reply is made, or it is dropped
    std::string text;            // what came in, then what goes out
    size_t written = 0;
    ControlRequest request;
    uint32_t sequence = 0;            // 0: its question for classes has to wait
    std::vector<uint32_t> sequences;  // of its assignments
  };

  void StepOrThrow();
  void Accept();
  // Makes room for one more; false: everybody is being served.
  bool DropIdlest();
  void Admit(int fd);
  bool IsAllowed(int fd) const;
  void Read(Client* client);
  void Begin(Client* client, const std::string& line);
  void Wait(Client* client);
  void Look(Client* client);
  void BeginClasses(Client* client);
  void LookForClasses(Client* client);
  void Reply(Client* client, std::string text);
  void Write(Client* client);
  size_t ReplyBytes() const;
  void Drop(Client* client);
  void Listen(bool listening);
  void Close();

  const ControlInfo info_;
  ControlBoard board_;
  TreeLimits limits_;
  int listener_ = -1;
  int epoll_ = -1;
  bool listening_ = false;     // epoll tells about new clients
  std::list<Client> clients_;  // oldest first
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_SERVER_H_
