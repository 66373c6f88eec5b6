// SPDX-License-Identifier: Apache-2.0
// What the operations of a zpool cost, beside plain copies of the same bytes in
// the same order. Writing goes to new memory (its faults are part of both),
// rewriting to memory that is there.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "zpools.h"

namespace uzswap::bench {
namespace {

// CPU time of a number of operations.
class Stopwatch {
 public:
  Stopwatch() : start_(Now()) {}
  void Note(uint64_t operations, double* best) const {
    if (operations == 0) return;
    *best = std::min(*best, (Now() - start_) / static_cast<double>(operations));
  }

 private:
  static double Now() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 +
           static_cast<double>(now.tv_nsec);
  }
  const double start_;
};

// The copy must not be thought away.
void Use(const std::byte* bytes) { asm volatile("" : : "r"(bytes) : "memory"); }

}  // namespace

void MeasureTimes(const char* zpool, const Content& content, Times* best) {
  const size_t count = content.count();
  const std::vector<size_t> order = RandomOrder(count);
  const size_t half = count / 2;
  Zpool* const pool = CreateZpool(zpool).value();
  std::vector<Handle> handles(count);
  const auto put = [&](size_t i) {
    const auto object = content.object(i);
    handles[i] = pool->Store(object).value();
  };

  const Stopwatch write;
  for (size_t i = 0; i < count; ++i) put(i);
  write.Note(count, &best->write);

  std::byte scratch[kPageSize];
  std::byte copy[kPageSize];
  const Stopwatch read;
  for (const size_t i : order) {
    const auto bytes = pool->ReadBegin(handles[i], content.object(i).size(),
                                       MutablePage(scratch));
    memcpy(copy, bytes.data(), bytes.size());
    Use(copy);
    pool->ReadEnd(handles[i]);
  }
  read.Note(count, &best->read);

  const Stopwatch free;
  for (size_t i = 0; i < half; ++i) pool->Free(handles[order[i]]);
  free.Note(half, &best->free);
  const Stopwatch rewrite;
  for (size_t i = 0; i < half; ++i) put(order[i]);
  rewrite.Note(half, &best->rewrite);

  for (size_t i = 0; i < half; ++i) pool->Free(handles[order[i]]);
  const Stopwatch compact;
  uint64_t gone = 0;
  while (const uint64_t n = pool->Compact(10'000)) gone += n;
  compact.Note(gone, &best->frame);
  pool->Destroy();
}

void MeasureCopies(const Content& content, Times* best) {
  const size_t count = content.count();
  const std::vector<size_t> order = RandomOrder(count);
  const size_t half = count / 2;
  void* const memory =
      mmap(nullptr, content.bytes.size(), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) Die("no memory");
  // As the pools' memory, whose frames come and go one by one.
  madvise(memory, content.bytes.size(), MADV_NOHUGEPAGE);
  auto* const to = static_cast<std::byte*>(memory);
  const auto put = [&](size_t i) {
    const auto object = content.object(i);
    memcpy(to + content.begin[i], object.data(), object.size());
  };

  const Stopwatch write;
  for (size_t i = 0; i < count; ++i) put(i);
  write.Note(count, &best->write);

  std::byte copy[kPageSize];
  const Stopwatch read;
  for (const size_t i : order) {
    memcpy(copy, to + content.begin[i], content.object(i).size());
    Use(copy);
  }
  read.Note(count, &best->read);

  const Stopwatch rewrite;
  for (size_t i = 0; i < half; ++i) put(order[i]);
  rewrite.Note(half, &best->rewrite);
  munmap(memory, content.bytes.size());
}

}  // namespace uzswap::bench
