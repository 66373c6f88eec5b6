// SPDX-License-Identifier: Apache-2.0
// Handle → location. A handle is an index into this table, so it survives a
// move of its object (only the entry changes), fits in 32 bits, and resolving
// it is one load. Free entries form stacks through themselves; taking and
// returning are one compare-and-swap each, no lock. There is a stack for each
// of up to kStacks CPUs, so that threads on different ones write to nothing in
// common; who finds his empty takes from the others before the table grows.
//
// An entry also counts who is using the object (the kernel's zspage reader
// lock, but for one object): a move begins only when nobody does, and users
// that come while it lasts wait, which is for one copy of at most a page.
//
// Threads: every method from any thread. An entry is written only by the owner
// of its handle. Memory grows with the most handles ever live and is given
// back by Release.
#ifndef UZSWAP_ZPOOL_HANDLE_TABLE_H_
#define UZSWAP_ZPOOL_HANDLE_TABLE_H_

#include <atomic>
#include <cstdint>

#include "base/arena.h"
#include "base/check.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// Invariants: handles 1 … fresh - 1 were given out at least once; each of them
// is either live or on one stack exactly once. Entry 0 is never used. An entry
// is location | users << 32 | moving << 63, with no users while it is moving.
class HandleTable {
 public:
  // Two live handles never collide in 31 bits, which leaves owners a tag bit.
  static constexpr uint64_t kMaxHandles = uint64_t{1} << 31;

  constexpr HandleTable() = default;
  HandleTable(const HandleTable&) = delete;
  HandleTable& operator=(const HandleTable&) = delete;

  // REQUIRES: 1 < limit <= kMaxHandles.
  Status Init(uint64_t limit);
  void Release() { entries_.Release(); }

  // A handle whose entry is undefined; 0 when there is no memory for one.
  uint32_t Take();
  // REQUIRES: `handle` is live; it is not afterwards.
  void Return(uint32_t handle);

  uint32_t Get(uint32_t handle) const {
    return static_cast<uint32_t>(
        entries_[handle].load(std::memory_order_relaxed));
  }
  // REQUIRES: nobody uses the object.
  void Set(uint32_t handle, uint32_t location) {
    entries_[handle].store(location, std::memory_order_release);
  }
  // It is at `location` soon, and until Set it does not move from there.
  void Expect(uint32_t handle, uint32_t location) {
    entries_[handle].store(location | kMoving, std::memory_order_relaxed);
  }
  // What Get returns, and everything that was written before Set.
  uint32_t Find(uint32_t handle) const {
    return static_cast<uint32_t>(
        entries_[handle].load(std::memory_order_acquire));
  }
  bool InUse(uint32_t handle) const {
    return entries_[handle].load(std::memory_order_acquire) >> 32 != 0;
  }

  // The object stays where it is until EndUse. Returns where.
  uint32_t BeginUse(uint32_t handle);
  void EndUse(uint32_t handle) {
    const uint64_t before =
        entries_[handle].fetch_sub(kUser, std::memory_order_release);
    CHECK(before >= kUser && before < kMoving);
  }
  // False: somebody uses it. A move ends with Set.
  bool BeginMove(uint32_t handle, uint32_t location) {
    uint64_t seen = location;
    return entries_[handle].compare_exchange_strong(seen, seen | kMoving,
                                                    std::memory_order_acquire);
  }
  // Whether it was ever given out; all that can be told of a wild handle.
  bool WasGiven(uint64_t handle) const {
    return handle != 0 && handle < fresh_.load(std::memory_order_relaxed);
  }

  ByteCount metadata_bytes() const {
    return PageCeil(fresh_.load(std::memory_order_relaxed) * kEntryBytes);
  }
  // Dies unless exactly `live` handles are out. REQUIRES: no other call runs.
  void CheckInvariants(uint64_t live) const;

 private:
  static constexpr uint64_t kEntryBytes = sizeof(uint64_t);
  static constexpr uint64_t kUser = uint64_t{1} << 32;
  static constexpr uint64_t kMoving = uint64_t{1} << 63;
  // The stack's top and a count of its changes: a top that went and came back
  // between a load and the swap is told apart by the count.
  static uint32_t TopOf(uint64_t head) { return static_cast<uint32_t>(head); }
  static uint64_t Head(uint64_t old_head, uint32_t top) {
    return ((old_head >> 32) + 1) << 32 | top;
  }
  struct alignas(kCacheLine) Stack {
    std::atomic<uint64_t> head{0};
  };
  static constexpr unsigned kStacks = 16;

  uint32_t Pop(Stack& stack);
  uint32_t TakeFresh();

  SparseTable<std::atomic<uint64_t>> entries_;
  Stack stacks_[kStacks];
  alignas(kCacheLine) std::atomic<uint64_t> fresh_{1};
  // A bit for each stack that others should look at; a hint.
  std::atomic<uint32_t> filled_{0};
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_HANDLE_TABLE_H_
