// SPDX-License-Identifier: Apache-2.0
// Where the parts of uzswap are, relative to the command itself: beside it in
// a build tree, in ../lib/uzswap when installed. And which compressors there
// are.
#ifndef UZSWAP_CLI_LAYOUT_H_
#define UZSWAP_CLI_LAYOUT_H_

#include <string>
#include <vector>

#include "cli/fail.h"

namespace uzswap::cli {

struct Layout {
  std::string preload;     // libuzswap-preload.so
  std::string plugin_dir;  // empty: there is none
};

Check FindLayout(Layout* layout);

struct CompressorEntry {
  std::string name;
  std::string origin;  // "built in", or the file
  Check problem;       // a plug-in that cannot be loaded
};
// Built-in ones first, then plug-ins by name.
std::vector<CompressorEntry> ListCompressors(const Layout& layout);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_LAYOUT_H_
