// SPDX-License-Identifier: Apache-2.0
// The pools there are (mm/zswap.c, zswap_pools): one is current and takes all
// stores; one may be dense: it takes what recompression makes smaller (zram's
// recomp_algorithm); the others drain as their entries go, and are destroyed
// when the last has gone. Going back to one of them revives it.
//
//   free --Switch--> current, dense --Switch--> draining --empty--> dying
//     ^                 ^------------Switch--------'                  |
//     '---------------------------------------------------------------'
//
// Both have the same zpool. While the dense kind is the current one, there is
// no dense pool: nothing could become smaller.
//
// Why nothing can go wrong:
// - A pool is destroyed by the worker, or by somebody who switches, who may
//   sleep, never where a fault is served; and after a grace period, in which
//   everybody leaves who saw it.
// - Being referenced is counted on each CPU. A sum is only zero for good when
//   no new reference can come, so it is looked at only when the pool has been
//   draining for a whole grace period: one that was revived meanwhile and left
//   again has to wait for the next.
// - Set-up happens before the list is touched: when it fails, nothing changed.
#ifndef UZSWAP_ZSWAP_POOL_LIST_H_
#define UZSWAP_ZSWAP_POOL_LIST_H_

#include <atomic>

#include "base/counters.h"
#include "base/grace.h"
#include "base/worker.h"
#include "zswap/decoders.h"
#include "zswap/pool.h"

namespace uzswap {

// Where an entry's content is: the number of a pool.
using PoolIndex = uint8_t;

// Invariants: exactly one pool is current after Init, at most one is dense;
// pools with references are current, dense or draining; no two of those are of
// the same kind.
class PoolList {
 public:
  // More can only be alive while all others still have entries.
  static constexpr unsigned kMax = 32;

  enum class State : uint32_t {
    kFree,
    kSetUp,
    kCurrent,
    kDense,
    kDraining,
    kDying
  };
  static constexpr unsigned kNone = kMax;

  explicit PoolList(Worker& worker) : worker_(worker) {}
  PoolList(const PoolList&) = delete;
  PoolList& operator=(const PoolList&) = delete;

  // The first pool. What Pool::Create said.
  Status Init(const PoolKind& kind);
  // REQUIRES: the worker was stopped; nothing else is in flight.
  void Release();

  // Stores go to a pool of this kind from now on: the one there is, or a new
  // one. ENOENT: no such zpool. ENOSPC: kMax pools still have entries.
  // Otherwise what Pool::Create said. On error nothing has changed. Sleeps.
  // REQUIRES: no lock of zswap is held.
  Status Switch(const PoolKind& wanted);
  // From now on there is a dense pool with this compressor; nullptr: none. What
  // it was drains. Errors as Switch's.
  Status SetDense(const uzswap_compressor* compressor, int level);

  // References to the current pool, one for each entry: until Drop it exists.
  PoolIndex Acquire(unsigned entries = 1);
  // The same for the dense pool; kNone if there is none.
  unsigned AcquireDense(unsigned entries);
  // A reference to the current pool or else the dense one, if what this decoder
  // can decode can be loaded from it; kNone: from neither.
  unsigned AcquireWith(DecoderIndex decoder);
  bool HasDense() const {
    return dense_.load(std::memory_order_relaxed) != kNone;
  }
  // The last thing that is done with the pool on behalf of that entry.
  void Drop(PoolIndex index);
  // REQUIRES: a reference, or quiescence.
  Pool& operator[](PoolIndex index) { return slots_[index].pool; }
  State StateOf(PoolIndex index) const {
    return slots_[index].state.load(std::memory_order_acquire);
  }

  // For an entry of this pool that leaves it for the device: a reference to
  // what can decode it there. REQUIRES: as operator[].
  DecoderIndex HoldDecoder(PoolIndex index) {
    decoders_.Hold(slots_[index].decoder);
    return slots_[index].decoder;
  }
  Decoders& decoders() { return decoders_; }

