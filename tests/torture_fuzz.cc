// SPDX-License-Identifier: Apache-2.0
// The torture program's command line; torture_run.h says what it does.
// usage: torture_fuzz [SEED SECONDS] [--seconds N] [--seed S] [--threads T]
//                     [--first-epoch E]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "base/os.h"
#include "torture_run.h"

namespace uzswap::torture {
namespace {

// So that a failure can be replayed from the start of its life.
constexpr uint64_t kEpochsOfALife = 5;
constexpr uint64_t kHangNs = 30'000'000'000;

bool Parse(int argc, char** argv, Options& options) {
  int position = 0;
  for (int i = 1; i < argc; ++i) {
    std::string name = argv[i];
    if (name.rfind("--", 0) != 0) {
      name = position++ == 0 ? "--seed" : "--seconds";
      --i;
    }
    if (++i >= argc) return false;
    char* end = nullptr;
    const char* const value = argv[i];
    const uint64_t number = strtoull(value, &end, 0);
    if (end == value || *end != '\0') return false;
    if (name == "--seed") {
      options.seed = number;
    } else if (name == "--seconds") {
      options.seconds = static_cast<double>(number);
    } else if (name == "--threads") {
      options.threads = static_cast<unsigned>(number);
    } else if (name == "--first-epoch") {
      options.first_epoch = number;
    } else {
      return false;
    }
  }
  return options.threads >= 1 && options.threads <= 16;
}

// Nobody may hang: names who does, and what they hold, and dies.
void WatchForEver() {
  for (;;) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    if (Watchdog::Check(os::MonotonicNs(), kHangNs) > 0) {
      Fail("no progress for 30 s");
    }
  }
}

void TortureFor(const Options& options) {
  const auto end = std::chrono::steady_clock::now() +
                   std::chrono::duration<double>(options.seconds);
  Run run(options);
  std::thread(WatchForEver).detach();
  uint64_t epoch = options.first_epoch / kEpochsOfALife * kEpochsOfALife;
  const uint64_t first = epoch;
  while (epoch == first || std::chrono::steady_clock::now() < end) {
    NoteForFailures(options, epoch);
    if (!run.InLife()) run.BeginLife(options.seed ^ epoch << 32);
    run.Epoch(epoch);
    if (++epoch % kEpochsOfALife == 0) run.EndLife();
  }
  if (run.InLife()) run.EndLife();
  printf("torture: seed %llu: %llu epochs, nothing found\n",
         static_cast<unsigned long long>(options.seed),
         static_cast<unsigned long long>(epoch - first));
}

}  // namespace
}  // namespace uzswap::torture

int main(int argc, char** argv) {
  uzswap::torture::Options options;
  if (!uzswap::torture::Parse(argc, argv, options)) {
    fprintf(stderr,
            "usage: %s [--seconds N] [--seed S] [--threads 1...16] "
            "[--first-epoch E]\n",
            argv[0]);
    return 2;
  }
  printf("torture: seed %llu, %.0f s, %u threads\n",
         static_cast<unsigned long long>(options.seed), options.seconds,
         options.threads);
  uzswap::torture::TortureFor(options);
  return 0;
}
