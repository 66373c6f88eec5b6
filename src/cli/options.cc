// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <uzswap/uzswap.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "cli/size.h"
#include "cli/tree_limits.h"

namespace uzswap::cli {
namespace {

constexpr char kExamples[] =
    "Every option can also be given in the environment: UZSWAP_MEMORY=512M,\n"
    "UZSWAP_MAX_POOL_PERCENT=20 ...; the command line wins.\n\n"
    "Examples:\n"
    "  uzswap run --memory 512M -- sort -S 2G big.txt -o sorted.txt\n"
    "  uzswap run --memory 1G --compressor zstd -- python3 train.py\n"
    "  uzswap run --memory 256M --backing none --stats-json s.json -- "
    "./build.sh\n\n"
    "Exit status: that of the program; 125 uzswap failed, 126 the program\n"
    "cannot be run (the line says why), 127 it was not found.";

Failure OneOf(std::string_view option, const std::string& value,
              std::string_view choices) {
  return {std::string(option) + " '" + value +
          "' is not known; choose one of: " + std::string(choices)};
}

// "zsmalloc:16": zspages of at most 16 pages.
Check CheckZpool(const std::string& text) {
  const size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  if (std::find(std::begin(kZpools), std::end(kZpools), name) ==
      std::end(kZpools)) {
    return OneOf("--zpool", text, "zsmalloc, zbud, z3fold");
  }
  if (colon == std::string::npos) return {};
  if (name != kZpools[0]) {
    return Failure{"--zpool '" + text + "': only zsmalloc takes a chain"};
  }
  if (ParseNumber(text.substr(colon + 1), 4, 64)) return {};
  return Failure{"--zpool '" + text +
                 "': the chain is a whole number of pages from 4 to 64"};
}

Check CheckMemory(const std::string& text, Options* options) {
  if (text.empty()) {
    return Failure{
        "run needs --memory SIZE, the memory that it may have; for "
        "example --memory 512M, or --memory auto in a container"};
  }
  options->memory_auto = text == "auto";
  if (options->memory_auto) return {};
  const auto bytes = ParseSize(text);
  if (!bytes) {
    return Failure{"--memory '" + text +
                   "' is not a size; write it like 512M or 1.5G, or auto"};
  }
  if (*bytes < kMinimumMemory) {
    return Failure{"--memory " + text + " is too little; the minimum is " +
                   FormatSize(kMinimumMemory)};
  }
  options->memory = *bytes & ~uint64_t{4095};
  return {};
}

// Those that need not be given, and can be changed later under the same name.
Check CheckLimits(const OptionTexts& texts, Options* options) {
  uint64_t value = 0;
  const auto check = [&value](const char* name, const std::string& text) {
    value = 0;
    return text.empty() ? Check{} : ParseLimit(name, text, &value);
  };
  const auto option = [](Check c, const char* name) {
    const std::string sentence = c->sentence;
    return Failure{name + sentence.substr(sentence.find(' '))};
  };
  if (Check c = check("soft_memory", texts.soft_memory)) {
    return option(c, "--soft-memory");
  }
  options->soft_memory = value * 4096;
  if (Check c = check("process_memory", texts.process_memory)) {
    return option(c, "--process-memory");
  }
  options->process_memory = value * 4096;
  if (Check c = check("on_full", texts.on_full)) return option(c, "--on-full");
  options->on_full = static_cast<uint32_t>(value);
  return {};
}

Check CheckPercent(const char* option, const std::string& text,
                   unsigned* value) {
  if (text.empty()) return {};
  const auto percent = ParseNumber(text, 1, 100);
  if (!percent) {
    return Failure{std::string(option) + " '" + text +
                   "' is out of range; give a whole number from 1 to 100"};
  }
  *value = *percent;
  return {};
}

Check CheckIdle(const OptionTexts& texts, Options* options) {
  if (!texts.idle.empty()) {
    const auto seconds = ParseSeconds(texts.idle);
    if (!seconds || *seconds == 0) {
      return Failure{"--idle '" + texts.idle +
                     "' is not a time; write it like 60s or 5m"};
    }
    options->idle = *seconds;
  }
  if (texts.promotion_rate.empty()) return {};
  const auto rate = ParseHundredths(texts.promotion_rate);
  if (!rate || *rate == 0) {
    return Failure{"--promotion-rate '" + texts.promotion_rate +
                   "' is out of range; give a percentage from 0.01 to 100"};
  }
  options->promotion_rate = *rate;
  return {};
}

Check CheckTimeout(const std::string& text, Options* options) {
  if (text.empty()) return {};
  const auto seconds = ParseNumber(text, 0, 1'000'000);
  if (!seconds) {
    return Failure{"--backing-timeout '" + text +
                   "' is not a number of seconds; write it like 30, or 0 to "
                   "wait for ever"};
  }
  options->backing_timeout = *seconds == 0 ? kForEver : *seconds;
  return {};
}

Check CheckBackingTexts(const OptionTexts& texts, Options* options) {
  const bool none = texts.backing == "none";
  if (texts.backing.empty()) {
    return Failure{
        "--backing '' names nothing; give a directory, a file, a block device "
        "or none"};
  }
  options->backing = none ? "" : texts.backing;
  if (texts.direct != "auto" && texts.direct != "on" && texts.direct != "off") {
    return OneOf("--direct", texts.direct, "auto, on, off");
  }
  options->direct = texts.direct;
  if (Check c = CheckTimeout(texts.backing_timeout, options)) return c;
  if (none || texts.backing_size.empty()) return {};
  const auto bytes = ParseSize(texts.backing_size);
  if (!bytes || *bytes < 4096) {
    return Failure{"--backing-size '" + texts.backing_size +
                   "' is not a size of at least a page; write it like 8G"};
  }
  options->backing_size = *bytes & ~uint64_t{4095};
  return {};
}

struct Adder {
  CLI::App& run;

