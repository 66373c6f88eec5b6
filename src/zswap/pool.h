// SPDX-License-Identifier: Apache-2.0
// A compressor and a zpool: turns a page into an object and back.
#ifndef UZSWAP_ZSWAP_POOL_H_
#define UZSWAP_ZSWAP_POOL_H_

#include "compress/acomp.h"
#include "compress/compressor.h"
#include "zpool/zpool.h"

namespace uzswap {

// What makes two pools the same. The names and tables outlive every pool.
struct PoolKind {
  const uzswap_compressor* compressor = nullptr;
  int level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  const char* zpool = nullptr;
};
bool operator==(const PoolKind& a, const PoolKind& b);

// Locking: its parts do their own. No lock is held between calls.
class Pool {
 public:
  // What became of a page. `handle` is set on success only.
  struct Stored {
    Handle handle;
    ByteCount length;    // kPageSize: raw
    int compress_error;  // 0, ENOSPC: does not compress, EINVAL: failed
    int allocate_error;  // 0: stored; ENOMEM; ENOSPC: too large for the zpool
  };

  // ENOENT, EINVAL: no such zpool. ENOMEM. Or what the compressor's init said.
  Status Create(const PoolKind& kind);
  void Destroy();

  // The page may change meanwhile (see same_filled.h); what is stored is then
  // some bytes that Load may refuse, and nothing worse.
  // Each on its own. REQUIRES: at most kMaxBatch pages.
  void StoreGroup(std::span<const std::byte* const> pages, Stored* stored);
  // As StoreGroup, but a page is kept only if it becomes smaller than in a pool
  // with the same zpool where it has `before` bytes, by so much that it pays;
  // else its allocate_error is ENOSPC.
  void StoreSmaller(std::span<const std::byte* const> pages,
                    const ByteCount* before, Stored* stored);
  Stored Store(ConstPage page) {
    Stored stored;
    const std::byte* const data = page.data();
    StoreGroup({&data, 1}, &stored);
    return stored;
  }
  // Keeps an object as it is, which Load must be able to decompress. ENOMEM;
  // ENOSPC: too large for the zpool.
  Result<Handle> StoreObject(std::span<const std::byte> object) {
    return zpool_->Store(object);
  }
  // EIO: the object is not one page's worth of compressed data. REQUIRES:
  // nobody frees the object meanwhile.
  Status Load(Handle handle, ByteCount length, MutablePage page);
  // Several at once, compressed or raw; each has its own error.
  struct Wanted {
    Handle handle;
    ByteCount length;
    std::byte* page;  // kPageSize bytes
    Status status;
  };
  void LoadGroup(std::span<Wanted> group);
  // The object as it lies here: `length` bytes, of which `page` has the room.
  // REQUIRES: as Load.
  void Copy(Handle handle, ByteCount length, MutablePage page);
  void Free(Handle handle) { zpool_->Free(handle); }

  const PoolKind& kind() const { return kind_; }
  bool WantsContexts() const { return compressor_->HasWanted(); }
  // A CPU that gets none goes on with the spare one.
  void SetUpWanted() { compressor_->SetUpWanted().Ignore(); }

  PageCount Compact(unsigned objects) { return zpool_->Compact(objects); }
  PageCount total_pages() const { return zpool_->total_pages(); }
  ByteCount metadata_bytes() const {
    return zpool_->metadata_bytes() + compressor_->metadata_bytes();
  }

  unsigned class_count() const { return zpool_->class_count(); }
  ZpoolClassStats ClassStats(unsigned i) { return zpool_->ClassStats(i); }

  void LockAll();
  void UnlockAll();
  void ResetLocksInChild();
  void CheckInvariants() {
    zpool_->CheckInvariants();
    compressor_->CheckInvariants();
  }

 private:
  void Keep(std::span<const std::byte> bytes, Stored& stored);
  bool Pays(ByteCount before, ByteCount after) const;
  // keep(i, bytes) for each page that was compressed, its context locked.
  template <typename F>
  void CompressGroup(std::span<const std::byte* const> pages, Stored* stored,
                     F keep);

  PoolKind kind_;
  Acomp acomp_;  // without a device it needs no end
  Compressor* compressor_ = nullptr;
  Zpool* zpool_ = nullptr;
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_POOL_H_
