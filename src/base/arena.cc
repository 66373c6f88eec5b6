// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

namespace uzswap {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;

}  // namespace

constinit LockClass Arena::lock_class_{"arena"};

void* Arena::Allocate(size_t bytes, size_t align) {
  DCHECK(align != 0 && (align & (align - 1)) == 0 && align <= kPageSize);
  ScopedLock lock(mutex_);
  auto place = [&]() UZSWAP_NO_THREAD_SAFETY_ANALYSIS -> void* {
    const auto begin = reinterpret_cast<uintptr_t>(free_begin_);
    const uintptr_t at = (begin + align - 1) & ~(uintptr_t{align} - 1);
    if (free_begin_ == nullptr ||
        at + bytes > reinterpret_cast<uintptr_t>(free_end_)) {
      return nullptr;
    }
    free_begin_ = reinterpret_cast<char*>(at + bytes);
    return reinterpret_cast<void*>(at);
  };
  if (void* p = place()) return p;
  size_t chunk_bytes = PageCeil(bytes + align + sizeof(Chunk));
  if (chunk_bytes < kChunkBytes) chunk_bytes = kChunkBytes;
  const Result<void*> mapped = os::Map(chunk_bytes);
  if (!mapped.ok()) return nullptr;
  bytes_mapped_.fetch_add(chunk_bytes, std::memory_order_relaxed);
  auto* chunk = static_cast<Chunk*>(mapped.value());
  chunk->next = chunks_;
  chunk->bytes = chunk_bytes;
  chunks_ = chunk;
  free_begin_ = reinterpret_cast<char*>(chunk + 1);
  free_end_ = reinterpret_cast<char*>(chunk) + chunk_bytes;
  return place();
}

void Arena::Release() {
  ScopedLock lock(mutex_);
  while (chunks_ != nullptr) {
    Chunk* chunk = chunks_;
    chunks_ = chunk->next;
    CHECK(os::Unmap(chunk, chunk->bytes).ok());
  }
  free_begin_ = free_end_ = nullptr;
  bytes_mapped_.store(0, std::memory_order_relaxed);
}

}  // namespace uzswap
