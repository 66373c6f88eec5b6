// SPDX-License-Identifier: Apache-2.0
// How much memory may still be taken (rule F8: it is reserved here first).
//
//   limit >= resident + staged + engine + unmanaged - shared
//
// resident and staged are counted here, engine is what zswap says, unmanaged is
// everything else in RssAnon and RssShmem: measured from /proc now and then,
// minus the first three; shared is what relatives of a fork are charged for.
// What the engine counts but has not touched yet (contexts of compressors)
// makes unmanaged less than it is; so metadata that goes is counted on until
// the next measurement.
// The limit is this process's part of one that others may have a part in, too
// (tree_budget.h). Watermarks: a fault may not take the last
// `min` pages, because evicting needs room in the pool before it frees frames;
// below `low` each fault also evicts.
//
// Threads: any, without locks.
#ifndef UZSWAP_PAGER_BUDGET_H_
#define UZSWAP_PAGER_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "base/bits.h"
#include "base/page.h"
#include "base/status.h"
#include "pager/tree_budget.h"
#include "zswap/zswap.h"

namespace uzswap {

class Budget {
 public:
  // Opens /proc and files of this process in it; ENOENT and others as open(2)
  // says.
  Status Open();
  void Close();
  // In a forked child: the files of the parent, and then its own. /proc itself
  // stays open, so a root directory without it does not matter. What cannot be
  // opened is not measured any more.
  void CloseFiles();
  Status OpenFiles();
  // A descriptor of /proc for openat(2).
  int proc() const { return proc_; }
  // From here on the engine counts. REQUIRES: tree() is attached.
  void Start(Zswap* zswap);

  TreeBudget& tree() { return tree_; }
  PageCount limit() const { return tree_.limit(); }
  PageCount min() const { return kMin; }
  PageCount low() const {
    return kMin + std::clamp<PageCount>(limit() / 128, 64, 4096);
  }
  // Negative: the limit is exceeded.
  int64_t Free() const {
    return static_cast<int64_t>(limit()) - static_cast<int64_t>(Used());
  }
  PageCount Used() const {
    const auto all =
        static_cast<int64_t>(resident() + staged() + Engine() + unmanaged());
    return static_cast<PageCount>(std::max<int64_t>(0, all - tree_.shared()));
  }
  // More of what all processes may have; false: not now.
  bool Ask(PageCount pages) { return tree_.Ask(Used(), pages); }
  // After a change that others wait for, or should know of.
  void Publish() { tree_.Publish(Used()); }

  // What evicting needs is left alone.
  bool HasRoomToMigrate() const {
    return Free() >= static_cast<int64_t>(kMin + Zswap::kMigrationFrames);
  }

  // Takes `pages` if `keep` remain free.
  bool TryReserve(PageCount pages, PageCount keep) {
    resident_.fetch_add(pages, std::memory_order_relaxed);
    const PageCount used = Used();
    if (static_cast<int64_t>(limit() - used) >= static_cast<int64_t>(keep)) {
      tree_.Publish(used);  // what is not used may be given to others
      return true;
    }
    resident_.fetch_sub(pages, std::memory_order_relaxed);
    return false;
  }
  void Take(PageCount pages) {
    resident_.fetch_add(pages, std::memory_order_relaxed);
  }
  void Release(PageCount pages) {
    resident_.fetch_sub(pages, std::memory_order_relaxed);
  }
  // Frames have gone. While those that relatives have, too, may go, all are
  // taken for such, until they are measured again: nothing is free by that.
  void Drop(PageCount pages) {
    Release(pages);
    const int64_t shared = tree_.shared();
    if (!may_drop_shared() || shared <= 0) return;
    tree_.Part(std::min(pages, static_cast<PageCount>(shared)));
  }
  // The same of pages that are about to go, `address` on (at most 64): those
  // that others have, too, are known. The sum of what a family is charged for
  // stays, so this process goes on being charged for its part of them, even if
  // it has none any more, until all are measured again.
  PageCount SharedBefore(uint64_t address, uint64_t pages) const {
    if (!may_drop_shared() || !tree_.HasRelatives()) return 0;
    return CountBits(SharedFrames(address, 64) & pages);
  }
  void Drop(PageCount pages, PageCount shared) {
    Release(pages);
    if (shared != 0) tree_.Part(std::min(pages, shared));
  }
  // A page that a relative of a fork has, too, takes its frame nowhere when it
  // leaves: it stays while there are others.
  bool may_drop_shared() const {
    return may_drop_shared_.load(std::memory_order_relaxed);
  }
  void AllowSharedToGo(bool allowed) {
    may_drop_shared_.store(allowed, std::memory_order_relaxed);
  }
  // Of the `count` (at most 64) pages from `address` on, those that have frames
  // which somebody else has, too; none where that cannot be told.
  uint64_t SharedFrames(uint64_t address, unsigned count) const;
  void Stage(PageCount pages) {
    staged_.fetch_add(pages, std::memory_order_relaxed);
    Release(pages);
  }
  void Unstage(PageCount pages) {
    Take(pages);
    staged_.fetch_sub(pages, std::memory_order_relaxed);
  }
  void DropStaged(PageCount pages) {
    staged_.fetch_sub(pages, std::memory_order_relaxed);
  }
  // Pages that were ours are unmanaged memory now.
  void Gained(PageCount pages) {
    unmanaged_.fetch_add(pages, std::memory_order_relaxed);
  }

