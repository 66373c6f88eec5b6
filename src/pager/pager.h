// SPDX-License-Identifier: Apache-2.0
// User memory that faults: which addresses are managed, what happens at a
// fault, which pages leave, and the VM calls that must agree with all of that.
//
// Threads: every call from any thread. Signals: callers block signals (a fault
// arrives in a handler that does). Locks: faults, pins and evictions hold the
// map lock shared, VM calls and fork exclusively, so under the exclusive lock
// no page is on its way in or out.
#ifndef UZSWAP_PAGER_PAGER_H_
#define UZSWAP_PAGER_PAGER_H_

#include <uzswap/uzswap.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "pager/ages.h"
#include "pager/core.h"
#include "pager/cycle_clock.h"
#include "pager/evictor.h"
#include "pager/family.h"
#include "pager/keeper.h"
#include "pager/patience.h"
#include "pager/prefetch.h"
#include "pager/promotion.h"
#include "pager/staging.h"
#include "pager/stall.h"

namespace uzswap {

// The arguments of mmap(2) and mremap(2).
struct MmapCall {
  uint64_t address;
  uint64_t length;
  int prot;
  int flags;
  int fd;
  int64_t offset;
};
struct MremapCall {
  uint64_t old_address;
  uint64_t old_length;
  uint64_t new_length;
  int flags;
  uint64_t new_address;
};

enum class Access { kRead, kWrite };

class Pager {
 public:
  constexpr Pager() = default;
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  // Opens userfaultfd and /proc files and reserves the tables. *what names the
  // step that failed. EOPNOTSUPP: the kernel cannot do what `method` needs.
  Status Open(uzswap_evict_method method, const char** what);
  // From here on the engine may be called. `tree`: the limit is shared with the
  // others in it; nullptr: `limit` pages are for this process alone.
  void Start(PageCount limit, uzswap_tree* tree, Zswap* zswap);
  // REQUIRES: no managed page is in use any more.
  void Close();
  PageCount MeasureRss() { return core_.budget.MeasureRss(); }

  // ENOENT: no page of ours. EIO: its content is lost.
  Status HandleFault(uint64_t address, Access access);

  bool IsManaged(uint64_t address, uint64_t bytes) const;
  bool PinResident(uint64_t address, uint64_t bytes);
  bool Pin(uint64_t address, uint64_t bytes);  // true: brought something in
  void Unpin(uint64_t address, uint64_t bytes);

  Status Manage(uint64_t start, uint64_t bytes);
  Status Unmanage(uint64_t start, uint64_t bytes);

  // The kernel's results.
  int64_t Mmap(const MmapCall& call, bool manage);
  int64_t Munmap(uint64_t start, uint64_t bytes);
  int64_t Mprotect(uint64_t start, uint64_t bytes, int prot);
  int64_t Mremap(const MremapCall& call);
  int64_t Madvise(uint64_t start, uint64_t bytes, int advice);
  int64_t Brk(uint64_t new_break);

  PageCount EvictAll();

  // This process's limit, and those of the others that share it.
  TreeBudget& tree() { return core_.budget.tree(); }
  // The place in the tree is given up (exec), and taken again (the exec has
  // failed); or it is kept until the process is dead (exit). From then on the
  // process goes on with very little.
  void LeaveTree();
  void JoinTree();
  void EndInTree();
  // Before calls that a process with more than the program's threads may not
  // make: afterwards there is no keeper until AllowKeeper; `for_ever`: never
  // again.
  void StopKeeper(bool for_ever);
  void AllowKeeper() { keeper_.LetGo(); }
  bool HasKeeper() const { return keeper_.running(); }
  // A thread of the program is about to end: nothing of ours keeps a process
  // alive that has no other.
  void ThreadEnds();
  // Evicts at most `most` pages (to the block) that were not seen in use for
  // idle_ns, oldest first, unless too many of those before came back. Bounded
  // work; to be called about once a second, by one thread at a time, no lock
  // held. now_ns never goes back; only promotions are measured by it. Returns
  // how many went.
  PageCount ReclaimIdle(uint64_t now_ns, uint64_t idle_ns, PageCount most);
  // See promotion.h; 0: the default. Before the first ReclaimIdle.
  void SetPromotionRate(uint32_t hundredths);
  // The keeper calls ReclaimIdle for pages that were not seen in use for so
  // long; 0 seconds: it does not. Before Start.
  void SetIdle(unsigned seconds, uint32_t promotion_rate);

  void PrepareFork() UZSWAP_ACQUIRE(core_.map_lock);
  void ParentAfterFork() UZSWAP_RELEASE(core_.map_lock);
  Status ChildAfterFork() UZSWAP_NO_THREAD_SAFETY_ANALYSIS;

  void FillStats(uzswap_stats* stats);
  size_t Descriptors(int* fds, size_t capacity) const;
  static constexpr size_t kMaxDescriptors = Budget::MaxDescriptors() + 1;
  // Takes the map lock exclusively and dies at the first broken invariant, here
  // or in the engine.
  void CheckInvariants();

