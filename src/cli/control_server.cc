// SPDX-License-Identifier: Apache-2.0
#include "cli/control_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

namespace uzswap::cli {
namespace {

using std::chrono::milliseconds;

// For a request to arrive, and for an answer to be read.
constexpr milliseconds kPatience{3000};
// Within which nobody is sent away to make room: a request may be on its way.
constexpr milliseconds kChance{50};
// How often processes are looked at while somebody waits for them.
constexpr milliseconds kLook{5};
// After which a full table is tried again.
constexpr milliseconds kFull{100};

}  // namespace

ControlServer::ControlServer(uzswap_report* report, ControlInfo info,
                             std::function<bool(pid_t)> is_alive)
    : info_(std::move(info)),
      board_(report, is_alive),
      limits_(&report->tree, is_alive) {}

ControlServer::~ControlServer() { Close(); }

Check ControlServer::Open() {
  const ControlAddress name(info_.supervisor);
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (listener_ < 0 || epoll_ < 0 ||
      bind(listener_, name.address(), name.bytes()) != 0 ||
      listen(listener_, SOMAXCONN) != 0) {
    const int error = errno;
    Close();
    return Failure{
        "the parameters of this run cannot be read or set while it "
        "runs: socket uzswap-" +
        std::to_string(info_.supervisor) + ": " + std::strerror(error)};
  }
  Listen(true);
  return {};
}

void ControlServer::Close() {
  while (!clients_.empty()) {
    close(clients_.front().fd);
    clients_.pop_front();
  }
  for (int* fd : {&listener_, &epoll_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
}

std::vector<int> ControlServer::Descriptors() const {
  if (epoll_ < 0) return {};
  return {listener_, epoll_};
}

int ControlServer::timeout_ms() const {
  if (epoll_ < 0) return limits_.timeout_ms();
  const Clock::time_point now = Clock::now();
  Clock::duration least = milliseconds(limits_.timeout_ms());
  if (!listening_) least = std::min<Clock::duration>(least, kFull);
  for (const Client& client : clients_) {
    if (client.state == State::kWaiting)
      least = std::min<Clock::duration>(least, kLook);
    least = std::min(least, client.deadline - now);
  }
  const auto ms = std::chrono::ceil<milliseconds>(least).count();
  return static_cast<int>(std::max<decltype(ms)>(ms, 0));
}

void ControlServer::Step() {
  try {
    limits_.Step();
    if (epoll_ >= 0) StepOrThrow();
  } catch (const std::exception&) {
    // No memory. The program matters more than its parameters.
    Close();
  }
}

void ControlServer::StepOrThrow() {
  if (!listening_) Listen(true);
  epoll_event events[kMaxClients + 1];
  const int n = epoll_wait(epoll_, events, std::size(events), 0);
  bool arrived = false;
  for (int i = 0; i < n; ++i) {
    auto* const client = static_cast<Client*>(events[i].data.ptr);
    if (client == nullptr) {
      arrived = true;
    } else if (client->state == State::kReading) {
      Read(client);
    } else if (client->state == State::kWriting) {
      Write(client);
    } else {
      Drop(client);  // it hung up
    }
  }
  const Clock::time_point now = Clock::now();
  for (Client& client : clients_) {
    if (client.dropped) continue;
    if (client.state == State::kWaiting) {
      Look(&client);
    } else if (client.deadline <= now) {
      Drop(&client);
    }
  }
  std::erase_if(clients_, [](const Client& c) { return c.dropped; });
  if (arrived) Accept();
}

void ControlServer::Listen(bool listening) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  epoll_ctl(epoll_, listening ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_,
            &event);
  listening_ = listening;
}

void ControlServer::Accept() {
  for (size_t i = 0; i < kMaxClients; ++i) {
    if (clients_.size() >= kMaxClients && !DropIdlest()) {
      Listen(false);
      return;
    }
    const int fd =
        accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return;
    // No descriptor, no memory: again when somebody has gone.
    if (!DropIdlest()) Listen(false);
    return;
  }
}

bool ControlServer::DropIdlest() {
  const Clock::time_point latest = Clock::now() + kPatience - kChance;
  for (const State state : {State::kReading, State::kWriting}) {
    const auto at =
        std::find_if(clients_.begin(), clients_.end(), [&](const Client& c) {
          return c.state == state && c.deadline <= latest;
        });
    if (at == clients_.end()) continue;
    Drop(&*at);
    clients_.erase(at);
    return true;
  }
  return false;
}

bool ControlServer::IsAllowed(int fd) const {
  ucred who = {};
  socklen_t bytes = sizeof(who);
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 &&
         (who.uid == geteuid() || who.uid == 0);
}

void ControlServer::Admit(int fd) {
  if (!IsAllowed(fd)) {
    const std::string text = ErrorReply(
        "only the user who started this run, and root, may read or set its "
        "parameters");
    const ssize_t ignored =
        send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    static_cast<void>(ignored);
    close(fd);
    return;
  }
  Client& client = clients_.emplace_back();
  client.fd = fd;
  client.deadline = Clock::now() + kPatience;
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.ptr = &client;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) Drop(&client);
}

void ControlServer::Drop(Client* client) {
  if (client->dropped) return;
  if (client->request.classes_of != 0) board_.EndClasses(client->sequence);
  // Closing alone does not make epoll forget what a fork has a copy of.
  epoll_ctl(epoll_, EPOLL_CTL_DEL, client->fd, nullptr);
  close(client->fd);
  client->dropped = true;
  client->text = {};
}

void ControlServer::Read(Client* client) {
  char bytes[kMaxRequestBytes];
  const ssize_t n = read(client->fd, bytes, sizeof(bytes));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Drop(client);
  client->text.append(bytes, static_cast<size_t>(n));
  const size_t end = client->text.find('\n');
  if (end != std::string::npos && end < kMaxRequestBytes) {
    const std::string line = client->text.substr(0, end);
    client->text.clear();
    Begin(client, line);
  } else if (client->text.size() >= kMaxRequestBytes) {
    Reply(client, ErrorReply("the request is too long"));
  }
}

void ControlServer::Begin(Client* client, const std::string& line) {
  std::string why;
  if (!ParseRequest(line, &client->request, &why)) {
    return Reply(client, ErrorReply(why));
  }
  if (client->request.classes_of != 0) return BeginClasses(client);
  for (const LimitAssignment& limit : client->request.limits) {
    limits_.Set(limit.name, limit.value);
  }
  client->sequence = board_.Ask(client->request.assignments);
  const auto count = static_cast<uint32_t>(client->request.assignments.size());
  for (uint32_t i = 0; i < count; ++i) {
    client->sequences.push_back(client->sequence - count + 1 + i);
  }
  Wait(client);
}

void ControlServer::BeginClasses(Client* client) {
  std::string why;
  const std::optional<pid_t> pid =
      ChooseProcess(info_, client->request.classes_of, board_, &why);
  if (!pid) return Reply(client, ErrorReply(why));
  client->request.classes_of = *pid;
  client->sequence = board_.AskClasses(*pid);
  Wait(client);
}

void ControlServer::Wait(Client* client) {
  client->state = State::kWaiting;
  client->deadline = Clock::now() + milliseconds(client->request.wait_ms);
  // Nothing more is read; a hang-up is always told.
  epoll_event event = {};
  event.data.ptr = client;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, client->fd, &event);
}

