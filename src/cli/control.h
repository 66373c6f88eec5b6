// SPDX-License-Identifier: Apache-2.0
// The channel between `uzswap get`/`uzswap set` and a running `uzswap run`: a
// Unix stream socket with the abstract name "uzswap-PID" (PID: of `uzswap
// run`), so that nothing is left of it however that ends. One request for each
// connection, one line each way:
//
//   get MILLISECONDS                     figures, brought up to date first
//   classes MILLISECONDS PID             the size classes of that process
//   set MILLISECONDS NAME=VALUE[\tNAME=VALUE ...]
//
// MILLISECONDS is how long to wait for processes that are asleep. The answer is
// one line of JSON, then the connection is closed; control_reply.cc makes it.
// {"error": TEXT} says that the request was not carried out.
//
// Only the user who started `uzswap run`, and root, are answered; credentials
// are the kernel's (SO_PEERCRED), checked by both sides.
#ifndef UZSWAP_CLI_CONTROL_H_
#define UZSWAP_CLI_CONTROL_H_

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "uzswap/uzswap.h"

namespace uzswap::cli {

inline constexpr const char* kParameterNames[] = {
#define UZSWAP_PARAMETER(name) #name,
    UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};

inline constexpr size_t kMaxRequestBytes = 1024;
inline constexpr unsigned kMaxWaitMs = 60'000;

// Position in kParameterNames.
std::optional<unsigned> FindParameter(const std::string& name);
// Those of all processes together included: "memory, ..., compressor, ..."
std::string AllParameterNames();

struct Assignment {
  unsigned parameter;
  std::string value;
};

// Of a limit (tree_limits.h), as the table holds it.
struct LimitAssignment {
  std::string name;
  std::string text;
  uint64_t value;
};

struct ControlRequest {
  bool set = false;
  pid_t classes_of = 0;  // not 0: only its classes
  unsigned wait_ms = 0;
  std::vector<Assignment> assignments;
  std::vector<LimitAssignment> limits;
};

// A line without its '\n'. False: not a request; *why says what is wrong.
bool ParseRequest(const std::string& line, ControlRequest* request,
                  std::string* why);
// With its '\n'.
std::string FormatRequest(const ControlRequest& request);

// The socket of the `uzswap run` with this process id.
struct ControlAddress {
  explicit ControlAddress(pid_t pid);
  const sockaddr* address() const {
    return reinterpret_cast<const sockaddr*>(&name_);
  }
  socklen_t bytes() const { return bytes_; }

 private:
  sockaddr_un name_ = {};
  socklen_t bytes_ = 0;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_H_