 private:
  // Pages of one fault that are claimed together: page i of `mask` is
  // first + i, and `main` is the one that faulted.
  struct Batch {
    Slot first;
    unsigned main;
    uint32_t mask;
    uint32_t pins;               // for the main page
    bool evicted;                // else they were none
    bool alone;                  // not part of a stream, as far as one can tell
    Keep keep;                   // when they are loaded
    uint32_t kept = 0;           // part of mask: zswap still has them
    Zswap::Neighbours beside{};  // came with them
  };
  struct Run {
    unsigned first;
    unsigned count;
  };
  struct Extent {
    uint64_t start;
    uint64_t end;
  };

  void FillTimes(uzswap_stats* stats);

  // fault.cc
  struct Wanted {
    Slot slot;
    uint32_t pins;
    Access access;
  };
  Status MakeResident(const Wanted& wanted)
      UZSWAP_REQUIRES_SHARED(core_.map_lock);
  bool Serve(const Wanted& wanted, PageState state, Status* result)
      UZSWAP_REQUIRES_SHARED(core_.map_lock);
  Extent Window(Slot slot, PageState state, const ManagedRange& range);
  bool FollowsResident(Slot slot, const ManagedRange& range);
  void ClaimWindow(const Extent& window, Slot slot, Batch* batch);
  Status LoadBatch(Batch* batch, const ScopedBounce& bounce);
  Status MapBatch(Batch* batch, const ScopedBounce* bounce);
  uint32_t MapRun(const Batch& batch, Run run, const ScopedBounce* bounce,
                  Status* status);
  void NoteArrival(const Batch& batch, uint32_t mapped);
  void Unmapped(const Batch& batch, uint32_t left, const ScopedBounce* bounce);
  Status Spurious(Slot slot) UZSWAP_REQUIRES_SHARED(core_.map_lock);
  void ForgetRepeats(Slot slot);
  Status Restore(Slot slot);
  Keep KeepFor(const Wanted& wanted, PageCount window);

