// SPDX-License-Identifier: Apache-2.0
// Random VM calls, writes, evictions and forks on a managed area and on one
// that the kernel runs alone (pager_model.h). usage: pager_fuzz SEED SECONDS
#include <time.h>

#include <cstdio>
#include <cstdlib>

#include "pager_model.h"

namespace pager_test {
namespace {

class Fuzzer {
 public:
  // Without `forks`, frames can be moved to the end (see Pager::PrepareFork).
  Fuzzer(uint64_t seed, bool forks)
      : random_(seed), forks_(forks), areas_(kPages) {}

  // False: the sides differ.
  bool Step() {
    ++step_;
    const uint64_t dice = random_.Below(100);
    if (dice < 40) return Write();
    if (dice < 50) return PickAndCheck();
    if (dice < 58) return Map();
    if (dice < 62) return Unmap();
    if (dice < 70) return Protect();
    if (dice < 82) return Advise();
    if (dice < 90) return Remap();
    if (dice < 98) {
      uzswap_evict_all();
      return true;
    }
    if (dice < 99) return Check();
    return ForkAndCheck();
  }
  bool Check() {
    CheckInvariants();
    return areas_.Agrees();
  }
  void PrintHistory() const { areas_.PrintHistory(300); }
  uint64_t steps() const { return step_; }

 private:
  static constexpr size_t kPages = 1536;  // three units of 2 MiB

  struct Part {
    size_t page;
    size_t count;
  };
  Part Pick() {
    const size_t page = random_.Below(kPages);
    const size_t most = random_.Below(4) == 0 ? kPages : 96;
    return {page, 1 + random_.Below(std::min(most, kPages - page))};
  }
  int Prot() {
    constexpr int kProts[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                              PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
    return kProts[random_.Below(5)];
  }

  bool Write() {
    const Part part = Pick();
    const bool by_kernel = random_.Below(4) == 0;
    for (size_t i = 0; i < std::min<size_t>(part.count, 64); ++i) {
      if (!areas_.Writable(part.page + i)) continue;
      areas_.Write(part.page + i, step_, by_kernel);
    }
    return true;
  }
  bool PickAndCheck() {
    const Part part = Pick();
    for (size_t i = 0; i < part.count; ++i) {
      if (!areas_.PageAgrees(part.page + i)) return false;
    }
    return true;
  }
  bool Map() {
    const Part part = Pick();
    return areas_.Map(part.page, part.count, Prot(), random_.Below(8) != 0);
  }
  bool Unmap() {
    const Part part = Pick();
    return areas_.Unmap(part.page, part.count);
  }
  bool Protect() {
    const Part part = Pick();
    return areas_.Protect(part.page, part.count, Prot());
  }
  bool Advise() {
    constexpr int kAdvice[] = {
        MADV_DONTNEED,       MADV_WILLNEED, MADV_COLD,       MADV_PAGEOUT,
        MADV_PAGEOUT,        MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_READ,
        MADV_POPULATE_WRITE, MADV_DODUMP,   MADV_SEQUENTIAL};
    const Part part = Pick();
    return areas_.Advise(part.page, part.count,
                         kAdvice[random_.Below(std::size(kAdvice))]);
  }
  bool Remap() {
    const Part part = Pick();
    if (!areas_.OneMapping(part.page, part.count)) return true;
    size_t size = part.count;
    if (random_.Below(2) == 0) size = 1 + random_.Below(2 * part.count);
    if (random_.Below(2) == 0) {
      return areas_.Remap(part.page, part.count, size, 0, 0);
    }
    size = std::min(size, kPages);
    const size_t to = random_.Below(kPages - size + 1);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    if (random_.Below(4) == 0) flags |= 4;  // MREMAP_DONTUNMAP
    return areas_.Remap(part.page, part.count, size, flags, to);
  }
  bool ForkAndCheck() {
    if (!forks_ || random_.Below(4) != 0) return true;
    const pid_t child = Fork([&] {
      if (!areas_.Agrees()) return 1;
      for (int i = 0; i < 50; ++i) Write();
      uzswap_evict_all();
      return Check() ? 0 : 2;
    });
    for (uint64_t n = random_.Below(50); n != 0; --n) Write();
    const int code = ExitCodeOf(child);
    if (code != 0) fprintf(stderr, "the child ended with %d\n", code);
    return code == 0 && areas_.Agrees();
  }

  Random random_;
  bool forks_;
  TwinAreas areas_;
  uint64_t step_ = 0;
};

int Run(uint64_t seed, int seconds) {
  InstallHandler();
  AlternateStack stack;
  constexpr uzswap_evict_method kMethods[] = {
      UZSWAP_EVICT_WP, UZSWAP_EVICT_MOVE, UZSWAP_EVICT_AUTO};
  // Less than the area: faults make room for each other.
  // Half of those who fork share the limit with their children, and nobody
  // tells them what they share, so they have more room.
  uzswap_tree* const tree = seed % 4 < 2 ? NewTree() : nullptr;
  OpenUzswap({.method = kMethods[seed % 3],
              .room = (tree != nullptr ? 14
                       : kExactMemory  ? 5
                                       : 12) *
                      kMiB,
              .tree = tree});
  int result = 0;
  {
    Fuzzer fuzzer(seed, /*forks=*/seed % 3 != 1);
    std::atomic<bool> stop{false};
    std::thread chaos;
    if (seed % 2 == 0) {
      chaos = Spawn([&] {
        while (!stop.load()) {
          uzswap_evict_all();
          usleep(200);
        }
      });
    }
    const time_t end = time(nullptr) + seconds;
    while (result == 0 && time(nullptr) < end) {
      if (!fuzzer.Step()) result = 1;
    }
    if (result != 0) fuzzer.PrintHistory();
    stop = true;
    if (chaos.joinable()) chaos.join();
    if (result == 0 && !fuzzer.Check()) result = 1;
    printf("seed %llu: %llu steps: %s\n", static_cast<unsigned long long>(seed),
           static_cast<unsigned long long>(fuzzer.steps()),
           result == 0 ? "same" : "DIFFERENT");
    const uzswap_stats stats = Stats();
    printf(
        "faults %llu shared %llu soft %llu in %llu out %llu cancelled %llu\n",
        static_cast<unsigned long long>(stats.faults),
        static_cast<unsigned long long>(stats.faults_shared),
        static_cast<unsigned long long>(stats.faults_soft),
        static_cast<unsigned long long>(stats.pages_in),
        static_cast<unsigned long long>(stats.pages_out),
        static_cast<unsigned long long>(stats.pages_cancelled));
  }
  uzswap_close();
  return result;
}

}  // namespace
}  // namespace pager_test

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1;
  const int seconds = argc > 2 ? atoi(argv[2]) : 10;
  return pager_test::Run(seed, seconds);
}
