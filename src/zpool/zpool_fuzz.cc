// SPDX-License-Identifier: Apache-2.0
// Model fuzzer of every zpool, driven by a seed; zpool_steps_testing.h says
// what it does. The seconds are shared out among the zpools. usage: zpool_fuzz
// SEED SECONDS
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "zpool/zpool_steps_testing.h"

namespace uzswap {
namespace {

constexpr size_t kMostObjects = 20'000;

uint64_t Fuzz(Zpool* pool, uint64_t seed, time_t until) {
  SeededDecisions decisions(seed);
  ZpoolSteps steps(pool, decisions, kMostObjects);
  uint64_t n = 0;
  for (; n % 64 != 0 || time(nullptr) < until; ++n) steps.Step();
  steps.Finish();
  return n;
}

int Main(uint64_t seed, long seconds) {
  const time_t start = time(nullptr);
  const unsigned n = ZpoolVariants();
  for (unsigned i = 0; i < n; ++i) {
    const NamedZpool zpool = NewZpoolVariant(i);
    const uint64_t steps =
        Fuzz(zpool.pool, seed, start + (i + 1) * seconds / n);
    printf("seed %lu: %s: %lu steps\n", seed, zpool.label, steps);
    fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s SEED SECONDS\n", argv[0]);
    return 2;
  }
  const uint64_t seed = strtoull(argv[1], nullptr, 0);
  printf("seed %lu\n", seed);
  fflush(stdout);
  return uzswap::Main(seed, strtol(argv[2], nullptr, 0));
}
