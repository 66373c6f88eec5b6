// SPDX-License-Identifier: Apache-2.0
// The commands behind main.cc's table. Each declares its options on a CLI11
// subcommand and returns the exit code of the process.
#ifndef UZSWAP_CLI_COMMANDS_H_
#define UZSWAP_CLI_COMMANDS_H_

#include <string>
#include <vector>

namespace uzswap::cli {

// Prints "uzswap: <sentence>" on standard error.
void PrintError(const std::string& sentence);

int RunCommand(const std::vector<std::string>& arguments);
int ListCommand(const std::vector<std::string>& arguments);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_COMMANDS_H_
