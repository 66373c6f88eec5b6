// SPDX-License-Identifier: Apache-2.0
#include "cli/control_client.h"

#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "cli/size.h"

namespace uzswap::cli {
namespace {

// Above what the other side may wait for its processes.
constexpr unsigned kPatienceMs = 5000;
constexpr size_t kMaxReplyBytes = size_t{64} << 20;

class Socket {
 public:
  Socket() : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// 0: there is none, or it cannot be seen.
pid_t ParentOf(pid_t pid) {
  const std::string text = ReadAll("/proc/" + std::to_string(pid) + "/stat");
  const size_t name_end = text.rfind(") ");
  if (name_end == std::string::npos || name_end + 4 > text.size()) return 0;
  return std::atoi(text.c_str() + name_end + 4);
}

// As a managed process was told at its start: its parents may have ended.
pid_t SupervisorInEnvironment(pid_t pid) {
  const std::string text =
      '\0' + ReadAll("/proc/" + std::to_string(pid) + "/environ");
  const std::string key = std::string(1, '\0') + "UZSWAP_REPORT=/proc/";
  const size_t at = text.find(key);
  return at == std::string::npos ? 0
                                 : std::atoi(text.c_str() + at + key.size());
}

std::string UserName(uid_t uid) {
  const passwd* const entry = getpwuid(uid);
  return entry != nullptr ? entry->pw_name : "user " + std::to_string(uid);
}

Failure NotTheOwner(pid_t pid, uid_t owner) {
  return {"process " + std::to_string(pid) + " belongs to " + UserName(owner) +
          "; only its owner and root may read or set parameters"};
}

// Why nobody answered for `pid`.
Failure WhyNobody(pid_t pid) {
  if (const Check c = CheckProcess(pid)) return *c;
  return {"process " + std::to_string(pid) +
          " is not under a running 'uzswap run'; give the process id of "
          "'uzswap run' or of a program that it started"};
}

// False: nobody has that name.
bool Connect(const Socket& to, pid_t supervisor) {
  const ControlAddress name(supervisor);
  return connect(to.fd(), name.address(), name.bytes()) == 0;
}

// Anybody can take a name: the kernel says who has.
Check CheckPeer(const Socket& to, pid_t supervisor) {
  ucred who = {};
  socklen_t bytes = sizeof(who);
  if (getsockopt(to.fd(), SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0 ||
      who.pid != supervisor) {
    return Failure{"socket uzswap-" + std::to_string(supervisor) +
                   " belongs to another process (" + std::to_string(who.pid) +
                   "), not to 'uzswap run'"};
  }
  if (who.uid != geteuid() && geteuid() != 0) {
    return NotTheOwner(supervisor, who.uid);
  }
  return {};
}

Check Find(const Socket& to, pid_t pid) {
  // 64: deeper than anybody nests shells.
  pid_t candidate = pid;
  for (int i = 0; i < 64 && candidate > 0; ++i) {
    if (Connect(to, candidate)) return CheckPeer(to, candidate);
    candidate = ParentOf(candidate);
  }
  candidate = SupervisorInEnvironment(pid);
  if (candidate > 0 && Connect(to, candidate)) return CheckPeer(to, candidate);
  return WhyNobody(pid);
}

Check NoAnswer(pid_t pid) {
  return Failure{"'uzswap run' of process " + std::to_string(pid) +
                 " does not answer: it has just ended, or is stopped (kill "
                 "-CONT lets it go on)"};
}

Check Exchange(const Socket& to, pid_t pid, const std::string& request,
               std::string* reply) {
  if (send(to.fd(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size())) {
    return NoAnswer(pid);
  }
  char bytes[65536];
  while (reply->size() < kMaxReplyBytes && !reply->ends_with('\n')) {
    const ssize_t n = read(to.fd(), bytes, sizeof(bytes));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return NoAnswer(pid);
    reply->append(bytes, static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Check ParsePid(const std::string& text, pid_t* pid) {
  const std::optional<unsigned> number = ParseNumber(text, 1, 1u << 30);
  if (!number) {
    return Failure{"'" + text +
                   "' is not a process id; give that of 'uzswap run' or of a "
                   "program that it started"};
  }
  *pid = static_cast<pid_t>(*number);
  return {};
}

Check CheckProcess(pid_t pid) {
  struct stat facts;
  const std::string number = std::to_string(pid);
  if (stat(("/proc/" + number).c_str(), &facts) != 0) {
    return Failure{"there is no process " + number};
  }
  if (facts.st_uid != geteuid() && geteuid() != 0) {
    return NotTheOwner(pid, facts.st_uid);
  }
  return {};
}

Check ParseWait(const std::string& text, unsigned* wait_ms) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(seconds >= 0) ||
      seconds * 1000 > kMaxWaitMs) {
    return Failure{"--wait '" + text +
                   "' is not a number of seconds from 0 to " +
                   std::to_string(kMaxWaitMs / 1000)};
  }
  *wait_ms = static_cast<unsigned>(std::lround(seconds * 1000));
  return {};
}

Check AskRun(pid_t pid, const ControlRequest& request,
             nlohmann::ordered_json* reply) {
  const std::string line = FormatRequest(request);
  if (line.size() > kMaxRequestBytes) {
    return Failure{"these are too many values for one request; use several"};
  }
  const Socket to;
  if (to.fd() < 0) {
    return Failure{std::string("cannot make a socket: ") +
                   std::strerror(errno)};
  }
  const unsigned patience = request.wait_ms + kPatienceMs;
  const timeval time = {patience / 1000, patience % 1000 * 1000};
  setsockopt(to.fd(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(to.fd(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
  if (Check c = Find(to, pid)) return c;
  std::string text;
  if (Check c = Exchange(to, pid, line, &text)) return c;
  *reply = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!reply->is_object()) return NoAnswer(pid);
  if (reply->contains("error")) return Failure{(*reply)["error"]};
  return {};
}

}  // namespace uzswap::cli
