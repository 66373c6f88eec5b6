// SPDX-License-Identifier: Apache-2.0
// Engine memory. It comes from os::Map, is never managed by the pager (rule F3:
// a fault must never need a page that can itself fault), and is counted.
#ifndef UZSWAP_BASE_ARENA_H_
#define UZSWAP_BASE_ARENA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include "base/mutex.h"
#include "base/os.h"
#include "base/page.h"

namespace uzswap {

// Bump memory for things that live as long as their owner (one Arena for each
// long-lived object family). Thread-safe. Memory is zeroed. Nothing is given
// back before the arena itself goes.
class Arena {
 public:
  constexpr Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Nullptr when the system has no memory. align: a power of two <= kPageSize.
  void* Allocate(size_t bytes, size_t align = alignof(std::max_align_t));

  // Objects made here are never destroyed by delete; their owner calls the
  // destructor if there is anything to undo.
  template <typename T, typename... Args>
  T* New(Args&&... args) {
    void* p = Allocate(sizeof(T), alignof(T));
    return p == nullptr ? nullptr : new (p) T(std::forward<Args>(args)...);
  }

  ByteCount bytes_mapped() const {
    return bytes_mapped_.load(std::memory_order_relaxed);
  }
  // Gives everything back to the system. REQUIRES: nothing in it is in use.
  void Release();
  void ResetLocksInChild() { mutex_.ResetInChild(); }

 private:
  struct Chunk {
    Chunk* next;
    size_t bytes;
  };
  // Nullptr when the system has no memory.
  Chunk* MapChunk(size_t bytes) UZSWAP_REQUIRES(mutex_);

  static LockClass lock_class_;
  Mutex mutex_{lock_class_};
  Chunk* chunks_ UZSWAP_GUARDED_BY(mutex_) = nullptr;
  char* free_begin_ UZSWAP_GUARDED_BY(mutex_) = nullptr;
  char* free_end_ UZSWAP_GUARDED_BY(mutex_) = nullptr;
  std::atomic<ByteCount> bytes_mapped_{0};
};

// A table of T addressed by index over a huge sparse mapping: costs memory only
// where touched, never moves, and untouched elements read as zero bytes. T must
// be valid when all its bytes are zero.
template <typename T>
class SparseTable {
 public:
  Status Init(uint64_t count) {
    const size_t bytes = PageCeil(count * sizeof(T));
    const Result<void*> r = os::Map(bytes, /*sparse=*/true);
    if (!r.ok()) return r.status();
    data_ = static_cast<T*>(r.value());
    count_ = count;
    return kOk;
  }
  void Release() {
    if (data_ != nullptr) {
      CHECK(os::Unmap(data_, PageCeil(count_ * sizeof(T))).ok());
      data_ = nullptr;
    }
  }
  T& operator[](uint64_t i) {
    DCHECK(i < count_);
    return data_[i];
  }
  const T& operator[](uint64_t i) const {
    DCHECK(i < count_);
    return data_[i];
  }
  uint64_t count() const { return count_; }
  T* data() { return data_; }

 private:
  T* data_ = nullptr;
  uint64_t count_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_BASE_ARENA_H_
