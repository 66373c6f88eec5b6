// SPDX-License-Identifier: Apache-2.0
// The commands behind main.cc's table. Each declares its options on a CLI11
// subcommand and returns the exit code of the process.
#ifndef UZSWAP_CLI_COMMANDS_H_
#define UZSWAP_CLI_COMMANDS_H_

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace uzswap::cli {

// Prints "uzswap: <sentence>" on standard error.
void PrintError(const std::string& sentence);

// Parses a command without a program behind it. True: go on; false: *exit_code
// is the answer (--help, or an error that has been printed).
bool ParseWords(CLI::App* app, const std::vector<std::string>& arguments,
                int* exit_code);

int RunCommand(const std::vector<std::string>& arguments);
int GetCommand(const std::vector<std::string>& arguments);
int SetCommand(const std::vector<std::string>& arguments);
int ListCommand(const std::vector<std::string>& arguments);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_COMMANDS_H_
