// SPDX-License-Identifier: Apache-2.0
#include "zswap/pool_list.h"

#include "zswap/test_hooks.h"

namespace uzswap {

constinit LockClass PoolList::lock_class_{"pools"};
constinit LockClass PoolList::switch_class_{"pool switch"};
constinit LockClass PoolList::reaper_class_{"pool reaper"};
constinit LockClass PoolList::reap_class_{"pool reaping"};

namespace {

bool IsAlive(PoolList::State state) {
  return state == PoolList::State::kCurrent ||
         state == PoolList::State::kDense ||
         state == PoolList::State::kDraining;
}

}  // namespace

Status PoolList::Init(const PoolKind& kind) {
  reaper_.run = Reap;
  reaper_.lock_class = &reaper_class_;
  reaper_.list = this;
  ScopedLock switching(switch_mutex_);
  UZSWAP_RETURN_IF_ERROR(SetUp(slots_[0], kind));
  ScopedLock lock(mutex_);
  slots_[0].state.store(State::kCurrent, std::memory_order_release);
  live_.store(1, std::memory_order_relaxed);
  end_.store(1, std::memory_order_release);
  return kOk;
}

void PoolList::Release() {
  for (Slot& slot : slots_) {
    if (slot.state.load(std::memory_order_acquire) != State::kFree) {
      TakeDown(slot);
    }
    slot.state.store(State::kFree, std::memory_order_relaxed);
  }
}

// The decoder after the pool, which knows whether the compressor takes the
// level.
Status PoolList::SetUp(Slot& slot, const PoolKind& kind) {
  UZSWAP_RETURN_IF_ERROR(slot.pool.Create(kind));
  const Result<DecoderIndex> decoder =
      decoders_.Acquire(*kind.compressor, kind.level);
  if (!decoder.ok()) {
    slot.pool.Destroy();
    return decoder.status();
  }
  slot.decoder = decoder.value();
  return kOk;
}

void PoolList::TakeDown(Slot& slot) {
  slot.pool.Destroy();
  decoders_.Drop(slot.decoder);
}

// ---- switching

// ENOSPC: perhaps most are empty and wait for the worker, which is slower than
// somebody who does nothing but switch. We may sleep as well as it may.
template <typename F>
Status PoolList::Retried(F change) {
  Status s = change();
  if (s.error() == ENOSPC) {
    DestroyEmpty();
    s = change();
  }
  // Those that were left may be empty already.
  if (s.ok() && AnyDraining()) (void)worker_.Queue(reaper_);
  return s;
}

Status PoolList::Switch(const PoolKind& wanted) {
  PoolKind kind = wanted;
  const Result<const char*> zpool = FindZpool(wanted.zpool);
  UZSWAP_RETURN_IF_ERROR(zpool.status());
  kind.zpool = zpool.value();  // so that the same pool is found again
  return Retried([&] {
    ScopedLock switching(switch_mutex_);
    return Change({kind, wanted_dense_, wanted_level_});
  });
}

Status PoolList::SetDense(const uzswap_compressor* compressor, int level) {
  return Retried([&] {
    ScopedLock switching(switch_mutex_);
    const unsigned current = current_.load(std::memory_order_relaxed);
    UZSWAP_RETURN_IF_ERROR(
        Change({slots_[current].pool.kind(), compressor, level}));
    wanted_dense_ = compressor;
    wanted_level_ = level;
    return kOk;
  });
}

Status PoolList::Change(const Wanted& wanted) {
  const Result<unsigned> current = Prepare(wanted.current);
  UZSWAP_RETURN_IF_ERROR(current.status());
  unsigned dense = kNone;
  const PoolKind dense_kind{wanted.dense, wanted.dense_level,
                            wanted.current.zpool};
  if (wanted.dense != nullptr && !(dense_kind == wanted.current)) {
    const Result<unsigned> prepared = Prepare(dense_kind);
    if (!prepared.ok()) {
      Abandon(current.value());
      return prepared.status();
    }
    dense = prepared.value();
  }
  ScopedLock lock(mutex_);
  Install(current.value(), dense);
  return kOk;
}

Result<unsigned> PoolList::Prepare(const PoolKind& kind) {
  unsigned index = kMax;
  {
    ScopedLock lock(mutex_);
    index = FindAlive(kind);
    if (index != kMax) {
      slots_[index].held = true;
      return index;
    }
    index = TakeFree();
  }
  if (index == kMax) return Status::Error(ENOSPC);
  // Nobody looks at a pool that is being set up.
  const Status s = SetUp(slots_[index], kind);
  if (s.ok()) return index;
  ScopedLock lock(mutex_);
  slots_[index].state.store(State::kFree, std::memory_order_release);
  return s;
}

void PoolList::Abandon(unsigned index) {
  Slot& slot = slots_[index];
  {
    ScopedLock lock(mutex_);
    slot.held = false;
    if (slot.state.load(std::memory_order_relaxed) != State::kSetUp) return;
  }
  TakeDown(slot);
  ScopedLock lock(mutex_);
  slot.state.store(State::kFree, std::memory_order_release);
}

// The new ones first, so that at every moment there is one to be seen.
void PoolList::Install(unsigned current, unsigned dense) {
  const unsigned old[] = {current_.load(std::memory_order_relaxed),
                          dense_.load(std::memory_order_relaxed)};
  Promote(current, State::kCurrent);
  current_.store(current, std::memory_order_seq_cst);
  if (dense != kNone) Promote(dense, State::kDense);
  dense_.store(dense, std::memory_order_seq_cst);
  for (const unsigned index : old) {
    if (index != kNone && index != current && index != dense) Demote(index);
  }
}

void PoolList::Promote(unsigned index, State state) {
  Slot& slot = slots_[index];
  slot.held = false;
  const State before = slot.state.load(std::memory_order_relaxed);
  if (before == State::kSetUp) live_.fetch_add(1, std::memory_order_relaxed);
  if (before == State::kDraining) {
    draining_.fetch_sub(1, std::memory_order_relaxed);
  }
  slot.state.store(state, std::memory_order_release);
}

void PoolList::Demote(unsigned index) {
  Slot& slot = slots_[index];
  const bool dense =
      slot.state.load(std::memory_order_relaxed) == State::kDense;
  slot.was_dense.store(dense, std::memory_order_relaxed);
  draining_.fetch_add(1, std::memory_order_relaxed);
  ++slot.demotions;
  slot.state.store(State::kDraining, std::memory_order_seq_cst);
}

unsigned PoolList::FindAlive(const PoolKind& kind) {
  for (unsigned i = 0; i < kMax; ++i) {
    const State state = slots_[i].state.load(std::memory_order_relaxed);
    if (IsAlive(state) && slots_[i].pool.kind() == kind) return i;
  }
  return kMax;
}

unsigned PoolList::TakeFree() {
  for (unsigned i = 0; i < kMax; ++i) {
    if (slots_[i].state.load(std::memory_order_relaxed) != State::kFree) {
      continue;
    }
    slots_[i].state.store(State::kSetUp, std::memory_order_relaxed);
    if (i >= end_.load(std::memory_order_relaxed)) {
      end_.store(i + 1, std::memory_order_release);
    }
    return i;
  }
  return kMax;
}

// ---- references

PoolIndex PoolList::Acquire(unsigned entries) {
  const Grace::Reader reader(grace_);
  const unsigned index = current_.load(std::memory_order_seq_cst);
  HookInAcquire();
  slots_[index].references.Add(Count::kReferences, entries);
  return static_cast<PoolIndex>(index);
}

unsigned PoolList::AcquireDense(unsigned entries) {
  const Grace::Reader reader(grace_);
  const unsigned index = dense_.load(std::memory_order_seq_cst);
  if (index == kNone) return kNone;
  HookInAcquire();
  slots_[index].references.Add(Count::kReferences, entries);
  return index;
}

// Pools of one compressor and level share a decoder.
unsigned PoolList::AcquireWith(DecoderIndex decoder) {
  const Grace::Reader reader(grace_);
  for (const std::atomic<unsigned>* which : {&current_, &dense_}) {
    const unsigned index = which->load(std::memory_order_seq_cst);
    if (index == kNone || slots_[index].decoder != decoder) continue;
    HookInAcquire();
    slots_[index].references.Add(Count::kReferences);
    return index;
  }
  return kNone;
}

void PoolList::Drop(PoolIndex index) {
  Slot& slot = slots_[index];
  // After the count the pool may be gone, but its slot is not.
  slot.references.AddInOrder(Count::kReferences, ~uint64_t{0});
  if (slot.state.load(std::memory_order_seq_cst) != State::kDraining) return;
  // Of two that drop the last two, one at least sees both gone.
  if (slot.references.SumInOrder(Count::kReferences) == 0) {
    (void)worker_.Queue(reaper_);
  }
}

// ---- destruction

void PoolList::Reap(Work* work) {
  static_cast<Reaper*>(work)->list->DestroyEmpty();
}

void PoolList::DestroyEmpty() {
  // What another has begun is over when we have had our turn.
  ScopedLock reaping(reap_mutex_);
  uint32_t since[kMax];
  {
    ScopedLock lock(mutex_);
    for (unsigned i = 0; i < kMax; ++i) since[i] = slots_[i].demotions;
  }
  // Stores that saw a pool while it was current have counted themselves.
  grace_.Synchronize();
  HookAfterGrace();
  uint32_t dying = 0;
  for (unsigned i = 0; i < kMax; ++i) {
    if (MakeDying(i, since[i])) dying |= uint32_t{1} << i;
  }
  if (dying == 0) return;
  // Whoever walks the list has seen the last of them.
  grace_.Synchronize();
  for (unsigned i = 0; i < kMax; ++i) {
    if ((dying >> i & 1) == 0) continue;
    CHECK(References(static_cast<PoolIndex>(i)) == 0);
    TakeDown(slots_[i]);
    live_.fetch_sub(1, std::memory_order_relaxed);
    ScopedLock lock(mutex_);
    slots_[i].state.store(State::kFree, std::memory_order_release);
  }
}

// A pool that was revived and left again after `since` may have been seen by a
// store that is not counted yet.
bool PoolList::MakeDying(unsigned index, uint32_t since) {
  ScopedLock lock(mutex_);
  Slot& slot = slots_[index];
  if (slot.state.load(std::memory_order_relaxed) != State::kDraining ||
      slot.demotions != since || slot.held ||
      slot.references.SumInOrder(Count::kReferences) != 0) {
    return false;
  }
  slot.state.store(State::kDying, std::memory_order_seq_cst);
  draining_.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

// ---- walks

template <typename F>
void PoolList::ForEach(F f) {
  const Grace::Reader reader(grace_);
  const unsigned end = end_.load(std::memory_order_acquire);
  for (unsigned i = 0; i < end; ++i) {
    const State state = slots_[i].state.load(std::memory_order_seq_cst);
    if (IsAlive(state)) {
      HookPoolVisited();
      f(slots_[i].pool);
    }
  }
}

PageCount PoolList::total_pages() {
  PageCount pages = 0;
  ForEach([&](Pool& pool) { pages += pool.total_pages(); });
  return pages;
}

ByteCount PoolList::metadata_bytes() {
  ByteCount bytes = 0;
  ForEach([&](Pool& pool) { bytes += pool.metadata_bytes(); });
  bytes += decoders_.bytes();
  return bytes;
}

PageCount PoolList::Compact(unsigned objects) {
  PageCount pages = 0;
  ForEach([&](Pool& pool) { pages += pool.Compact(objects); });
  return pages;
}

bool PoolList::WantContexts() {
  bool want = false;
  ForEach([&](Pool& pool) { want |= pool.WantsContexts(); });
  return want;
}

unsigned PoolList::used() const {
  unsigned count = 0;
  const unsigned end = end_.load(std::memory_order_acquire);
  for (unsigned i = 0; i < end; ++i) {
    count += References(static_cast<PoolIndex>(i)) != 0;
  }
  return count;
}

PoolList::Tier PoolList::DenseTier() {
  const Grace::Reader reader(grace_);
  const unsigned index = dense_.load(std::memory_order_seq_cst);
  if (index == kNone) return {};
  const auto pool = static_cast<PoolIndex>(index);
  return {References(pool), Bytes(pool), slots_[index].pool.total_pages()};
}

void PoolList::SetUpWanted() {
  ForEach([](Pool& pool) { pool.SetUpWanted(); });
}

// ---- fork, checks

void PoolList::LockAll() {
  ForEach([](Pool& pool) { pool.LockAll(); });
}

void PoolList::UnlockAll() {
  ForEach([](Pool& pool) { pool.UnlockAll(); });
}

void PoolList::ResetInChild() {
  switch_mutex_.ResetInChild();
  reap_mutex_.ResetInChild();
  mutex_.ResetInChild();
  grace_.ResetInChild();
  decoders_.ResetLocksInChild();
  ForEach([](Pool& pool) { pool.ResetLocksInChild(); });
}

void PoolList::CheckInvariants() {
  unsigned current = 0;
  unsigned dense = 0;
  unsigned alive = 0;
  unsigned draining = 0;
  for (unsigned i = 0; i < kMax; ++i) {
    const State state = slots_[i].state.load(std::memory_order_acquire);
    const PageCount references = References(static_cast<PoolIndex>(i));
    CHECK(state != State::kSetUp && !slots_[i].held);
    if (state == State::kFree || state == State::kDying) {
      CHECK(references == 0 && Bytes(static_cast<PoolIndex>(i)) == 0);
      alive += state == State::kDying;
      continue;
    }
    CHECK(i < end_.load(std::memory_order_relaxed));
    ++alive;
    current += state == State::kCurrent;
    dense += state == State::kDense;
    draining += state == State::kDraining;
    slots_[i].pool.CheckInvariants();
    for (unsigned j = 0; j < i; ++j) {
      const State other = slots_[j].state.load(std::memory_order_relaxed);
      if (!IsAlive(other)) continue;
      CHECK(!(slots_[i].pool.kind() == slots_[j].pool.kind()));
    }
  }
  CHECK(current == 1);
  CHECK(alive == live());
  CHECK(draining == draining_.load(std::memory_order_relaxed));
  CHECK(StateOf(static_cast<PoolIndex>(
            current_.load(std::memory_order_relaxed))) == State::kCurrent);
  CHECK(dense == (HasDense() ? 1u : 0u));
  CHECK(dense == 0 || StateOf(static_cast<PoolIndex>(dense_.load(
                          std::memory_order_relaxed))) == State::kDense);
}

}  // namespace uzswap