  // reclaim.cc
  // False: there is no room, and whoever wants it waits (WaitForRoom).
  bool Reserve(PageCount pages) UZSWAP_REQUIRES_SHARED(core_.map_lock);
  bool FindRoom(PageCount pages) UZSWAP_REQUIRES_SHARED(core_.map_lock);
  bool Reclaim(PageCount pages) UZSWAP_REQUIRES_SHARED(core_.map_lock);
  void KeepStuck(const BlockList::Victims& victims);
  PageCount EvictOldest(bool move) UZSWAP_REQUIRES_SHARED(core_.map_lock);
  PageCount EvictOne() UZSWAP_REQUIRES_SHARED(core_.map_lock);
  void Balance() UZSWAP_REQUIRES_SHARED(core_.map_lock);
  PageCount EvictPages(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES_SHARED(core_.map_lock);
  bool UseMove();
  PageCount StagingTarget() const;
  bool SparesShared();
  void MeasureAfter(uint64_t bytes);

  // full.cc
  bool NoRoom(PageCount pages);
  void WaitForRoom();

  // keep.cc
  bool WantsKeeper();
  void ShareDisk();
  void EnsureKeeper();
  void StartKeeper();
  bool KeeperStep();
  void KeepBelow(PageCount most);
  PageCount SoftShare();
  // idle.cc
  struct IdleSearch {
    BlockList::Ticks then;
    BlockList::Ticks idle;
    BlockList::Ticks AgeOf(const BlockList::Look& look) const;
  };
  PageCount EvictIdle(const IdleSearch& search, PageCount most);
  PageCount TryIdle(BlockIndex block);

  // vm_calls.cc, forget.cc
  Status Adopt(uint64_t start, uint64_t end, uint32_t prot)
      UZSWAP_REQUIRES(core_.map_lock);
  void Disown(uint64_t start, uint64_t end) UZSWAP_REQUIRES(core_.map_lock);
  void DisownUnmapped(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  void ForgetPages(uint64_t start, uint64_t end, bool keep_pinned)
      UZSWAP_REQUIRES(core_.map_lock);
  void ForgetBlockPart(Slot first, Slot end, bool keep_pinned)
      UZSWAP_REQUIRES(core_.map_lock);
  void ZeroPinned(Slot slot) UZSWAP_REQUIRES(core_.map_lock);
  bool Manageable(const MmapCall& call) const;
  void AdoptPresent(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  // clean.cc
  void SettlePages(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  void SettleClean(const Extent& extent) UZSWAP_REQUIRES(core_.map_lock);
  void SettleAllClean() UZSWAP_REQUIRES(core_.map_lock);
  // Claims the pages of the extent that are in that state, and calls
  // f(first, count), which gives them another, for each run of them.
  template <typename F>
  void ClaimRuns(const Extent& extent, PageState state, F f);
  // shared.cc
  void ReleaseShared(const Extent& extent);
  bool CopiesMayNotFit();
  void MakeRoomToFork();
  void ShareAll(PageState from) UZSWAP_REQUIRES(core_.map_lock);
  void ShareIn(const Extent& part, PageState from)
      UZSWAP_REQUIRES(core_.map_lock);
  void Share(uint64_t first, uint64_t end);
  void ChargeCopy(Slot slot);
  bool Part(const Wanted& wanted, Status* result)
      UZSWAP_REQUIRES_SHARED(core_.map_lock);
  void BringStagedBack(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  Status BringAllIn(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  Status MakeRoomFor(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);
  PageCount CountAway(uint64_t start, uint64_t end)
      UZSWAP_REQUIRES(core_.map_lock);

  Status LoadOne(Slot slot) UZSWAP_REQUIRES(core_.map_lock);

  // fork.cc
  void DisownUncopied() UZSWAP_REQUIRES(core_.map_lock);
  void ClearPins(uint64_t start, uint64_t end);

  // mremap.cc
  static constexpr size_t kMoveParts = 16;
  void AfterMove(const MremapCall& call, uint64_t to)
      UZSWAP_REQUIRES(core_.map_lock);
  int64_t MoveAway(const MremapCall& call) UZSWAP_REQUIRES(core_.map_lock);
  int64_t MoveTo(const MremapCall& call) UZSWAP_REQUIRES(core_.map_lock);
  void RegisterParts(uint64_t start, uint64_t end, bool on)
      UZSWAP_REQUIRES(core_.map_lock);
  void DropHiding(uint64_t start, uint64_t end) UZSWAP_REQUIRES(core_.map_lock);
  void MovePart(const Extent& part, uint32_t prot, uint64_t shift,
                const MremapCall& call) UZSWAP_REQUIRES(core_.map_lock);
  void TransferPages(uint64_t from, uint64_t to, uint64_t bytes)
      UZSWAP_REQUIRES(core_.map_lock);

  // madvise.cc
  int64_t Discard(uint64_t start, uint64_t end, int advice);
  int64_t InstallGuards(uint64_t start, uint64_t end);
  Extent NextPart(uint64_t at, uint64_t end) const
      UZSWAP_REQUIRES_SHARED(core_.map_lock);
  int64_t DropPart(const Extent& part, int advice)
      UZSWAP_REQUIRES(core_.map_lock);
  int64_t Populate(uint64_t start, uint64_t end, int advice);
  int64_t PageOut(uint64_t start, uint64_t end);
  int64_t AdviseForeign(uint64_t start, uint64_t end, int advice);
  int64_t AdviseUnmanaged(uint64_t start, uint64_t end, int advice);

  Core core_;
  Dropper dropper_{core_};
  WpEvictor wp_{core_, dropper_};
  Staging staging_{core_};
  MoveEvictor move_{core_, staging_, dropper_, wp_};
  Prefetcher prefetcher_;
  Keeper keeper_;
  FamilyFrames family_{core_.budget};
  uzswap_evict_method method_ = UZSWAP_EVICT_AUTO;
  bool forked_ = false;      // shared frames cannot be moved
  bool thp_always_ = false;  // the kernel would make huge pages unasked
  uint64_t first_break_ = 0;
  std::atomic<uint32_t> ticks_{0};    // faults, for what is done now and then
  std::atomic<uint32_t> full_ms_{0};  // the limit had to be exceeded; 0: never
  // With others that have yet to give way, and with measurements.
  Patience patience_;
  Patience patience_to_measure_;
  std::atomic<bool> warned_limit_{false};
  std::atomic<bool> waiting_told_{false};
  uint64_t idle_ns_ = 0;  // 0: idle pages stay
  std::atomic<bool> warned_lost_{false};
  std::atomic<uint32_t> lost_logged_{0};
  // Repeated faults on resident pages: slot << 24 | count.
  std::array<std::atomic<uint64_t>, 16> repeats_ = {};
  CycleClock clock_;
  StallClock stalls_;
  AgeHistogram ages_;
  PromotionTarget promotion_;
  BlockIndex idle_cursor_ = 0;
};

template <typename F>
void Pager::ClaimRuns(const Extent& extent, PageState state, F f) {
  const auto in_unit = [&](uint64_t at, uint64_t end) {
    for (; at < end; ++at) {
      const uint64_t first = at;
      // Looking first: a swap that fails writes, too, to pages of tables that
      // a child may have.
      while (at < end && core_.word(Slot{at}).state() == state &&
             core_.word(Slot{at}).ClaimFrom(state)) {
        ++at;
      }
      if (at > first) f(Slot{first}, at - first);
    }
  };
  core_.managed.ForEachTouched(extent.start / kPageSize, extent.end / kPageSize,
                               in_unit);
}

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PAGER_H_
