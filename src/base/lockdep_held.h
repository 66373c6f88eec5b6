// SPDX-License-Identifier: Apache-2.0
// What one thread holds, written by it alone and readable by all: the watchdog
// says of a stuck thread what it holds and what it waits for. Debug builds
// only.
#ifndef UZSWAP_BASE_LOCKDEP_HELD_H_
#define UZSWAP_BASE_LOCKDEP_HELD_H_

#include <string.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/lockdep.h"

#ifdef UZSWAP_DEBUG
namespace uzswap::lockdep {

// A value that one thread sets and all may get. One that is read while it is
// being set may be half old, which its readers must be able to bear.
template <typename T>
class Published {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % 8 == 0);

 public:
  void Set(const T& value) {
    uint64_t words[kWords];
    memcpy(words, &value, sizeof(T));
    for (size_t i = 0; i < kWords; ++i) {
      words_[i].store(words[i], std::memory_order_relaxed);
    }
  }
  T Get() const {
    uint64_t words[kWords];
    for (size_t i = 0; i < kWords; ++i) {
      words[i] = words_[i].load(std::memory_order_relaxed);
    }
    T value;
    memcpy(static_cast<void*>(&value), words, sizeof(T));
    return value;
  }

 private:
  static constexpr size_t kWords = sizeof(T) / 8;
  std::atomic<uint64_t> words_[kWords] = {};
};

enum class Mode : uint64_t { kExclusive, kShared, kTry, kPseudo };

// All of its pointers are to things that never go away, except lock, which is
// only compared.
struct HeldLock {
  LockClass* lock_class = nullptr;
  const void* lock = nullptr;  // null for pseudo locks
  Mode mode = Mode::kExclusive;
  Site site;
};

// Invariants: the first count entries are what the thread holds, in the order
// in which it was taken (a lock counts from when it is wanted); at most
// kMaxHeld of them are no pseudo locks. waiting has a class while the thread
// sleeps.
struct HeldLocks {
  static constexpr int kCapacity = kMaxHeld + kMaxPseudoHeld;

  std::atomic<int> count{0};
  Published<HeldLock> entries[kCapacity];
  Published<HeldLock> waiting;

  int Count() const { return count.load(std::memory_order_acquire); }
  int RealCount() const;
  // -1 if there is none. lock == nullptr looks for the pseudo lock of a class.
  int Find(const LockClass& lock_class, const void* lock) const;
  // REQUIRES: count < kCapacity.
  void Push(const HeldLock& held);
  void Remove(int index);
  void Clear();
};

// "0x7f… (name){.-} shared, at file:line function, called from +0x…"
void Describe(Line& line, const HeldLock& held);

}  // namespace uzswap::lockdep
#endif  // UZSWAP_DEBUG

#endif  // UZSWAP_BASE_LOCKDEP_HELD_H_
