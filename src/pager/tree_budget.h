// SPDX-License-Identifier: Apache-2.0
// This process's part in a limit that several processes share (uzswap/tree.h).
// A process that has no others to share with is granted all of it.
//
// Fairness: everybody is sure of half an equal share (the floor), whoever else
// wants it; above that the one that lacks least gives way. A process that has
// lacked nothing for a while gives up all but a minimum. What a newcomer needs
// to begin with is kept free once there are several.
//
// Threads: any. The lock in the table is tried for a moment only, is innermost,
// and nothing is called while it is held.
#ifndef UZSWAP_PAGER_TREE_BUDGET_H_
#define UZSWAP_PAGER_TREE_BUDGET_H_

#include <uzswap/tree.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/page.h"

namespace uzswap {

class TreeBudget {
 public:
  // Pages that a process gets however little there is.
  static constexpr PageCount kLeast = 512;

  constexpr TreeBudget() = default;
  TreeBudget(const TreeBudget&) = delete;
  TreeBudget& operator=(const TreeBudget&) = delete;

  // nullptr: a table of our own, with `limit`. Takes no place in it yet.
  void Attach(uzswap_tree* tree, PageCount limit);
  // Takes a place and what there is for it. Without a place (the table is full)
  // a small part of the limit may be used.
  void Join(PageCount used);
  // Gives everything back, since this process becomes another program; also
  // what relatives were not charged for.
  void Leave();
  // This process ends: nobody gets what it has before it is dead.
  void End();
  // Until the child has its place nobody knows who shares what.
  void BeginFork();
  // In a forked child, which uses `inherited` pages, all of them its parent's
  // as well: a place of its own.
  void JoinAsChild(PageCount inherited);

  // What this process may use now.
  PageCount limit() const {
    const PageCount granted = IsIn() ? Load(member_->granted) : Outside();
    return granted < most() ? granted : most();
  }
  // What it could be granted if nobody else wanted any.
  PageCount most() const {
    const PageCount all = Load(tree_->limit);
    const PageCount own = Load(tree_->process_limit);
    return own != 0 && own < all ? own : all;
  }
  int64_t shared() const { return IsIn() ? uzswap_shared(member_) : 0; }
  // Processes that fork share the limit, and somebody measures what of it.
  bool CanHaveRelatives() const { return IsIn() && tree_ != OwnTable(); }
  // A parent, children, or siblings are there, or a child is being born.
  bool HasRelatives() const;
  // Nothing that a child does is its parent's until it has a place of its own.
  void LeaveToParent() { left_.store(true, std::memory_order_release); }
  PageCount limit_of_all() const { return Load(tree_->limit); }
  // No system call that a filter of the program's may kill for: the dead are
  // left to others.
  void StayQuiet() { quiet_ = true; }
  // `pages` that were shared are so no longer: this process has written to
  // them, so there is one frame more, or it has left them to the others.
  void Part(PageCount pages) {
    if (!IsIn()) return;
    __atomic_fetch_add(&member_->parted, static_cast<uint32_t>(pages),
                       __ATOMIC_RELAXED);
  }
  uzswap_tree& tree() const { return *tree_; }
  // A child of which it is not known yet what it has of its parent's; it gets
  // nothing until then, for half a second at most.
  bool Unmeasured() const;
  // What it is charged for is more than it has, until it is measured again,
  // which takes no longer than that either. The same of relatives, for as long
  // as they write.
  bool AwaitsMeasurement();
  bool RelativesAwaitMeasurement() const;
  // Another one has more than it is granted, or ends: there will be room.
  bool OthersGiveWay() const;
  // The futex of this process's place; nullptr: it has none.
  uint32_t* wake() const { return IsIn() ? &member_->wake : nullptr; }

  // Other processes see it from now on.
  void Publish(PageCount used) {
    if (IsIn()) Store(member_->used, used);
  }
  void PublishDisk(PageCount pages) {
    if (IsIn()) Store(member_->disk, pages);
  }
  // Tries to be granted `wanted` pages more than are granted, and notes that
  // they were lacking. Returns whether more is granted now. Cheap when asked
  // too often.
  bool Ask(PageCount used, PageCount wanted);
  // Sees to it that no more is granted than there is. To be called now and
  // then, and after wake().
  void Look(PageCount used);
  // Somebody else has, or had, a place.
  bool HasOthers() const { return end() > 1; }
  // There were others at the last look.
  bool Crowded() const { return crowded_.load(std::memory_order_relaxed); }
  // What all use together, and what the others have on the backing store.
  PageCount UsedByAll() const;
  PageCount DiskOfOthers() const;

  // Dies unless the table is possible. REQUIRES: nobody else is at it.
  void CheckInvariants() const;

 private:
  struct Survey {
    unsigned members = 0;
    PageCount granted = 0;
    PageCount committed = 0;  // each one's grant or use, whichever is more
    PageCount used = 0;
    bool related = false;  // what some share may be counted twice
  };

  static PageCount Load(const uint64_t& field) {
    return __atomic_load_n(&field, __ATOMIC_RELAXED);
  }
  static void Store(uint64_t& field, uint64_t value) {
    __atomic_store_n(&field, value, __ATOMIC_RELAXED);
  }
  // False: it found no place, or has left. A thread that saw it in may still
  // write to the place.
  bool IsIn() const { return !left_.load(std::memory_order_acquire); }
  // Nobody has taken us for dead, and the place for another.
  bool IsOurs() const {
    return __atomic_load_n(&member_->pid, __ATOMIC_ACQUIRE) == joined_as_;
  }
  uzswap_tree* Own() { return reinterpret_cast<uzswap_tree*>(own_); }
  const void* OwnTable() const { return own_; }
  PageCount Outside() const;
  bool TryLock();
  void Unlock();
  uzswap_member* TakePlace();
  unsigned end() const {
    const uint32_t members = __atomic_load_n(&tree_->members, __ATOMIC_ACQUIRE);
    return members < UZSWAP_TREE_MEMBERS ? members : UZSWAP_TREE_MEMBERS;
  }
  template <typename F>
  void ForEachOther(F f) const;

  // With the lock.
  Survey Count() const;
  void NotePeak(const Survey& survey);
  void DropDead(uint32_t now_ms);
  void Trim(const Survey& survey, PageCount most);
  PageCount TakeUnused(PageCount wanted, PageCount slack);
  void Squeeze(const Survey& survey, PageCount chunk, uint32_t now_ms);
  void NotePressure(PageCount wanted, uint32_t now_ms);
  static void Lower(uzswap_member& member, PageCount to);

  uzswap_tree* tree_ = nullptr;
  uzswap_member* member_ = nullptr;
  uint32_t joined_as_ = 0;        // pid
  uint32_t ended_looked_ms_ = 0;  // with the lock
  std::atomic<bool> left_{true};
  bool quiet_ = false;
  std::atomic<bool> crowded_{false};
  std::atomic<uint64_t> not_before_{0};  // cycles; of the next question
  // parted_seen << 32 | when it was first met, in ms.
  std::atomic<uint64_t> measurement_{0};
  // A table with one place, where there is no table of others.
  alignas(uzswap_tree) char own_[offsetof(uzswap_tree, member) +
                                 sizeof(uzswap_member)] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_PAGER_TREE_BUDGET_H_
