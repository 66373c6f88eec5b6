// SPDX-License-Identifier: Apache-2.0
// uzswap: the command. One table of subcommands; each parses its own options.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/fail.h"
#include "cli/version.h"

namespace uzswap::cli {
namespace {

struct Command {
  const char* name;
  const char* help;
  int (*run)(const std::vector<std::string>& arguments);
};

constexpr Command kCommands[] = {
    {"run", "run a program with its memory kept under a limit", RunCommand},
    {"get", "print the parameters of a running program", GetCommand},
    {"set", "change parameters of a running program", SetCommand},
    {"list", "list compressors and allocators", ListCommand},
};

int Help() {
  std::printf(
      "uzswap: keeps the memory of a program under a limit by compressing "
      "cold pages\n\nUsage: uzswap COMMAND ...\n\n");
  for (const Command& command : kCommands) {
    std::printf("  %-6s %s\n", command.name, command.help);
  }
  std::printf(
      "\n  uzswap run --memory 512M -- sort -S 2G big.txt -o sorted.txt\n\n"
      "`uzswap COMMAND --help` tells more; --version prints the version.\n");
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    PrintError("no command; see uzswap --help");
    return kExitUzswap;
  }
  const std::string& name = arguments[0];
  if (name == "--help" || name == "-h" || name == "help") return Help();
  if (name == "--version") {
    std::printf("uzswap %s\n", kVersion);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) {
      return command.run({arguments.begin() + 1, arguments.end()});
    }
  }
  PrintError("command '" + name + "' is not known; see uzswap --help");
  return kExitUzswap;
}

}  // namespace
}  // namespace uzswap::cli

int main(int argc, char** argv) {
  try {
    return uzswap::cli::Main({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::exception& e) {
    uzswap::cli::PrintError(std::string("unexpected: ") + e.what());
    return uzswap::cli::kExitUzswap;
  }
}
