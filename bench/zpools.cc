// SPDX-License-Identifier: Apache-2.0
// How densely and how fast the zpools keep the compressed pages of a file.
//
//   zpools [--codec lz4|zstd] [--zpools NAME,…] [--objects N] [--rounds N]
//          [--zram DEVICE] [--classes] FILE
//
// One line of JSON for FILE, then one for each zpool; bench/zpools.py makes
// tables of them. --rounds 0 measures no times; the zpools take turns, the best
// round counts. With --zram the kernel's zsmalloc keeps the same pages.
#include "zpools.h"

#include <getopt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace uzswap::bench {
namespace {

struct Options {
  std::string codec = "lz4";
  std::vector<std::string> zpools;
  size_t objects = 0;  // 0: all
  int rounds = 3;
  std::string zram;  // empty: none
  bool classes = false;
  const char* file = nullptr;
};

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; std::getline(in, word, ',');) words.push_back(word);
  return words;
}

[[noreturn]] void Usage(int code) {
  fprintf(code == 0 ? stdout : stderr,
          "usage: zpools [--codec lz4|zstd] [--zpools NAME,...] [--objects N] "
          "[--rounds N]\n              [--zram DEVICE] [--classes] FILE\n");
  exit(code);
}

size_t Number(const char* text) {
  char* end = nullptr;
  const unsigned long n = strtoul(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0') Usage(2);
  return n;
}

Options Parse(int argc, char** argv) {
  constexpr option kLong[] = {{"codec", required_argument, nullptr, 'c'},
                              {"zpools", required_argument, nullptr, 'z'},
                              {"objects", required_argument, nullptr, 'o'},
                              {"rounds", required_argument, nullptr, 'r'},
                              {"zram", required_argument, nullptr, 'k'},
                              {"classes", no_argument, nullptr, 's'},
                              {"help", no_argument, nullptr, 'h'},
                              {}};
  Options options;
  for (int c = 0; (c = getopt_long(argc, argv, "h", kLong, nullptr)) != -1;) {
    switch (c) {
      case 'c':
        options.codec = optarg;
        break;
      case 'z':
        options.zpools = Split(optarg);
        break;
      case 'o':
        options.objects = Number(optarg);
        break;
      case 'r':
        options.rounds = static_cast<int>(Number(optarg));
        break;
      case 'k':
        options.zram = optarg;
        break;
      case 's':
        options.classes = true;
        break;
      case 'h':
        Usage(0);
      default:
        Usage(2);
    }
  }
  if (optind != argc - 1) Usage(2);
  if (options.codec != "lz4" && options.codec != "zstd") Usage(2);
  options.file = argv[optind];
  if (options.zpools.empty()) {
    for (unsigned i = 0; ZpoolName(i) != nullptr; ++i) {
      options.zpools.emplace_back(ZpoolName(i));
    }
  }
  for (const std::string& name : options.zpools) {
    if (!FindZpool(name.c_str()).ok()) Die("there is no zpool " + name);
  }
  return options;
}

void PrintTimes(const Times& times) {
  const std::pair<const char*, double> all[] = {{"write", times.write},
                                                {"rewrite", times.rewrite},
                                                {"read", times.read},
                                                {"free", times.free},
                                                {"frame", times.frame}};
  const char* comma = "";
  printf(", \"ns\": {");
  for (const auto& [name, ns] : all) {
    if (ns == 1e9) continue;  // it has none
    printf("%s\"%s\": %.1f", comma, name, ns);
    comma = ", ";
  }
  printf("}");
}

void PrintRow(const std::string& name, const std::vector<Fill>& fills,
              const Times* times) {
  printf("{\"zpool\": \"%s\", \"fills\": {", name.c_str());
  const char* comma = "";
  for (const Fill& f : fills) {
    printf("%s\"%s\": {\"payload\": %ju, \"frames\": %ju, \"metadata\": %ju}",
           comma, f.stage, static_cast<uintmax_t>(f.payload),
           static_cast<uintmax_t>(f.frames),
           static_cast<uintmax_t>(f.metadata));
    comma = ", ";
  }
  printf("}");
  if (times != nullptr) PrintTimes(*times);
  printf("}\n");
}

void Run(const Options& options) {
  const Content content =
      ReadContent(options.file, options.codec, options.objects);
  printf(
      "{\"pages\": %zu, \"payload\": %zu, \"raw\": %zu, "
      "\"same_filled\": %zu}\n",
      content.count(), content.bytes.size(), content.raw, content.same_filled);
  std::vector<Times> times(options.zpools.size());
  Times copies;
  for (int round = 0; round < options.rounds; ++round) {
    MeasureCopies(content, &copies);
    for (size_t i = 0; i < times.size(); ++i) {
      MeasureTimes(options.zpools[i].c_str(), content, &times[i]);
    }
  }
  const bool timed = options.rounds > 0;
  for (size_t i = 0; i < times.size(); ++i) {
    const std::string& name = options.zpools[i];
    PrintRow(name, Density(name.c_str(), content, options.classes),
             timed ? &times[i] : nullptr);
  }
  if (timed) PrintRow("copy", {}, &copies);
  if (!options.zram.empty()) {
    PrintRow("kernel", KernelDensity(options.zram.c_str(), content), nullptr);
  }
}

}  // namespace
}  // namespace uzswap::bench

int main(int argc, char** argv) {
  uzswap::bench::Run(uzswap::bench::Parse(argc, argv));
  return 0;
}
