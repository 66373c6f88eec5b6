// SPDX-License-Identifier: Apache-2.0
// Buffers that pages pass through: decompressed into before they are mapped,
// copied to before they are compressed. A few, shared by all threads; whoever
// holds one waits for nothing but zswap, so waiting for one ends.
#ifndef UZSWAP_PAGER_BOUNCE_H_
#define UZSWAP_PAGER_BOUNCE_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "base/os.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

class BounceBuffers {
 public:
  static constexpr uint64_t kPages = 32;  // in each buffer
  static constexpr uint64_t kCount = 16;

  Status Init() {
    const Result<void*> r = os::Map(kCount * kPages * kPageSize, true);
    if (!r.ok()) return r.status();
    memory_ = static_cast<std::byte*>(r.value());
    return kOk;
  }
  void Release() {
    if (memory_ == nullptr) return;
    CHECK(os::Unmap(memory_, kCount * kPages * kPageSize).ok());
    memory_ = nullptr;
  }

  // The lowest free buffer, so that few of them ever become resident.
  std::byte* Get() {
    for (;;) {
      uint32_t taken = taken_.load(std::memory_order_relaxed);
      if (taken == kAll) {
        os::FutexWait(&taken_, kAll, -1).Ignore();  // looks again
        continue;
      }
      const unsigned i = static_cast<unsigned>(std::countr_one(taken));
      if (taken_.compare_exchange_weak(taken, taken | 1u << i,
                                       std::memory_order_acquire)) {
        return memory_ + i * kPages * kPageSize;
      }
    }
  }
  void Put(const std::byte* buffer) {
    const uint64_t i =
        static_cast<uint64_t>(buffer - memory_) / (kPages * kPageSize);
    DCHECK(i < kCount);
    const uint32_t before =
        taken_.fetch_and(~(1u << i), std::memory_order_release);
    // Only the put that ends "all taken" wakes, so it wakes everybody: the next
    // puts may come before anyone who slept has taken a buffer again.
    if (before == kAll) os::FutexWake(&taken_, kEverybody);
  }
  void ResetInChild() { taken_.store(0, std::memory_order_relaxed); }

 private:
  static constexpr uint32_t kAll = (1u << kCount) - 1;
  static constexpr int kEverybody = 1 << 30;

  std::byte* memory_ = nullptr;
  std::atomic<uint32_t> taken_{0};
};

class ScopedBounce {
 public:
  explicit ScopedBounce(BounceBuffers& buffers)
      : buffers_(buffers), memory_(buffers.Get()) {}
  ~ScopedBounce() { buffers_.Put(memory_); }
  ScopedBounce(const ScopedBounce&) = delete;
  ScopedBounce& operator=(const ScopedBounce&) = delete;

  MutablePage page(uint64_t i) const {
    return MutablePage(memory_ + i * kPageSize, kPageSize);
  }
  uint64_t address(uint64_t i) const {
    return reinterpret_cast<uint64_t>(memory_ + i * kPageSize);
  }

 private:
  BounceBuffers& buffers_;
  std::byte* memory_;
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_BOUNCE_H_
