// SPDX-License-Identifier: Apache-2.0
// usage: compressor_bench [--benchmark_filter=...]
// Lock: what taking a context costs. Memory/NAME/BUFFERS: bytes of one CPU's
// context that are resident after it was set up (`idle`: the CPU never ran),
// and after it compressed a batch and decompressed it (`used`), beside what is
// only reserved. The kernel's figures (commit "tie per-CPU acomp_ctx lifetime
// to the pool") are 8.28 KB with one buffer and 64.34 KB with eight, without
// the workspace of the algorithm.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "compress/builtin.h"
#include "compress/compressor.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

void CurrentCpu(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(os::CurrentCpu());
}
BENCHMARK(CurrentCpu);

void Lock(benchmark::State& state) {
  registry::RegisterBuiltins();
  const uzswap_compressor& plugin = *registry::Find("lz4", nullptr).value();
  Compressor* c = Compressor::Create(plugin, {}).value();
  for (auto _ : state) c->Unlock(c->Lock());
  c->Destroy();
}
BENCHMARK(Lock);

double Resident(std::byte* from, ByteCount bytes) {
  std::vector<unsigned char> pages(bytes / kPageSize);
  if (mincore(from, bytes, pages.data()) != 0) return -1;
  double n = 0;
  for (const unsigned char p : pages) n += p & 1;
  return n * kPageSize;
}

void UseOnce(Compressor& c, unsigned cpu) {
  testing::Random random(1);
  AcompContext& context = c.LockOn(cpu);
  for (unsigned b = 0; b < c.buffers(); ++b) {
    const testing::PageBytes page = testing::HeapPage(random);
    const ByteCount n = c.CompressInto(context, page, b).value();
    testing::PageBytes back;
    CHECK(c.Decompress(context, {context.buffers[b], n}, back).ok());
  }
  c.Unlock(context);
}

void Memory(benchmark::State& state, const uzswap_compressor& plugin,
            unsigned buffers) {
  double idle = 0;
  double used = 0;
  ByteCount stride = 0;
  for (auto _ : state) {
    Compressor* c = Compressor::Create(plugin, {.buffers = buffers}).value();
    AcompContext& first = c->LockOn(0);
    AcompContext& spare = c->LockOn(0);  // behind all others
    const unsigned cpus = cpuhp::System().possible();
    stride = static_cast<ByteCount>(spare.buffers[0] - first.buffers[0]) / cpus;
    std::byte* const frames = first.buffers[0];
    c->Unlock(spare);
    c->Unlock(first);
    idle = Resident(frames, stride);
    UseOnce(*c, 0);
    used = Resident(frames, stride);
    c->Destroy();
  }
  state.counters["idle"] = idle;
  state.counters["used"] = used;
  state.counters["reserved"] = static_cast<double>(stride);
}

// Before main, as BENCHMARK does.
const bool registered = [] {
  registry::RegisterBuiltins();
  for (unsigned i = 0; registry::At(i) != nullptr; ++i) {
    const uzswap_compressor* plugin = registry::At(i);
    for (const unsigned buffers : {1u, kMaxBatch}) {
      const std::string name =
          std::string("Memory/") + plugin->name + "/" + std::to_string(buffers);
      benchmark::RegisterBenchmark(name.c_str(),
                                   [plugin, buffers](benchmark::State& state) {
                                     Memory(state, *plugin, buffers);
                                   });
    }
  }
  return true;
}();

}  // namespace
}  // namespace uzswap
