// SPDX-License-Identifier: Apache-2.0
// What one object costs in a pool at rest (replacement of a random object) and
// one that grows from nothing. The payload copies are part of the figures.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <vector>

#include "zpool/zsmalloc.h"

namespace uzswap {
namespace {

constexpr size_t kObjects = 20'000;

class Filled {
 public:
  explicit Filled(size_t objects)
      : pool_(NewZsmalloc(kZsmallocChain).value()), page_() {
    for (size_t i = 0; i < objects; ++i) handles_.push_back(Add(Size()));
  }
  ~Filled() { pool_->Destroy(); }
  Filled(const Filled&) = delete;
  Filled& operator=(const Filled&) = delete;

  ByteCount Size() { return 200 + random_() % 2400; }
  Handle& Any() { return handles_[random_() % handles_.size()]; }
  Handle Add(ByteCount bytes) { return pool_->Store({page_, bytes}).value(); }
  Zsmalloc& pool() { return *pool_; }
  std::span<const std::byte> Read(Handle handle) {
    return pool_->ReadBegin(handle, 200, MutablePage(page_));
  }

 private:
  Zsmalloc* pool_;
  std::mt19937_64 random_{1};
  std::vector<Handle> handles_;
  std::byte page_[kPageSize];
};

void Replace(benchmark::State& state) {
  Filled filled(kObjects);
  for (auto _ : state) {
    Handle& handle = filled.Any();
    filled.pool().Free(handle);
    handle = filled.Add(filled.Size());
  }
}
BENCHMARK(Replace);

void AllocateWriteAndFreeOne(benchmark::State& state) {
  Filled filled(kObjects);
  for (auto _ : state) filled.pool().Free(filled.Add(filled.Size()));
}
BENCHMARK(AllocateWriteAndFreeOne);

void Grow(benchmark::State& state) {
  for (auto _ : state) Filled filled(kObjects);
  state.SetItemsProcessed(state.iterations() * kObjects);
}
BENCHMARK(Grow)->Unit(benchmark::kMillisecond);

void ReadOneLine(benchmark::State& state) {
  Filled filled(kObjects);
  for (auto _ : state) {
    const Handle handle = filled.Any();
    benchmark::DoNotOptimize(filled.Read(handle)[0]);
    filled.pool().ReadEnd(handle);
  }
}
BENCHMARK(ReadOneLine);

// Several threads in one pool, each with its share of the objects. With enough
// CPUs items per second grow; with fewer, CPU time for an item must not.
Zsmalloc* shared_pool = nullptr;

void ThreadsReplaceAndRead(benchmark::State& state) {
  const size_t each = 8000 / static_cast<size_t>(state.threads());
  std::mt19937_64 random(static_cast<uint64_t>(state.thread_index()));
  std::byte page[kPageSize] = {};
  std::vector<Handle> handles;
  for (auto _ : state) {
    const ByteCount bytes = 200 + random() % 2400;
    if (handles.size() < each) {
      handles.push_back(shared_pool->Store({page, bytes}).value());
      continue;
    }
    Handle& handle = handles[random() % each];
    const auto read = shared_pool->ReadBegin(handle, 200, MutablePage(page));
    benchmark::DoNotOptimize(read[0]);
    shared_pool->ReadEnd(handle);
    shared_pool->Free(handle);
    handle = shared_pool->Store({page, bytes}).value();
  }
  for (const Handle handle : handles) shared_pool->Free(handle);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ThreadsReplaceAndRead)
    ->Setup([](const benchmark::State&) {
      shared_pool = NewZsmalloc(kZsmallocChain).value();
    })
    ->Teardown([](const benchmark::State&) { shared_pool->Destroy(); })
    ->ThreadRange(1, 8)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

// What the benchmarks above spend on choosing an object and a size.
void Choosing(benchmark::State& state) {
  Filled filled(kObjects);
  for (auto _ : state) {
    benchmark::DoNotOptimize(filled.Any());
    benchmark::DoNotOptimize(filled.Size());
  }
}
BENCHMARK(Choosing);

}  // namespace
}  // namespace uzswap
