// SPDX-License-Identifier: Apache-2.0
// `uzswap set PID NAME=VALUE ...`: changes parameters of a running program, and
// says of every process whether it took them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/control_client.h"

namespace uzswap::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Words {
  std::string pid;
  std::vector<std::string> assignments;
  std::string wait = "2";
  bool json = false;
};

std::string Text(const Json& json, const char* name) {
  return json[name].get<std::string>();
}

std::string Title(const Json& process) {
  return Text(process, "program") + " (" +
         std::to_string(process["pid"].get<int>()) + ")";
}

std::string Compressors(const Json& reply, int pid) {
  for (const Json& process : reply["processes"]) {
    if (process["pid"] == pid) return Text(process, "compressors");
  }
  return {};
}

// What `error` means for this parameter, and what to do.
std::string Explain(const Json& reply, const Json& process,
                    const std::string& name, int error) {
  const bool is_number = name.ends_with("_percent");
  const bool is_name = name.ends_with("compressor") || name == "zpool";
  const bool is_compressor = name == "compressor" || name == "recompressor";
  if (error == ENOENT && is_compressor) {
    return "it has no such compressor; there are " +
           Compressors(reply, process["pid"]);
  }
  if (error == ENOENT && name == "zpool") {
    return "it has no such zpool; see uzswap list";
  }
  if (error == EINVAL && name == "zpool") {
    return "only zsmalloc takes a chain, of 4 to 64 pages (zsmalloc:16)";
  }
  if ((error == EINVAL || error == ERANGE) && is_number) {
    return "give a whole number from 0 to 100";
  }
  if (error == EINVAL && is_compressor) {
    return "the compressor does not have that level; leave ':LEVEL' out, or "
           "give another";
  }
  if (error == EINVAL && !is_name) return "give Y or N";
  if (error == ENOSPC) {
    return "too many compressors at a time still have pages in it; give the "
           "old ones time to empty, or go back to one of them";
  }
  if (error == ENOMEM) return "there is no memory to set it up";
  if (error == ENODEV) return "it has no pool; set a compressor that works";
  if (is_compressor) {
    return std::string("it could not be set up: ") + std::strerror(error);
  }
  return std::strerror(error);
}

std::vector<std::string> Failures(const Json& reply) {
  std::vector<std::string> all;
  for (const Json& result : reply["results"]) {
    const std::string name = Text(result, "name");
    for (const Json& process : result["processes"]) {
      if (process["state"] != "failed") continue;
      all.push_back(name + "=" + Text(result, "value") + " was refused by " +
                    Title(process) + ": " +
                    Explain(reply, process, name, process["error"].get<int>()));
    }
  }
  return all;
}

std::string Names(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 5; ++i) {
    text += (i == 0 ? "" : ", ") + names[i];
  }
  return names.size() > 5 ? text + " ..." : text;
}

// Processes that have not taken everything that still stands.
std::string Sleepers(const Json& reply) {
  std::vector<std::string> asleep;
  for (const Json& result : reply["results"]) {
    if (result["withdrawn"]) continue;
    for (const Json& process : result["processes"]) {
      if (process["state"] != "asleep") continue;
      const std::string title = Title(process);
      if (std::find(asleep.begin(), asleep.end(), title) == asleep.end()) {
        asleep.push_back(title);
      }
    }
  }
  if (asleep.empty()) return {};
  const bool one = asleep.size() == 1;
  return std::to_string(asleep.size()) + " of " +
         std::to_string(reply["processes"].size()) + " processes " +
         (one ? "has" : "have") + " not taken it yet: " + Names(asleep) +
         (one ? " is asleep and will at its"
              : " are asleep and will at their") +
         " next system call or fault";
}

Check Set(const Words& words) {
  pid_t pid = 0;
  if (Check c = ParsePid(words.pid, &pid)) return c;
  unsigned wait_ms = 0;
  if (Check c = ParseWait(words.wait, &wait_ms)) return c;
  std::string line = "set " + std::to_string(wait_ms);
  char separator = ' ';
  for (const std::string& word : words.assignments) {
    line += separator + word;
    separator = '\t';
  }
  ControlRequest request;
  std::string why;
  if (!ParseRequest(line, &request, &why)) {
    // Whoever has no business with it need not know its parameters.
    if (Check c = CheckProcess(pid)) return c;
    return Failure{why};
  }
  Json reply;
  if (Check c = AskRun(pid, request, &reply)) return c;
  if (words.json) std::printf("%s\n", reply.dump(2).c_str());
  const std::string sleepers = Sleepers(reply);
  if (!sleepers.empty()) PrintError(sleepers);
  if (reply["processes"].empty() && !request.assignments.empty()) {
    PrintError("no managed process runs at the moment; those to come take it");
  }
  const std::vector<std::string> failures = Failures(reply);
  if (failures.empty()) return {};
  for (size_t i = 1; i < failures.size(); ++i) PrintError(failures[i]);
  return Failure{failures[0]};
}

}  // namespace

int SetCommand(const std::vector<std::string>& arguments) {
  CLI::App app(
      "Changes parameters of a program under `uzswap run`, in all its "
      "processes and those to come.",
      "uzswap set");
  app.set_help_flag("-h,--help", "print this help");
  Words words;
  app.add_option("PID", words.pid, "`uzswap run`, or a program that it started")
      ->required()
      ->type_name("");
  app.add_option("NAME=VALUE", words.assignments,
                 "of " + AllParameterNames() + "; compressor=NAME:LEVEL, too")
      ->required()
      ->type_name("");
  app.add_option("--wait", words.wait,
                 "how long to wait for processes that sleep (2)")
      ->type_name("SECONDS");
  app.add_flag("--json", words.json, "print what each process did, as JSON");
  int exit_code = 0;
  if (!ParseWords(&app, arguments, &exit_code)) return exit_code;
  const Check failure = Set(words);
  if (!failure) return 0;
  PrintError(failure->sentence);
  return failure->exit_code;
}

}  // namespace uzswap::cli