  // `help` is "VALUE: what it is for".
  CLI::Option* operator()(const char* name, std::string* to, const char* env,
                          const char* help) const {
    const std::string_view text = help;
    const size_t colon = text.find(": ");
    return run.add_option(name, *to, std::string(text.substr(colon + 2)))
        ->envname(env)
        ->type_name(std::string(text.substr(0, colon)));
  }
};

void DeclareBacking(CLI::App& run, OptionTexts* texts) {
  const Adder add{run};
  add("-b,--backing", &texts->backing, "UZSWAP_BACKING",
      "PATH|none: where pages go when the pool is full:\na directory (a "
      "private "
      "unlinked file there;\ndefault /var/tmp), an empty file, a "
      "block\ndevice, or an NBD export: nbd://HOST/EXPORT,\n"
      "nbd+unix:///EXPORT?socket=/PATH");
  add("--backing-size", &texts->backing_size, "UZSWAP_BACKING_SIZE",
      "SIZE: the most to use there (default 16 times the\nmemory, at most what "
      "is free)");
  add("--backing-timeout", &texts->backing_timeout, "UZSWAP_BACKING_TIMEOUT",
      "SECONDS: how long a lost NBD server is waited for\n(30; 0: for ever)");
  run.add_flag("--no-encrypt", texts->no_encrypt,
               "do not encrypt what is written there")
      ->envname("UZSWAP_NO_ENCRYPT");
  add("--direct", &texts->direct, "UZSWAP_DIRECT",
      "auto|on|off: read and write files past the page\ncache (O_DIRECT)")
      ->group("Advanced");
}

}  // namespace

void DeclareOptions(CLI::App& run, OptionTexts* texts) {
  const Adder add{run};
  add("-m,--memory", &texts->memory, "UZSWAP_MEMORY",
      "SIZE|auto: memory that the program and all that it\nstarts may have "
      "together, all included (512M, 1.5G,\nat least 16M); auto: what the "
      "cgroup allows, and\nfollowing that");
  add("--process-memory", &texts->process_memory, "UZSWAP_PROCESS_MEMORY",
      "SIZE: memory that each single process may have");
  add("--soft-memory", &texts->soft_memory, "UZSWAP_SOFT_MEMORY",
      "SIZE: above it memory is given back in the\nbackground");
  add("--on-full", &texts->on_full, "UZSWAP_ON_FULL",
      "exceed|wait|kill: what happens when memory and\nbacking store are full: "
      "the limit is exceeded\n(default), the program waits, or is killed");
  add("-c,--compressor", &texts->compressor, "UZSWAP_COMPRESSOR",
      "NAME: lz4 (default), zstd, deflate ...;\nsee `uzswap list`");
  add("--recompressor", &texts->recompressor, "UZSWAP_RECOMPRESSOR",
      "NAME[:LEVEL]|none: compresses again what stays\ncold; zstd for example "
      "(none)");
  add("--zpool", &texts->zpool, "UZSWAP_ZPOOL",
      "NAME: allocator for compressed pages: zsmalloc\n(default, the densest; "
      "zsmalloc:4 to zsmalloc:64\nsets the longest chain of pages), z3fold or "
      "zbud");
  add("--max-pool-percent", &texts->max_pool_percent, "UZSWAP_MAX_POOL_PERCENT",
      "N|auto: most of the memory for compressed pages;\nauto: as refaults "
      "cost "
      "(20 to 80)");
  add("--accept-threshold-percent", &texts->accept_threshold_percent,
      "UZSWAP_ACCEPT_THRESHOLD_PERCENT",
      "N: a full pool takes pages again below this\nshare of its maximum (90)");
  DeclareBacking(run, texts);
  add("--stats-json", &texts->stats_json, "UZSWAP_STATS_JSON",
      "FILE: write all figures there at the end");
  run.add_flag("-q,--quiet", texts->quiet, "no summary at the end")
      ->envname("UZSWAP_QUIET");
  add("--idle", &texts->idle, "UZSWAP_IDLE",
      "TIME: pages that were not used for so long (60s,\n5m) leave before "
      "memory is short; off without")
      ->group("Advanced");
  add("--promotion-rate", &texts->promotion_rate, "UZSWAP_PROMOTION_RATE",
      "PERCENT: of these, what may come back within a\nminute, in a minute "
      "(0.2, of what is in memory)")
      ->group("Advanced");
  add("--evict", &texts->evict, "UZSWAP_EVICT",
      "auto|wp|move: how pages leave memory")
      ->group("Advanced");
  add("--syscalls", &texts->syscalls, "UZSWAP_SYSCALLS",
      "auto|dispatch: dispatch does not patch libc")
      ->group("Advanced");
  run.footer(kExamples);
}

void SplitCommand(const CLI::App& run, const std::vector<std::string>& all,
                  std::vector<std::string>* options,
                  std::vector<std::string>* command) {
  size_t i = 0;
  for (; i < all.size(); ++i) {
    const std::string& word = all[i];
    if (word == "--") {
      ++i;
      break;
    }
    if (word.size() < 2 || word[0] != '-') break;
    options->push_back(word);
    const CLI::Option* option = run.get_option_no_throw(word);
    const bool takes_value =
        option != nullptr && option->get_expected_max() > 0;
    if (takes_value && i + 1 < all.size()) {
      // Joined, so that a value that begins with '-' stays a value.
      if (word.starts_with("--")) {
        options->back() += "=" + all[++i];
      } else {
        options->push_back(all[++i]);
      }
    }
  }
  command->assign(all.begin() + static_cast<ptrdiff_t>(i), all.end());
}

Check CheckOptions(const OptionTexts& texts, Options* options) {
  if (Check c = CheckMemory(texts.memory, options)) return c;
  if (Check c = CheckLimits(texts, options)) return c;
  if (Check c = CheckZpool(texts.zpool)) return c;
  if (texts.max_pool_percent == "auto") {
    options->max_pool_percent = UZSWAP_POOL_PERCENT_AUTO;
  } else if (Check c =
                 CheckPercent("--max-pool-percent", texts.max_pool_percent,
                              &options->max_pool_percent)) {
    return c;
  }
  if (Check c = CheckPercent("--accept-threshold-percent",
                             texts.accept_threshold_percent,
                             &options->accept_threshold_percent)) {
    return c;
  }
  if (texts.evict != "auto" && texts.evict != "wp" && texts.evict != "move") {
    return OneOf("--evict", texts.evict, "auto, wp, move");
  }
  if (texts.syscalls != "auto" && texts.syscalls != "dispatch") {
    return OneOf("--syscalls", texts.syscalls, "auto, dispatch");
  }
  if (Check c = CheckBackingTexts(texts, options)) return c;
  if (Check c = CheckIdle(texts, options)) return c;
  options->compressor = texts.compressor;
  options->recompressor =
      texts.recompressor.empty() ? "none" : texts.recompressor;
  options->zpool = texts.zpool;
  options->evict = texts.evict;
  options->syscalls = texts.syscalls;
  options->encrypt = !texts.no_encrypt;
  options->stats_json = texts.stats_json;
  options->quiet = texts.quiet;
  return {};
}

}  // namespace uzswap::cli
