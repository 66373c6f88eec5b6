// SPDX-License-Identifier: Apache-2.0
#include "cli/layout.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <system_error>

#include "uzswap/compressor.h"

namespace uzswap::cli {
namespace {

constexpr char kPreload[] = "libuzswap-preload.so";
constexpr std::string_view kPrefix = "uzswap-compressor-";
constexpr std::string_view kSuffix = ".so";
constexpr const char* kBuiltIn[] = {"lz4",     "lz4hc", "lzo-rle", "zstd",
                                    "deflate", "842",   "copy"};

std::string OwnDirectory() {
  char path[PATH_MAX];
  const ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path));
  if (bytes <= 0) return {};
  return std::filesystem::path(std::string(path, static_cast<size_t>(bytes)))
      .parent_path();
}

// Loads the plug-in as a process under uzswap would, so that a bad one is
// reported before anything is started.
Check TryPlugin(const std::string& file) {
  void* const handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Failure{std::string("cannot be loaded: ") + dlerror()};
  }
  using Entry = const uzswap_compressor* (*)();
  const auto entry =
      reinterpret_cast<Entry>(dlsym(handle, "uzswap_compressor_plugin"));
  if (entry == nullptr) {
    return Failure{"is no plug-in: it has no uzswap_compressor_plugin"};
  }
  const uzswap_compressor* const table = entry();
  if (table == nullptr || table->api_version != UZSWAP_COMPRESSOR_API_VERSION) {
    return Failure{"is made for another version of the plug-in interface"};
  }
  return {};
}

}  // namespace

Check FindLayout(Layout* layout) {
  const std::string own = OwnDirectory();
  const std::string installed = own + "/../lib/uzswap";
  std::error_code ignored;
  for (const std::string& place : {own, installed}) {
    layout->preload = place + "/" + kPreload;
    if (!std::filesystem::exists(layout->preload, ignored)) continue;
    layout->preload = std::filesystem::canonical(layout->preload, ignored);
    layout->plugin_dir = place + "/plugins";
    if (std::filesystem::is_directory(layout->plugin_dir, ignored)) {
      layout->plugin_dir =
          std::filesystem::canonical(layout->plugin_dir, ignored);
    } else {
      layout->plugin_dir.clear();
    }
    if (layout->preload.find_first_of(" :") != std::string::npos) {
      return Failure{"'" + layout->preload +
                     "' has a blank or colon in its path, which LD_PRELOAD "
                     "cannot express; move it"};
    }
    return {};
  }
  return Failure{std::string(kPreload) + " is neither in " + own + " nor in " +
                 installed + "; build or install uzswap completely"};
}

std::vector<CompressorEntry> ListCompressors(const Layout& layout) {
  std::vector<CompressorEntry> all;
  for (const char* name : kBuiltIn) all.push_back({name, "built in", {}});
  if (layout.plugin_dir.empty()) return all;
  std::error_code error;
  std::filesystem::directory_iterator files(layout.plugin_dir, error);
  if (error) return all;
  for (const auto& file : files) {
    std::string name = file.path().filename();
    if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) continue;
    name = name.substr(kPrefix.size(),
                       name.size() - kPrefix.size() - kSuffix.size());
    all.push_back({name, file.path(), TryPlugin(file.path())});
  }
  std::sort(all.begin() + std::size(kBuiltIn), all.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return all;
}

}  // namespace uzswap::cli
