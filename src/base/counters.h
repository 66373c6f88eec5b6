// SPDX-License-Identifier: Apache-2.0
// Event counters, kept per CPU so that counting never bounces a cache line
// between CPUs. A set of counters is an enum made from a .def table:
//
//   enum class EngineCounter : unsigned {
//   #define UZSWAP_COUNTER(name, text) name,
//   #include "zswap/counters.def"
//   #undef UZSWAP_COUNTER
//     kCount
//   };
//   PerCpuCounters<EngineCounter> counters;
//
// Threads and signals: any, at any time. A sum taken while others count may
// miss what they add meanwhile, but nothing is ever lost.
#ifndef UZSWAP_BASE_COUNTERS_H_
#define UZSWAP_BASE_COUNTERS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/os.h"
#include "base/page.h"

namespace uzswap {

// Enum: its values are 0 … kCount - 1. Works without Init (all-zero bytes are a
// set of zero counters), so it can be a constinit global or live in an arena.
template <typename Enum>
class PerCpuCounters {
 public:
  constexpr PerCpuCounters() = default;
  PerCpuCounters(const PerCpuCounters&) = delete;
  PerCpuCounters& operator=(const PerCpuCounters&) = delete;

  // n may be a negative number in two's complement: gauges go up and down on
  // different CPUs, and only the sum means something.
  void Add(Enum counter, uint64_t n = 1) {
    Row& row = rows_[os::CurrentCpu() % kRows];
    // Atomic because the thread may be moved between the two lines, and a
    // locked add to a line that this CPU owns costs a few nanoseconds.
    row.value[Column(counter)].fetch_add(n, std::memory_order_relaxed);
  }
  // The same in one order with every other such operation, so that a thread
  // that looks at something else afterwards is seen by whoever changed that and
  // then takes SumInOrder.
  void AddInOrder(Enum counter, uint64_t n = 1) {
    Row& row = rows_[os::CurrentCpu() % kRows];
    row.value[Column(counter)].fetch_add(n, std::memory_order_seq_cst);
  }
  uint64_t SumInOrder(Enum counter) const {
    uint64_t sum = 0;
    for (const Row& row : rows_) {
      sum += row.value[Column(counter)].load(std::memory_order_seq_cst);
    }
    return sum;
  }
  void Subtract(Enum counter, uint64_t n = 1) { Add(counter, uint64_t{0} - n); }

  uint64_t Sum(Enum counter) const {
    uint64_t sum = 0;
    for (const Row& row : rows_) {
      sum += row.value[Column(counter)].load(std::memory_order_relaxed);
    }
    return sum;
  }
  // In the child after fork, which starts to count anew.
  void Reset() {
    for (Row& row : rows_) {
      for (auto& value : row.value) value.store(0, std::memory_order_relaxed);
    }
  }

 private:
  // More CPUs than rows share rows: still right, a little slower.
  static constexpr unsigned kRows = 16;
  static constexpr size_t kColumns = static_cast<size_t>(Enum::kCount);

  struct alignas(kCacheLine) Row {
    std::atomic<uint64_t> value[kColumns] = {};
  };

  static size_t Column(Enum counter) { return static_cast<size_t>(counter); }

  Row rows_[kRows] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_COUNTERS_H_