  // Measures what is not ours, and the peaks. Cheap: one read of statm.
  void Measure();

  PageCount resident() const {
    return resident_.load(std::memory_order_relaxed);
  }
  PageCount staged() const { return staged_.load(std::memory_order_relaxed); }
  PageCount unmanaged() const {
    return unmanaged_.load(std::memory_order_relaxed);
  }
  PageCount peak() const { return peak_.load(std::memory_order_relaxed); }
  PageCount peak_without() const {
    return peak_without_.load(std::memory_order_relaxed);
  }
  // Of the process; 0 if unknown. Exact at the time of the call.
  unsigned Threads() const;
  // REQUIRES: a thread of ours asks. The program has no thread any more: it has
  // ended but for us.
  bool OnlyOursLeft() const;
  void ResetPeaks() {
    peak_.store(0, std::memory_order_relaxed);
    peak_without_.store(0, std::memory_order_relaxed);
  }
  size_t Descriptors(int* fds, size_t capacity) const;
  static constexpr size_t MaxDescriptors() { return kFiles + 1; }
  // Anonymous and shared-memory pages of the process now.
  PageCount MeasureRss();
  // Pages that are in zswap only.
  PageCount stored() const { return stored_.load(std::memory_order_relaxed); }
  void NoteStored(int64_t pages) {
    stored_.fetch_add(static_cast<uint64_t>(pages), std::memory_order_relaxed);
  }

 private:
  static constexpr PageCount kMin = 64;
  static constexpr size_t kFiles = 4;

  PageCount Engine() const {
    if (zswap_ == nullptr) return 0;
    const PageCount measured = metadata_.load(std::memory_order_relaxed);
    return zswap_->pool_pages() + std::max(measured, zswap_->metadata_pages());
  }

  PageCount MeasureAnonymous();
  void FollowThisThread();

  TreeBudget tree_;
  Zswap* zswap_ = nullptr;
  std::atomic<PageCount> resident_{0};
  std::atomic<PageCount> staged_{0};
  std::atomic<PageCount> unmanaged_{0};
  std::atomic<PageCount> metadata_{0};  // when unmanaged_ was measured
  std::atomic<PageCount> stored_{0};    // pages in zswap, for peak_without
  std::atomic<PageCount> shmem_{0};
  std::atomic<PageCount> peak_{0};
  std::atomic<PageCount> peak_without_{0};
  std::atomic<uint32_t> measurements_{0};
  std::atomic<PageCount> told_zswap_{0};
  std::atomic<bool> may_drop_shared_{true};
  // statm, status, task, pagemap: opened once, so they work without lookups and
  // name this address space even in a vfork child.
  int proc_ = -1;
  int files_[kFiles] = {-1, -1, -1, -1};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_BUDGET_H_
