// SPDX-License-Identifier: Apache-2.0
// A zpool packs objects of 1 … kPageSize bytes into page frames. It hides one
// decision: how. After the kernel's zpool layer (mm/zpool.c, obj_read_begin /
// obj_read_end / obj_write era). It does its own locking, never calls up,
// never evicts (that is zswap's business), and takes frames from the system.
#ifndef UZSWAP_ZPOOL_ZPOOL_H_
#define UZSWAP_ZPOOL_ZPOOL_H_

#include <cstddef>
#include <span>

#include "base/arena.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Names one allocated object; stays valid while the object is moved. Zero is
// never a handle.
enum class Handle : uint64_t {};
inline constexpr Handle kNoHandle{0};

// One size class, as in the kernel's debugfs table zsmalloc/<pool>/classes.
struct ZpoolClassStats {
  static constexpr unsigned kGroups = 12;  // of fullness; 0 is always empty

  unsigned index;  // the kernel's number: (size - 32) / 16
  unsigned size;   // of an object, back reference included
  unsigned pages_per_zspage;
  uint64_t zspages[kGroups];
  uint64_t obj_allocated;  // objects that fit in the zspages there are
  uint64_t obj_used;
  PageCount pages_used;  // frames held by these zspages
  PageCount freeable;    // pages that compaction could empty
};

class Zpool {
 public:
  // EINVAL: zero bytes. ENOSPC: larger than this zpool can ever hold. ENOMEM:
  // the system has no memory. On error nothing has changed.
  virtual Result<Handle> Allocate(ByteCount bytes) = 0;
  // REQUIRES: handle came from Allocate, was not freed, has no open read.
  virtual void Free(Handle handle) = 0;
  // Copies bytes into the object. REQUIRES: bytes.size() <= allocated size.
  virtual void Write(Handle handle, std::span<const std::byte> bytes) = 0;
  // Allocate and Write as one step. Errors are those of Allocate.
  virtual Result<Handle> Store(std::span<const std::byte> bytes) {
    const Result<Handle> handle = Allocate(bytes.size());
    if (handle.ok()) Write(handle.value(), bytes);
    return handle;
  }
  // The object's first `bytes` bytes, readable until ReadEnd; the object does
  // not move meanwhile, other objects may be freed. `scratch` may be used when
  // the object is not contiguous. Readers may be many and may sleep.
  virtual std::span<const std::byte> ReadBegin(Handle handle, ByteCount bytes,
                                               MutablePage scratch) = 0;
  virtual void ReadEnd(Handle handle) = 0;

  // Moves up to `objects` objects together, so that frames become free and go
  // back to the system; returns how many frames went. Concurrent with every
  // other call; holds a lock for the move of one object's zspage at a time.
  virtual PageCount Compact(unsigned objects) = 0;

  // What an object of `bytes` bytes takes of a frame: its size class.
  virtual ByteCount Footprint(ByteCount bytes) const { return bytes; }

  // Frames held now (exact at quiescence; includes free ones kept for reuse).
  virtual PageCount total_pages() const = 0;
  // Size classes, numbered by size, 0 the smallest; none if this zpool has no
  // such thing.
  virtual unsigned class_count() const { return 0; }
  // REQUIRES: i < class_count().
  virtual ZpoolClassStats ClassStats(unsigned /*i*/) { return {}; }
  // Descriptors, handle words and lists, in bytes (not in total_pages).
  virtual ByteCount metadata_bytes() const = 0;
  virtual const char* name() const = 0;

  // Fork: no operation may be in flight; the child owns a copy of everything.
  virtual void LockAll() = 0;
  virtual void UnlockAll() = 0;
  virtual void ResetLocksInChild() = 0;

  // Walks everything; dies at the first broken invariant. For tests and for
  // debug builds at quiet points.
  virtual void CheckInvariants() = 0;
  // Gives all memory back, allocated objects included (an exiting process has
  // no use for them). The object is gone afterwards.
  virtual void Destroy() = 0;

 protected:
  ~Zpool() = default;
};

// "zsmalloc", "zsmalloc:CHAIN" (zspages of at most CHAIN pages), "zbud",
// "z3fold". ENOENT: no such zpool. EINVAL: not a chain, or a zpool that has
// none. ENOMEM. The object lives in memory of its own until Destroy().
Result<Zpool*> CreateZpool(const char* name);
// The name that such a pool has: one for each kind of pool, for ever valid.
// Errors as CreateZpool's.
Result<const char*> FindZpool(const char* name);
// Without option; nullptr after the last.
const char* ZpoolName(unsigned index);

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZPOOL_H_
