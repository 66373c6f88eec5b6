// SPDX-License-Identifier: Apache-2.0
#include "cli/control.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "cli/size.h"
#include "cli/tree_limits.h"

namespace uzswap::cli {
namespace {

// What one process would refuse to read is refused here.
bool IsPrintable(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f;
  });
}

bool ParseAssignment(const std::string& text, ControlRequest* request,
                     std::string* why) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) {
    *why = "'" + text + "' is not of the form NAME=VALUE";
    return false;
  }
  const std::string name = text.substr(0, equals);
  if (IsLimit(name)) {
    LimitAssignment limit{name, text.substr(equals + 1), 0};
    if (const Check c = ParseLimit(name, limit.text, &limit.value)) {
      *why = c->sentence;
      return false;
    }
    request->limits.push_back(limit);
    return true;
  }
  const std::optional<unsigned> parameter = FindParameter(name);
  if (!parameter) {
    *why = "there is no parameter '" + name + "'; there are " +
           AllParameterNames();
    return false;
  }
  const std::string value = text.substr(equals + 1);
  if (value.size() >= UZSWAP_PARAMETER_BYTES) {
    *why = "the value of " + name + " is longer than " +
           std::to_string(UZSWAP_PARAMETER_BYTES - 1) + " bytes";
    return false;
  }
  request->assignments.push_back({*parameter, value});
  return true;
}

bool ParseProcess(const std::string& line, size_t at, ControlRequest* request,
                  std::string* why) {
  std::optional<unsigned> pid;
  if (at < line.size()) pid = ParseNumber(line.substr(at + 1), 1, 1u << 30);
  if (!pid) {
    *why = "classes needs a process id";
    return false;
  }
  request->classes_of = static_cast<pid_t>(*pid);
  return true;
}

}  // namespace

std::optional<unsigned> FindParameter(const std::string& name) {
  const auto* const at =
      std::find(std::begin(kParameterNames), std::end(kParameterNames), name);
  if (at == std::end(kParameterNames)) return {};
  return static_cast<unsigned>(at - std::begin(kParameterNames));
}

std::string AllParameterNames() {
  std::string all;
  for (const char* name : kLimitNames) {
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  for (const char* name : kParameterNames) {
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return all;
}

bool ParseRequest(const std::string& line, ControlRequest* request,
                  std::string* why) {
  *request = {};
  const size_t verb_end = line.find(' ');
  const std::string verb = line.substr(0, verb_end);
  if (verb_end == std::string::npos ||
      (verb != "get" && verb != "set" && verb != "classes")) {
    *why = "the request is none of 'get', 'set' and 'classes'";
    return false;
  }
  request->set = verb == "set";
  const size_t wait_end = std::min(line.find(' ', verb_end + 1), line.size());
  const std::optional<unsigned> wait = ParseNumber(
      line.substr(verb_end + 1, wait_end - verb_end - 1), 0, kMaxWaitMs);
  if (!wait) {
    *why = "the time to wait is not 0 to " + std::to_string(kMaxWaitMs) +
           " milliseconds";
    return false;
  }
  request->wait_ms = *wait;
  if (verb == "classes") return ParseProcess(line, wait_end, request, why);
  if (request->set != (wait_end < line.size())) {
    *why = request->set ? "set needs NAME=VALUE" : "get takes no value";
    return false;
  }
  for (size_t at = wait_end; at < line.size();) {
    const size_t end = std::min(line.find('\t', at + 1), line.size());
    const std::string word = line.substr(at + 1, end - at - 1);
    if (!IsPrintable(word)) {
      *why = "a value has characters that cannot be printed";
      return false;
    }
    if (!ParseAssignment(word, request, why)) return false;
    at = end;
  }
  return true;
}

std::string FormatRequest(const ControlRequest& request) {
  std::string line = request.classes_of != 0 ? "classes "
                     : request.set           ? "set "
                                             : "get ";
  line += std::to_string(request.wait_ms);
  if (request.classes_of != 0) {
    line += " " + std::to_string(request.classes_of);
  }
  char separator = ' ';
  for (const Assignment& a : request.assignments) {
    line +=
        separator + std::string(kParameterNames[a.parameter]) + "=" + a.value;
    separator = '\t';
  }
  for (const LimitAssignment& limit : request.limits) {
    line += separator + limit.name + "=" + limit.text;
    separator = '\t';
  }
  return line + "\n";
}

ControlAddress::ControlAddress(pid_t pid) {
  name_.sun_family = AF_UNIX;
  const std::string name = "uzswap-" + std::to_string(pid);
  // The first byte is zero: abstract.
  std::memcpy(name_.sun_path + 1, name.data(), name.size());
  bytes_ =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

}  // namespace uzswap::cli
