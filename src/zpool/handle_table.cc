// SPDX-License-Identifier: Apache-2.0
#include "zpool/handle_table.h"

#include <bit>

#include "base/os.h"
#include "zpool/failure.h"

namespace uzswap {

Status HandleTable::Init(uint64_t limit) {
  CHECK(limit > 1 && limit <= kMaxHandles);
  return entries_.Init(limit);
}

uint32_t HandleTable::Take() {
  uint32_t handle = Pop(stacks_[os::CurrentCpu() % kStacks]);
  if (handle != 0) return handle;
  uint32_t filled = filled_.load(std::memory_order_relaxed);
  for (; filled != 0; filled &= filled - 1) {
    const int i = std::countr_zero(filled);
    handle = Pop(stacks_[i]);
    if (handle != 0) return handle;
    // A handle that comes at this moment is found when the next one comes.
    filled_.fetch_and(~(1u << i), std::memory_order_relaxed);
  }
  return TakeFresh();
}

uint32_t HandleTable::Pop(Stack& stack) {
  uint64_t head = stack.head.load(std::memory_order_acquire);
  while (TopOf(head) != 0) {
    // The entry may be taken and rewritten meanwhile; then the swap fails.
    const uint32_t next = Get(TopOf(head));
    if (stack.head.compare_exchange_weak(head, Head(head, next),
                                         std::memory_order_acquire)) {
      return TopOf(head);
    }
  }
  return 0;
}

uint32_t HandleTable::TakeFresh() {
  uint64_t handle = fresh_.load(std::memory_order_relaxed);
  do {
    if (handle >= entries_.count()) return 0;
    const bool grows = handle * kEntryBytes % kPageSize == 0;
    if (grows && zpool_failure::ShouldFail()) return 0;
  } while (!fresh_.compare_exchange_weak(handle, handle + 1,
                                         std::memory_order_relaxed));
  return static_cast<uint32_t>(handle);
}

void HandleTable::Return(uint32_t handle) {
  DCHECK(WasGiven(handle));
  const unsigned own = os::CurrentCpu() % kStacks;
  std::atomic<uint64_t>& top = stacks_[own].head;
  uint64_t head = top.load(std::memory_order_relaxed);
  do {
    Set(handle, TopOf(head));
  } while (!top.compare_exchange_weak(head, Head(head, handle),
                                      std::memory_order_release,
                                      std::memory_order_relaxed));
  if ((filled_.load(std::memory_order_relaxed) & 1u << own) == 0) {
    filled_.fetch_or(1u << own, std::memory_order_relaxed);
  }
}

uint32_t HandleTable::BeginUse(uint32_t handle) {
  // The mover may have been interrupted by the scheduler.
  constexpr int kSpins = 1000;
  std::atomic<uint64_t>& entry = entries_[handle];
  uint64_t seen = entry.load(std::memory_order_relaxed);
  for (int spins = 0;; ++spins) {
    if (seen >= kMoving) {
      if (spins < kSpins) {
        os::Pause();
      } else {
        os::Yield();
      }
      seen = entry.load(std::memory_order_relaxed);
    } else if (entry.compare_exchange_weak(seen, seen + kUser,
                                           std::memory_order_acquire,
                                           std::memory_order_relaxed)) {
      return static_cast<uint32_t>(seen);
    }
  }
}

void HandleTable::CheckInvariants(uint64_t live) const {
  const uint64_t given = fresh_.load(std::memory_order_relaxed) - 1;
  CHECK(given < entries_.count());
  uint64_t free = 0;
  for (const Stack& stack : stacks_) {
    uint32_t handle = TopOf(stack.head.load(std::memory_order_acquire));
    while (handle != 0) {
      CHECK(WasGiven(handle));
      CHECK(++free <= given);  // else a stack has a loop
      handle = Get(handle);
    }
  }
  CHECK(free + live == given);
}

}  // namespace uzswap