void ControlServer::LookForClasses(Client* client) {
  if (client->sequence == 0) {
    client->sequence = board_.AskClasses(client->request.classes_of);
  }
  const bool answered =
      client->sequence != 0 && board_.ClassesAnswered(client->sequence);
  if (!answered && Clock::now() < client->deadline) return;
  std::string text =
      MakeClassesReply(client->request.classes_of, answered, board_);
  board_.EndClasses(client->sequence);
  Reply(client, std::move(text));
}

void ControlServer::Look(Client* client) {
  if (client->request.classes_of != 0) return LookForClasses(client);
  // Limits need nobody's consent.
  const bool waits =
      !client->request.assignments.empty() || !client->request.set;
  if (waits && Clock::now() < client->deadline) {
    const std::vector<uzswap_record> processes = board_.Processes();
    const bool pending = std::any_of(
        processes.begin(), processes.end(),
        [client](const uzswap_record& r) { return r.seen < client->sequence; });
    if (pending) return;
  }
  Reply(client, MakeReply(info_, client->request, client->sequence,
                          client->sequences, &board_, limits_));
}

size_t ControlServer::ReplyBytes() const {
  size_t sum = 0;
  for (const Client& client : clients_) sum += client.text.size();
  return sum;
}

void ControlServer::Reply(Client* client, std::string text) {
  client->text = std::move(text);
  client->written = 0;
  client->state = State::kWriting;
  client->deadline = Clock::now() + kPatience;
  epoll_event event = {};
  event.events = EPOLLOUT;
  event.data.ptr = client;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, client->fd, &event);
  Write(client);
  // Whoever has had the longest time to read goes first.
  for (Client& other : clients_) {
    if (ReplyBytes() <= kMaxReplyBytes) return;
    if (other.state == State::kWriting && &other != client) Drop(&other);
  }
}

void ControlServer::Write(Client* client) {
  const ssize_t n =
      send(client->fd, client->text.data() + client->written,
           client->text.size() - client->written, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return Drop(client);
  client->written += static_cast<size_t>(n);
  if (client->written < client->text.size()) return;
  Drop(client);
}

}  // namespace uzswap::cli
