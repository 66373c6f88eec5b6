// SPDX-License-Identifier: Apache-2.0
// `uzswap list`: what --compressor and --zpool can name here.
#include <cstdio>

#include "cli/commands.h"
#include "cli/fail.h"
#include "cli/layout.h"
#include "cli/options.h"

namespace uzswap::cli {

int ListCommand(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    const std::string& word = arguments[0];
    if (word == "--help" || word == "-h") {
      std::printf(
          "Usage: uzswap list\n\nLists the compressors (--compressor) and "
          "allocators (--zpool) that can be used.\n");
      return 0;
    }
    PrintError("list takes no argument such as '" + word + "'");
    return kExitUzswap;
  }
  Layout layout;
  if (const Check c = FindLayout(&layout)) {
    PrintError(c->sentence);
    return c->exit_code;
  }
  std::printf("compressors\n");
  for (const CompressorEntry& entry : ListCompressors(layout)) {
    std::printf("  %-10s %s%s%s\n", entry.name.c_str(), entry.origin.c_str(),
                entry.problem ? ": " : "",
                entry.problem ? entry.problem->sentence.c_str() : "");
  }
  std::printf("zpools\n");
  for (const char* zpool : kZpools) std::printf("  %-10s built in\n", zpool);
  return 0;
}

}  // namespace uzswap::cli
