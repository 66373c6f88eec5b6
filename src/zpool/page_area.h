// SPDX-License-Identifier: Apache-2.0
// Single pages with frames, for zpools that divide pages. They come from one
// sparse mapping and are named by number. Of the free pages a few keep their
// frames ("warm"), so that a pool which breathes does not ask the system at
// each breath: these are z3fold's stale pages, given back in batches, with no
// lock held.
//
// Threads: any (one leaf lock, never held over a system call). A taken page
// belongs to whoever took it.
#ifndef UZSWAP_ZPOOL_PAGE_AREA_H_
#define UZSWAP_ZPOOL_PAGE_AREA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/arena.h"
#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Names a page; 0 is none.
using PageNumber = uint32_t;

// Invariants: every page below carved_ is taken, warm, cold or on its way to
// the system; warm and taken pages have frames, frames() counts them. The word
// of a free page is the next one on its list.
class PageArea {
 public:
  static constexpr PageCount kMaxPages = PageCount{1} << 24;

  constexpr PageArea() = default;
  PageArea(const PageArea&) = delete;
  PageArea& operator=(const PageArea&) = delete;

  // Address space for `limit` pages, 2 … kMaxPages. ENOMEM.
  Status Init(PageCount limit);
  void Release();

  // A page with a frame, its content undefined. ENOMEM.
  Result<PageNumber> Take();
  void Give(PageNumber page);

  std::byte* At(PageNumber page) { return base_ + PageCount{page} * kPageSize; }
  // For the owner of a taken page (the kernel's page->private). Its top bit
  // must be set, so that no free page looks like a taken one.
  std::atomic<uint32_t>& Word(PageNumber page) { return words_[page]; }
  static constexpr uint32_t kTaken = uint32_t{1} << 31;
  // Whether it was ever a page; all that can be told of a wild number.
  bool Exists(PageNumber page) const {
    return page != 0 && page < carved_.load(std::memory_order_relaxed);
  }

  PageCount frames() const { return frames_.load(std::memory_order_relaxed); }
  ByteCount metadata_bytes() const {
    return PageCeil(carved_.load(std::memory_order_relaxed) * sizeof(uint32_t));
  }
  // Calls f(page) for each taken page. REQUIRES: no other call runs.
  template <typename F>
  void ForEachTaken(F f) {
    const PageNumber end = carved_.load(std::memory_order_relaxed);
    for (PageNumber page = 1; page < end; ++page) {
      if ((Word(page).load(std::memory_order_relaxed) & kTaken) != 0) f(page);
    }
  }
  // Dies unless exactly `taken` pages are out. REQUIRES: no other call runs.
  void CheckInvariants(PageCount taken);
  void ResetLocksInChild() { lock_.ResetInChild(); }

 private:
  PageNumber Pop(PageNumber& head) UZSWAP_REQUIRES(lock_);
  void Push(PageNumber& head, PageNumber page) UZSWAP_REQUIRES(lock_);
  PageNumber Carve(PageCount* pages) UZSWAP_REQUIRES(lock_);
  void GiveBack(const PageNumber* pages, unsigned count);
  PageCount WarmLimit() const;

  static LockClass lock_class_;

  // Constant after Init.
  std::byte* base_ = nullptr;
  PageCount limit_ = 0;

  SparseTable<std::atomic<uint32_t>> words_;
  std::atomic<PageCount> frames_{0};
  std::atomic<PageNumber> carved_{1};  // written under lock_

  Mutex lock_{lock_class_};
  PageNumber warm_ UZSWAP_GUARDED_BY(lock_) = 0;
  PageNumber cold_ UZSWAP_GUARDED_BY(lock_) = 0;
  PageCount warm_count_ UZSWAP_GUARDED_BY(lock_) = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_PAGE_AREA_H_
