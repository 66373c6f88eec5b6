// SPDX-License-Identifier: Apache-2.0
#include "base/arena.h"

namespace uzswap {
namespace {

constexpr size_t kChunkBytes = 64 * 1024;

char* AlignUp(char* p, size_t align) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  return reinterpret_cast<char*>((at + align - 1) & ~(uintptr_t{align} - 1));
}

}  // namespace

constinit LockClass Arena::lock_class_{"arena"};

void* Arena::Allocate(size_t bytes, size_t align) {
  DCHECK(align != 0 && (align & (align - 1)) == 0 && align <= kPageSize);
  ScopedLock lock(mutex_);
  if (free_begin_ != nullptr) {
    char* at = AlignUp(free_begin_, align);
    if (at <= free_end_ && bytes <= static_cast<size_t>(free_end_ - at)) {
      free_begin_ = at + bytes;
      return at;
    }
  }
  // What is large gets a chunk of its own, so that the rest of the current
  // chunk is not lost.
  const bool own_chunk = bytes > kChunkBytes / 4;
  Chunk* chunk = MapChunk(own_chunk ? PageCeil(bytes + align + sizeof(Chunk))
                                    : kChunkBytes);
  if (chunk == nullptr) return nullptr;
  char* at = AlignUp(reinterpret_cast<char*>(chunk + 1), align);
  if (!own_chunk) {
    free_begin_ = at + bytes;
    free_end_ = reinterpret_cast<char*>(chunk) + chunk->bytes;
  }
  return at;
}

Arena::Chunk* Arena::MapChunk(size_t bytes) {
  const Result<void*> mapped = os::Map(bytes);
  if (!mapped.ok()) return nullptr;
  bytes_mapped_.fetch_add(bytes, std::memory_order_relaxed);
  auto* chunk = static_cast<Chunk*>(mapped.value());
  chunk->next = chunks_;
  chunk->bytes = bytes;
  chunks_ = chunk;
  return chunk;
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
