// SPDX-License-Identifier: Apache-2.0
// One page's state in 32 bits. State and pin count share the word, so "leave
// only if not pinned" and "pin only if not leaving" are each one
// compare-and-swap; there is no order of two stores to get wrong.
//
//   none, evicted, staged --Claim--> busy --Become*--> resident
//   resident, no pins --Claim--> busy --(write-protected)--> evicting
//   evicting --Claim (a writer, or the evictor)--> busy --> resident, evicted
//   evicted --Claim (a reader)--> busy --> clean --Claim--> busy --> resident
//   (a writer), evicted (the evictor)
//   resident, no pins --Claim (before a fork)--> busy --> shared
//   shared --Claim--> busy --> resident (a writer), evicting (the evictor)
//
// busy has exactly one owner, who alone may leave it; everybody else waits on
// the word. All transitions of managed pages happen with the map lock held
// shared, but for pins (no lock) and Forget (exclusive).
#ifndef UZSWAP_PAGER_PAGE_WORD_H_
#define UZSWAP_PAGER_PAGE_WORD_H_

#include <atomic>
#include <cstdint>

#include "base/check.h"
#include "base/os.h"

namespace uzswap {

enum class PageState : uint32_t {
  kNone = 0,      // not managed, or managed and never touched
  kResident = 1,  // mapped; value: pins
  kEvicting = 2,  // mapped and write-protected, being compressed
  kBusy = 3,      // one thread loads or drops it
  kStaged = 4,    // in a staging frame; value: its number
  kEvicted = 5,   // in zswap
  kClean = 6,     // mapped and write-protected, and in zswap
  kShared = 7,    // mapped and write-protected since a fork (shared.cc)
};

// Invariants: value == 0 unless resident or staged; the waiters bit is set only
// in busy. All-zero bytes are kNone.
class PageWord {
 public:
  static constexpr uint32_t kValueMax = 0xffffff;

  static PageState StateOf(uint32_t seen) { return PageState{seen & kState}; }
  static uint32_t ValueOf(uint32_t seen) { return seen >> kShift; }

  uint32_t Load() const { return word_.load(std::memory_order_acquire); }
  PageState state() const { return StateOf(Load()); }

  // seen (any state but busy; resident only without pins) → busy.
  bool Claim(uint32_t seen) {
    DCHECK(StateOf(seen) != PageState::kBusy);
    DCHECK(StateOf(seen) != PageState::kResident || ValueOf(seen) == 0);
    return word_.compare_exchange_strong(seen, Make(PageState::kBusy, 0),
                                         std::memory_order_acq_rel);
  }
  // Claims a page in exactly this state; a resident one only without pins.
  bool ClaimFrom(PageState state) { return Claim(Make(state, 0)); }

  // The owner leaves busy; whoever waits looks again.
  void BecomeNone() { Leave(Make(PageState::kNone, 0)); }
  void BecomeResident(uint32_t pins) {
    Leave(Make(PageState::kResident, pins));
  }
  void BecomeEvicting() { Leave(Make(PageState::kEvicting, 0)); }
  void BecomeClean() { Leave(Make(PageState::kClean, 0)); }
  void BecomeShared() { Leave(Make(PageState::kShared, 0)); }
  void BecomeEvicted() { Leave(Make(PageState::kEvicted, 0)); }
  void BecomeStaged(uint32_t frame) { Leave(Make(PageState::kStaged, frame)); }

  // A pin count that reaches its maximum stays there: the page then never
  // leaves memory, which is safe; a count that wrapped would not be.
  bool TryPin() {
    uint32_t seen = word_.load(std::memory_order_relaxed);
    for (;;) {
      if (StateOf(seen) != PageState::kResident) return false;
      if (ValueOf(seen) == kValueMax) return true;
      if (word_.compare_exchange_weak(seen, seen + kOne,
                                      std::memory_order_acq_rel)) {
        return true;
      }
    }
  }
  // A page that is not pinned (it was forgotten meanwhile) is left alone.
  void Unpin() {
    uint32_t seen = word_.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t pins = ValueOf(seen);
      if (StateOf(seen) != PageState::kResident || pins == 0 ||
          pins == kValueMax) {
        return;
      }
      if (word_.compare_exchange_weak(seen, seen - kOne,
                                      std::memory_order_acq_rel)) {
        return;
      }
    }
  }

  // Returns when the word is not busy, or may have changed.
  void Wait() {
    for (int i = 0; i < kSpins; ++i) {
      if (state() != PageState::kBusy) return;
      os::Pause();
    }
    uint32_t seen = Load();
    if (StateOf(seen) != PageState::kBusy) return;
    const uint32_t waiting = seen | kWaiters;
    if (seen != waiting && !word_.compare_exchange_strong(
                               seen, waiting, std::memory_order_acq_rel)) {
      return;
    }
    os::FutexWait(&word_, waiting, -1).Ignore();  // the caller looks again
  }

  // Exclusive map lock only. Pins come and go even then, so these are atomic.
  uint32_t Forget() { return word_.exchange(0, std::memory_order_acq_rel); }
  // False if the page is pinned; then nothing has changed.
  bool ForgetUnlessPinned(uint32_t* seen) {
    *seen = Load();
    do {
      if (StateOf(*seen) == PageState::kResident && ValueOf(*seen) != 0) {
        return false;
      }
    } while (!word_.compare_exchange_weak(*seen, 0, std::memory_order_acq_rel));
    return true;
  }
  void Place(uint32_t word) { word_.store(word, std::memory_order_release); }
  void ClearPins() {
    if (state() == PageState::kResident) Place(Make(PageState::kResident, 0));
  }

  static constexpr uint32_t Make(PageState state, uint32_t value) {
    return static_cast<uint32_t>(state) | value << kShift;
  }

 private:
  static constexpr uint32_t kState = 7;
  static constexpr uint32_t kWaiters = 8;
  static constexpr unsigned kShift = 8;
  static constexpr uint32_t kOne = 1u << kShift;
  // Most owners leave within some microseconds, about what a futex costs.
  static constexpr int kSpins = 200;

  void Leave(uint32_t next) {
    const uint32_t seen = word_.exchange(next, std::memory_order_acq_rel);
    DCHECK(StateOf(seen) == PageState::kBusy);
    if ((seen & kWaiters) != 0) os::FutexWake(&word_, 1 << 30);
  }

  std::atomic<uint32_t> word_{0};
};
static_assert(sizeof(PageWord) == 4);

}  // namespace uzswap

#endif  // UZSWAP_PAGER_PAGE_WORD_H_