  // Over all pools; safe against their destruction.
  PageCount total_pages();
  ByteCount metadata_bytes();
  PageCount Compact(unsigned objects);
  // Contexts for CPUs that came later, see Compressor::SetUpWanted.
  bool WantContexts();
  void SetUpWanted();
  // It was the dense one before it drained.
  bool WasDense(PoolIndex index) const {
    return slots_[index].was_dense.load(std::memory_order_relaxed);
  }
  bool AnyDraining() const {
    return draining_.load(std::memory_order_relaxed) != 0;
  }
  unsigned live() const { return live_.load(std::memory_order_relaxed); }
  // Those that hold entries; exact when no call is in flight.
  unsigned used() const;
  PageCount References(PoolIndex index) const {
    return slots_[index].references.Sum(Count::kReferences);
  }
  // What compressed entries in the pool sum up to.
  void AddBytes(PoolIndex index, ByteCount bytes) {
    slots_[index].references.Add(Count::kBytes, bytes);
  }
  void SubtractBytes(PoolIndex index, ByteCount bytes) {
    slots_[index].references.Subtract(Count::kBytes, bytes);
  }
  ByteCount Bytes(PoolIndex index) const {
    return slots_[index].references.Sum(Count::kBytes);
  }
  // The dense pool's entries, their bytes and its frames; all 0 without one.
  struct Tier {
    PageCount entries;
    ByteCount bytes;
    PageCount frames;
  };
  Tier DenseTier();

  // Around fork, with the worker at rest and nothing else in flight, a Switch
  // included.
  void LockAll();
  void UnlockAll();
  void ResetInChild();
  // REQUIRES: no call is in flight.
  void CheckInvariants();

 private:
  enum class Count : unsigned { kReferences, kBytes, kCount };
  struct Slot {
    Pool pool;
    DecoderIndex decoder = 0;  // while the pool is set up
    std::atomic<State> state{State::kFree};
    std::atomic<bool> was_dense{false};
    uint32_t demotions = 0;  // times it began to drain; by mutex_
    bool held = false;       // about to be current or dense; by mutex_
    PerCpuCounters<Count> references;
  };

  // The reaper's work item, which must lead back to the list.
  struct Reaper : Work {
    PoolList* list;
  };

  Status SetUp(Slot& slot, const PoolKind& kind);
  void TakeDown(Slot& slot);
  // What is to be: the current kind, and the dense compressor, if any.
  struct Wanted {
    PoolKind current;
    const uzswap_compressor* dense;
    int dense_level;
  };
  // ENOSPC also when there are empty pools that still exist.
  Status Change(const Wanted& wanted) UZSWAP_REQUIRES(switch_mutex_);
  template <typename F>
  Status Retried(F change);
  // A pool of this kind that will not go away, whoever looks for it.
  Result<unsigned> Prepare(const PoolKind& kind) UZSWAP_REQUIRES(switch_mutex_);
  void Abandon(unsigned index) UZSWAP_REQUIRES(switch_mutex_);
  void Install(unsigned current, unsigned dense) UZSWAP_REQUIRES(mutex_);
  void Promote(unsigned index, State state) UZSWAP_REQUIRES(mutex_);
  void Demote(unsigned index) UZSWAP_REQUIRES(mutex_);
  static void Reap(Work* work);
  void DestroyEmpty();
  bool MakeDying(unsigned index, uint32_t since);
  unsigned FindAlive(const PoolKind& kind) UZSWAP_REQUIRES(mutex_);
  unsigned TakeFree() UZSWAP_REQUIRES(mutex_);
  // Calls f(pool) for each pool that is set up; pools stay until it returns.
  template <typename F>
  void ForEach(F f);

  static LockClass lock_class_;
  static LockClass switch_class_;
  static LockClass reaper_class_;
  static LockClass reap_class_;

  Worker& worker_;
  // Switches and their set-ups are one after the other; it sleeps.
  Mutex switch_mutex_{switch_class_};
  const uzswap_compressor* wanted_dense_ UZSWAP_GUARDED_BY(switch_mutex_) =
      nullptr;
  int wanted_level_ UZSWAP_GUARDED_BY(switch_mutex_) = 0;
  Mutex reap_mutex_{reap_class_};  // of DestroyEmpty; it sleeps
  // States; short. Readers of states need none.
  Mutex mutex_{lock_class_};
  Grace grace_;
  std::atomic<unsigned> current_{0};
  std::atomic<unsigned> dense_{kNone};
  std::atomic<unsigned> end_{0};  // slots that were ever in use
  std::atomic<unsigned> draining_{0};
  std::atomic<unsigned> live_{0};
  Reaper reaper_;
  Slot slots_[kMax];
  Decoders decoders_;
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_POOL_LIST_H_
