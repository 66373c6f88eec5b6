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
  Handle Add(ByteCount bytes) {
    const Handle handle = pool_->Allocate(bytes).value();
    pool_->Write(handle, {page_, bytes});
    return handle;
  }
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
