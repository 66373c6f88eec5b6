// SPDX-License-Identifier: Apache-2.0
// What the engine must know: for each slot the content that was stored last.
// Content is named by a number, from which every byte of the page follows, so a
// page of an older version, of another slot, or half of two is found out.
#ifndef UZSWAP_TESTS_TORTURE_MODEL_H_
#define UZSWAP_TESTS_TORTURE_MODEL_H_

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <vector>

#include "base/page.h"
#include "support/pages.h"

namespace uzswap::torture {

using testing::Random;

using PageBuffer = std::array<std::byte, kPageSize>;

// Compressible, incompressible, same-filled and mixed pages, by the number.
inline void MakePage(uint64_t content, PageBuffer& page) {
  testing::FillMixed(MutablePage(page), content);
}
inline bool IsSame(const PageBuffer& page) {
  return memcmp(page.data(), page.data() + 8, kPageSize - 8) == 0;
}

// One slot and what it holds; 0: nothing.
struct Cell {
  Slot slot{};
  uint64_t content = 0;
};

// A slot that several threads use, one at a time: that is what the engine asks
// of its callers.
struct SharedCell {
  std::mutex mutex;
  Cell cell;
};

// Cells of one thread: the first half lie between those of the other threads,
// the second half side by side, across a border of 1 GiB.
class OwnCells {
 public:
  static constexpr unsigned kCount = 600;
  static constexpr unsigned kHalf = kCount / 2;

  OwnCells(unsigned thread, unsigned threads) : cells_(kCount) {
    const uint64_t border = (uint64_t{thread} + 2) << 18;
    for (unsigned i = 0; i < kHalf; ++i) {
      cells_[i].slot = Slot{uint64_t{i} * threads + thread};
      cells_[kHalf + i].slot = Slot{border - kHalf / 2 + i};
    }
  }
  Cell& operator[](size_t i) { return cells_[i]; }
  size_t size() const { return cells_.size(); }

 private:
  std::vector<Cell> cells_;
};

struct Model {
  static constexpr unsigned kShared = 300;

  explicit Model(unsigned threads) : shared(kShared) {
    for (unsigned t = 0; t < threads; ++t) own.emplace_back(t, threads);
    for (unsigned i = 0; i < kShared; ++i) {
      shared[i].cell.slot = Slot{kSlotLimit - kShared + i};
    }
  }
  // Calls f(cell) for each. REQUIRES: the threads are at rest.
  template <typename F>
  void ForEach(F f) {
    for (OwnCells& cells : own) {
      for (size_t i = 0; i < cells.size(); ++i) f(cells[i]);
    }
    for (SharedCell& s : shared) f(s.cell);
  }
  uint64_t present() {
    uint64_t count = 0;
    ForEach([&](const Cell& cell) { count += cell.content != 0; });
    return count;
  }

  std::deque<OwnCells> own;
  std::deque<SharedCell> shared;
};

}  // namespace uzswap::torture

#endif  // UZSWAP_TESTS_TORTURE_MODEL_H_
