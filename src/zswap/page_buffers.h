// SPDX-License-Identifier: Apache-2.0
// A few pages for writebacks to copy to: a fault is served on a small
// alternate stack, so they cannot be there. A holder keeps its pages over
// device I/O and asks for no more, so waiting always ends.
#ifndef UZSWAP_ZSWAP_PAGE_BUFFERS_H_
#define UZSWAP_ZSWAP_PAGE_BUFFERS_H_

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/os.h"
#include "base/page.h"

namespace uzswap {

// Invariant: bit i of free_ is set exactly when nobody has the i-th pages.
class PageBuffers {
 public:
  static constexpr unsigned kMaxHolders = 32;
  static constexpr unsigned kPagesEach = 8;

  Status Init() {
    count_ = std::min(os::CpuCount() + 1, kMaxHolders);
    const Result<void*> memory = os::Map(bytes());
    if (!memory.ok()) return memory.status();
    memory_ = static_cast<std::byte*>(memory.value());
    SetAllFree();
    return kOk;
  }
  void Release() {
    if (memory_ != nullptr) CHECK(os::Unmap(memory_, bytes()).ok());
    memory_ = nullptr;
  }
  ByteCount bytes() const { return count_ * kPagesEach * kPageSize; }
  void ResetInChild() { SetAllFree(); }

  class Holder {
   public:
    explicit Holder(PageBuffers& buffers)
        : buffers_(buffers), number_(buffers.Acquire()) {}
    ~Holder() { buffers_.Free(number_); }
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    // REQUIRES: i < kPagesEach.
    MutablePage page(unsigned i = 0) const {
      return MutablePage(
          buffers_.memory_ + (number_ * kPagesEach + i) * kPageSize, kPageSize);
    }

   private:
    PageBuffers& buffers_;
    const unsigned number_;
  };

 private:
  void SetAllFree() {
    free_.store(static_cast<uint32_t>((uint64_t{1} << count_) - 1));
  }
  unsigned Acquire() {
    uint32_t free = free_.load();
    for (;;) {
      if (free == 0) {
        waiters_.fetch_add(1);
        os::FutexWait(&free_, 0, -1).Ignore();  // looks again
        waiters_.fetch_sub(1);
        free = free_.load();
      } else if (free_.compare_exchange_weak(free, free & (free - 1))) {
        return static_cast<unsigned>(std::countr_zero(free));
      }
    }
  }
  void Free(unsigned number) {
    free_.fetch_or(uint32_t{1} << number);
    if (waiters_.load() != 0) os::FutexWake(&free_, 1);
  }

  unsigned count_ = 0;
  std::byte* memory_ = nullptr;
  std::atomic<uint32_t> free_{0};
  std::atomic<uint32_t> waiters_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_PAGE_BUFFERS_H_
