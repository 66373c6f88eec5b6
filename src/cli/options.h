// SPDX-License-Identifier: Apache-2.0
// What the user asked of `uzswap run`, from the command line and from the
// environment (the command line wins), with every value checked.
#ifndef UZSWAP_CLI_OPTIONS_H_
#define UZSWAP_CLI_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "cli/fail.h"

namespace CLI {
class App;
}

namespace uzswap::cli {

inline constexpr uint64_t kMinimumMemory = uint64_t{16} << 20;
inline constexpr unsigned kForEver = ~0u;

// What --zpool can name; the engine has the same table.
inline constexpr const char* kZpools[] = {"zsmalloc", "zbud", "z3fold"};

// As written, before any check.
struct OptionTexts {
  std::string memory;
  std::string soft_memory;
  std::string process_memory;
  std::string on_full = "exceed";
  std::string compressor = "lz4";
  std::string recompressor = "none";
  std::string zpool = "zsmalloc";
  std::string max_pool_percent;
  std::string accept_threshold_percent;
  std::string backing = "/var/tmp";
  std::string backing_size;
  std::string backing_timeout;
  std::string direct = "auto";
  bool no_encrypt = false;
  std::string stats_json;
  std::string idle;
  std::string promotion_rate;
  std::string evict = "auto";
  std::string syscalls = "auto";
  bool quiet = false;
};

struct Options {
  uint64_t memory = 0;          // bytes, of all processes together
  bool memory_auto = false;     // memory is to be taken from the cgroup
  uint64_t soft_memory = 0;     // bytes; 0: none
  uint64_t process_memory = 0;  // bytes, of each; 0: none
  uint32_t on_full = 0;         // enum uzswap_on_full
  std::string compressor;
  std::string recompressor;  // "none": no dense tier
  std::string zpool;
  unsigned max_pool_percent = 0;          // 0: the engine's default
  unsigned accept_threshold_percent = 0;  // 0: the engine's default
  std::string backing;                    // empty: none
  uint64_t backing_size = 0;              // bytes; 0: chosen by CheckBacking
  // Seconds; 0: the engine's default; kForEver.
  unsigned backing_timeout = 0;
  std::string direct;
  unsigned idle = 0;            // seconds; 0: never
  unsigned promotion_rate = 0;  // 1/100 %; 0: the engine's default
  bool encrypt = true;          // what is written to backing
  std::string stats_json;       // empty: none
  std::string evict;
  std::string syscalls;
  bool quiet = false;
  std::vector<std::string> command;
};

// Declares the options on the subcommand; values land in *texts.
void DeclareOptions(CLI::App& run, OptionTexts* texts);

// Splits "options… [--] program arguments…" where the options end.
void SplitCommand(const CLI::App& run, const std::vector<std::string>& all,
                  std::vector<std::string>* options,
                  std::vector<std::string>* command);

// Texts to values. Only looks at the values themselves; what needs the system
// (does the directory exist?) is preflight.h.
Check CheckOptions(const OptionTexts& texts, Options* options);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_OPTIONS_H_
