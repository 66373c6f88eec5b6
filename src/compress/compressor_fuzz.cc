// SPDX-License-Identifier: Apache-2.0
// usage: compressor_fuzz SEED SECONDS [PLUGIN_DIRECTORY]
// Random pages go through every compressor at random levels and come back,
// while simulated CPUs come and go and their set-ups fail; then what they
// became is damaged and must come back as EIO or as some page, with every
// buffer between inaccessible pages. A crash or an abort is a failure; the seed
// printed first replays it.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/cpuhp_testing.h"
#include "base/os.h"
#include "compress/builtin.h"
#include "compress/compressor.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::GuardedMemory;
using testing::PageBytes;
using testing::Random;

constexpr int kDefault = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;

struct Counts {
  uint64_t pages = 0;
  uint64_t refused = 0;  // incompressible
  uint64_t damaged = 0;
  uint64_t detected = 0;
};

PageBytes AnyPage(Random& random) {
  switch (random() % 5) {
    case 0:
      return testing::RandomPage(random);
    case 1:
      return testing::TextPage(random);
    case 2:
      return testing::HeapPage(random);
    case 3:
      return testing::MixedPage(random);
    default: {
      // Runs and repetitions of any length and distance.
      PageBytes page = testing::RandomPage(random);
      for (uint64_t n = random() % 200; n > 0; --n) {
        const size_t from = random() % kPageSize;
        const size_t to = random() % kPageSize;
        const size_t room = kPageSize - std::max(from, to);
        const size_t length = random() % std::min<size_t>(room, 300);
        if (random() % 4 == 0) {
          memset(&page[to], static_cast<int>(random() % 256), length);
        } else {
          memmove(&page[to], &page[from], length);
        }
      }
      return page;
    }
  }
}

// A table may be older than the members that tell.
int AnyLevel(const uzswap_compressor& plugin, Random& random) {
  if (!UZSWAP_COMPRESSOR_HAS(&plugin, max_level)) return kDefault;
  // Above 9 one page of zstd takes most of a millisecond.
  const int max = std::min(plugin.max_level, 9);
  const int min = std::clamp(plugin.min_level, -7, max);
  return min +
         static_cast<int>(random() % static_cast<uint64_t>(max - min + 1));
}

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed) : random_(seed) {}

  // One compressor for a while.
  void Round() {
    unsigned count = 0;
    while (registry::At(count) != nullptr) ++count;
    const uzswap_compressor& plugin =
        *registry::At(static_cast<unsigned>(random_() % count));
    const PageBytes dictionary = testing::TextPage(random_);
    CompressorParameters parameters{
        .level = AnyLevel(plugin, random_),
        .buffers = 1 + static_cast<unsigned>(random_() % kMaxBatch)};
    if (UZSWAP_COMPRESSOR_HAS(&plugin, init_with) && random_() % 2 == 0) {
      parameters.dictionary = dictionary;
    }
    cpus_.FailAtRandom(0, 0);
    const Result<Compressor*> made = Compressor::Create(plugin, parameters);
    if (!made.ok()) {  // not every codec has dictionaries at every level
      CHECK(made.error() == EINVAL && !parameters.dictionary.empty());
      return;
    }
    Compressor* c = made.value();
    cpus_.FailAtRandom(4, random_());
    for (int i = 0; i < 200; ++i) {
      cpus_.Storm(random_(), random_() % 4 == 0 ? 1 : 0);
      const auto cpu = static_cast<unsigned>(random_() % kCpus);
      AcompContext& context = c->LockOn(cpu);
      Page(*c, context, static_cast<unsigned>(random_() % c->buffers()));
      c->Unlock(context);
      if (random_() % 8 == 0) c->SetUpWanted().Ignore();
    }
    c->CheckInvariants();
    c->Destroy();
    cpuhp::System().CheckInvariants();
  }

  const Counts& counts() const { return counts_; }

 private:
  MutablePage Destination() {
    return MutablePage(destination_.AtStart(), kPageSize);
  }

  void Page(Compressor& c, AcompContext& context, unsigned buffer) {
    ++counts_.pages;
    const PageBytes page = AnyPage(random_);
    const Result<ByteCount> n = c.CompressInto(context, page, buffer);
    if (!n.ok()) {
      CHECK(n.error() == ENOSPC);
      ++counts_.refused;
      return;
    }
    const size_t size = n.value();
    memcpy(source_.AtEnd(size), context.buffers[buffer], size);
    CHECK(
        c.Decompress(context, {source_.AtEnd(size), size}, Destination()).ok());
    CHECK(memcmp(destination_.AtStart(), page.data(), kPageSize) == 0);
    PageBytes damaged;
    for (int i = 0; i < 20; ++i) {
      memcpy(damaged.data(), context.buffers[buffer], size);
      Damaged(c, context, damaged.data(), size);
    }
  }

  void Damaged(Compressor& c, AcompContext& context, std::byte* data,
               size_t size) {
    ++counts_.damaged;
    size = testing::Mutate(data, size, kPageSize, random_);
    std::byte* from =
        random_() % 2 == 0 ? source_.AtEnd(size) : source_.AtStart();
    memcpy(from, data, size);
    const Status s = c.Decompress(context, {from, size}, Destination());
    CHECK(s.ok() || s.error() == EIO);
    if (!s.ok()) ++counts_.detected;
  }

  static constexpr unsigned kCpus = 8;

  cpuhp::Simulator cpus_{cpuhp::System(), kCpus, 3};
  Random random_;
  Counts counts_;
  GuardedMemory source_{kPageSize};
  GuardedMemory destination_{kPageSize};
};

int Main(uint64_t seed, uint64_t seconds, const char* directory) {
  printf("compressor_fuzz: seed %lu, %lu s\n", seed, seconds);
  fflush(stdout);
  registry::RegisterBuiltins();
  if (directory != nullptr) CHECK(registry::Find("lzo", directory).ok());
  registry::Seal();
  Fuzzer fuzzer(seed);
  const uint64_t end = os::MonotonicNs() + seconds * 1000000000;
  while (os::MonotonicNs() < end) fuzzer.Round();
  const Counts& n = fuzzer.counts();
  printf("%lu pages, %lu incompressible, %lu damaged, %lu detected\n", n.pages,
         n.refused, n.damaged, n.detected);
  return 0;
}

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s SEED SECONDS [PLUGIN_DIRECTORY]\n", argv[0]);
    return 2;
  }
  return uzswap::Main(strtoull(argv[1], nullptr, 0),
                      strtoull(argv[2], nullptr, 0),
                      argc > 3 ? argv[3] : nullptr);
}
