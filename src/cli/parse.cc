// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "cli/commands.h"
#include "cli/fail.h"

namespace uzswap::cli {

bool ParseWords(CLI::App* app, const std::vector<std::string>& arguments,
                int* exit_code) {
  std::vector<std::string> words(arguments.rbegin(), arguments.rend());
  *exit_code = 0;
  try {
    app->parse(words);  // it takes them from the back
    return true;
  } catch (const CLI::CallForHelp&) {
    std::printf("%s", app->help().c_str());
  } catch (const CLI::ParseError& e) {
    PrintError(std::string(e.what()) + "; see " + app->get_name() + " --help");
    *exit_code = kExitUzswap;
  }
  return false;
}

}  // namespace uzswap::cli
