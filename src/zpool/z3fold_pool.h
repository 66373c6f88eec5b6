// SPDX-License-Identifier: Apache-2.0
// The inside of a z3fold pool. z3fold.cc allocates and frees, z3fold_compact.cc
// moves objects, z3fold_check.cc checks.
//
// Locks: page, then list. A list's holder only tries for a page. No thread ever
// holds two page locks, waits for memory or gives memory back under one.
#ifndef UZSWAP_ZPOOL_Z3FOLD_POOL_H_
#define UZSWAP_ZPOOL_Z3FOLD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.h"
#include "zpool/chunk_pool.h"
#include "zpool/fold_hooks.h"

namespace uzswap {

enum FoldBuddy : unsigned { kFoldFirst, kFoldMiddle, kFoldLast, kFoldBuddies };

// The first chunk of a page. next, prev, bin and cpu change with the lock and
// the list's lock held, all else with the lock held.
// Invariants: handles[b] != 0 exactly when chunks[b] != 0; the buddies do not
// overlap. bin != 0: the page is on list `bin` of `cpu`. At quiescence nothing
// is claimed, and bin == FreeRun(): no page with room is ever lost.
struct FoldHeader {
  static LockClass lock_class;

  Mutex lock{lock_class};
  PageNumber next = 0;
  PageNumber prev = 0;
  uint32_t handles[kFoldBuddies] = {};
  uint8_t chunks[kFoldBuddies] = {};
  uint8_t start_middle = 0;
  uint16_t cpu = 0;
  uint8_t bin = 0;
  // Compact is emptying the page, which is on no list; who frees an object of
  // it leaves the rest to Compact.
  bool claimed = false;

  void Lock() UZSWAP_ACQUIRE(lock) {
    lock.Lock();
    fold_hooks::PageLocked();
  }
  bool TryLock() UZSWAP_TRY_ACQUIRE(true, lock) {
    if (!lock.TryLock()) return false;
    fold_hooks::PageLocked();
    return true;
  }
  void Unlock() UZSWAP_RELEASE(lock) {
    fold_hooks::PageUnlocked();
    lock.Unlock();
  }

  bool Has(FoldBuddy b) const { return chunks[b] != 0; }
  unsigned Objects() const {
    return Has(kFoldFirst) + Has(kFoldMiddle) + Has(kFoldLast);
  }
  unsigned Largest() const;
  unsigned Start(FoldBuddy b) const;
  // The free chunks before and behind the middle object.
  unsigned GapBefore() const { return start_middle - 1 - chunks[kFoldFirst]; }
  unsigned GapBehind() const {
    return kChunksPerPage - start_middle - chunks[kFoldMiddle] -
           chunks[kFoldLast];
  }
  // The largest object that fits, in chunks.
  unsigned FreeRun() const;
  // The buddy that an object of at most FreeRun() chunks becomes.
  FoldBuddy Choose(unsigned count) const;
  // kFoldBuddies: it is none of them.
  FoldBuddy BuddyAt(uint32_t handle, unsigned chunk) const;
  void Set(FoldBuddy b, uint32_t handle, unsigned count) {
    handles[b] = handle;
    chunks[b] = static_cast<uint8_t>(count);
  }
};
static_assert(sizeof(FoldHeader) <= kChunkSize);

// The unbuddied lists of one CPU: pages by their largest free run, last used
// first. Bit n of `bins` is set when list n has pages; a hint without the lock.
struct alignas(kCacheLine) FoldLists {
  static LockClass lock_class;

  Mutex lock{lock_class};
  PageNumber heads[kBins] UZSWAP_GUARDED_BY(lock) = {};
  std::atomic<uint64_t> bins{0};
};

class Z3foldPool final : public ChunkPool {
 public:
  Z3foldPool();
  Status Init() { return InitMemory(kFoldBuddies); }

  PageCount Compact(unsigned objects) override;
  ByteCount metadata_bytes() const override;
  const char* name() const override { return "z3fold"; }
  void ResetLocksInChild() override;
  void CheckInvariants() override;
  void Destroy() override;

 private:
  FoldHeader& Header(PageNumber page) {
    return *reinterpret_cast<FoldHeader*>(area_.At(page));
  }
  FoldLists& ListsOf(unsigned cpu) {
    return reinterpret_cast<FoldLists*>(list_memory_)[cpu];
  }
  unsigned ThisCpu() const { return fold_hooks::CurrentCpu() % cpus_; }

  Status Place(uint32_t handle, unsigned chunks) override;
  void Remove(uint32_t handle, Location at) override;
  ByteCount Capacity(uint32_t handle, Location at) override;

  // A page with room for `chunks`, locked and off its list; 0 if none is found.
  PageNumber LockPageWithRoom(unsigned chunks);
  PageNumber LockPageOn(FoldLists& lists, unsigned chunks);
  static Location PlaceIn(FoldHeader& header, PageNumber page, uint32_t handle,
                          unsigned chunks) UZSWAP_REQUIRES(header.lock);
  // Lists the page by its free run, if it has one.
  void Link(FoldHeader& header, PageNumber page) UZSWAP_REQUIRES(header.lock);
  void Unlink(FoldHeader& header) UZSWAP_REQUIRES(header.lock);
  void UnlinkFrom(FoldLists& lists, FoldHeader& header)
      UZSWAP_REQUIRES(lists.lock);
  // After objects went: compacts and lists the page, or gives it back.
  void Settle(FoldHeader& header, PageNumber page) UZSWAP_RELEASE(header.lock);

  // z3fold_compact.cc
  void CompactInPage(FoldHeader& header, PageNumber page)
      UZSWAP_REQUIRES(header.lock);
  bool EmptyOneOf(FoldLists& lists, unsigned bin, unsigned* objects);
  PageNumber Claim(FoldLists& lists, unsigned bin);
  bool WorthEmptying(const FoldHeader& header) const;
  bool HasRoom(unsigned chunks, bool alone, const FoldLists& of, unsigned bin);
  bool MoveAway(FoldHeader& header, PageNumber page, FoldBuddy b);

  // z3fold_check.cc
  uint64_t CheckPage(const FoldHeader& header, PageNumber page);
  PageCount CheckLists(unsigned cpu);

  const unsigned cpus_;
  // The last member: only what the CPUs there are need is ever touched.
  alignas(FoldLists) std::byte list_memory_[os::kMaxCpus * sizeof(FoldLists)];
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_Z3FOLD_POOL_H_
