// SPDX-License-Identifier: Apache-2.0
// What zbud and z3fold have in common: pages of 64 chunks of 64 bytes, of which
// the first is the header of the page; handles that lead to a page and a chunk,
// so that objects can be moved; and pages without a header ("headless") for
// objects that leave no room for one. How objects share a page is left to them.
//
// Threads: a headless page has one owner, the handle, and needs no lock. Reads
// and writes take none either: an object that is in use stays where it is.
#ifndef UZSWAP_ZPOOL_CHUNK_POOL_H_
#define UZSWAP_ZPOOL_CHUNK_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "zpool/handle_table.h"
#include "zpool/page_area.h"
#include "zpool/zpool.h"

namespace uzswap {

inline constexpr unsigned kChunkShift = 6;
inline constexpr ByteCount kChunkSize = ByteCount{1} << kChunkShift;
inline constexpr unsigned kChunksPerPage = kPageSize >> kChunkShift;
inline constexpr unsigned kUsableChunks = kChunksPerPage - 1;
// A larger object gets a page of its own.
inline constexpr ByteCount kMaxShared = kPageSize - 2 * kChunkSize;
// Pages are listed by their free chunks.
inline constexpr unsigned kBins = kChunksPerPage;

constexpr unsigned ChunksOf(ByteCount bytes) {
  return static_cast<unsigned>((bytes + kChunkSize - 1) >> kChunkShift);
}
static_assert(ChunksOf(kMaxShared) < kUsableChunks);

// Invariants: the word of a taken page is kTaken | handle when it is headless,
// kTaken otherwise. A location is page << 6 | chunk; chunk 0 is headless.
class ChunkPool : public Zpool {
 public:
  // All inline, so that no table of this abstract class is emitted: its empty
  // places would need the C++ run-time library.
  Result<Handle> Allocate(ByteCount bytes) final { return AllocateIn(bytes); }
  void Free(Handle handle) final { FreeIn(handle); }
  void Write(Handle handle, std::span<const std::byte> bytes) final {
    WriteIn(handle, bytes);
  }
  std::span<const std::byte> ReadBegin(Handle handle, ByteCount bytes,
                                       MutablePage) final {
    return ReadIn(handle, bytes);
  }
  void ReadEnd(Handle handle) final {
    handles_.EndUse(static_cast<uint32_t>(handle));
  }

  PageCount total_pages() const final { return area_.frames(); }

  void LockAll() final { frozen_.store(true, std::memory_order_relaxed); }
  void UnlockAll() final { frozen_.store(false, std::memory_order_relaxed); }

 protected:
  struct Location {
    PageNumber page;
    unsigned chunk;

    static Location From(uint32_t word) {
      return {word >> kWordShift, word % kChunksPerPage};
    }
    uint32_t Word() const { return page << kWordShift | chunk; }
    static constexpr unsigned kWordShift = kPageShift - kChunkShift;
  };
  static_assert(PageArea::kMaxPages * kChunksPerPage <= UINT32_MAX);

  constexpr ChunkPool() = default;
  ~ChunkPool() = default;

  // Room for `objects_per_page` objects in each page there can be. ENOMEM.
  Status InitMemory(unsigned objects_per_page);
  void ReleaseMemory();

  // Puts an object of `chunks` chunks into a page that others may share, and
  // its place into the handle table. ENOMEM: nothing has changed.
  virtual Status Place(uint32_t handle, unsigned chunks) = 0;
  // REQUIRES: the caller uses the handle's object, which is at `at`. Ends that
  // use. Dies unless the object is the handle's and nobody else uses it.
  virtual void Remove(uint32_t handle, Location at) = 0;
  // Of an object in use.
  virtual ByteCount Capacity(uint32_t handle, Location at) = 0;

  std::byte* At(Location at) {
    return area_.At(at.page) + at.chunk * kChunkSize;
  }
  // Dies unless pages with a header can have objects there.
  void CheckShared(Location at);
  // Each page without a header is its handle's; returns how many there are.
  PageCount CheckHeadless();
  void ResetBaseInChild();
  bool frozen() const { return frozen_.load(std::memory_order_relaxed); }

  HandleTable handles_;
  PageArea area_;

 private:
  Result<Handle> AllocateIn(ByteCount bytes);
  void FreeIn(Handle handle);
  void WriteIn(Handle handle, std::span<const std::byte> bytes);
  std::span<const std::byte> ReadIn(Handle handle, ByteCount bytes);
  Status PlaceAlone(uint32_t handle);
  void RemoveAlone(uint32_t handle, Location at);
  uint32_t Checked(Handle handle) const;

  std::atomic<bool> frozen_{false};  // between LockAll and UnlockAll
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_CHUNK_POOL_H_
