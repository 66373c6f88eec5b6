// SPDX-License-Identifier: Apache-2.0
#include "pager/tree_budget.h"

#include <poll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <climits>

#include "base/check.h"
#include "base/os.h"

namespace uzswap {
namespace {

// Who finds no place.
constexpr PageCount kOutsidePages = 4096;
// Kept free for newcomers, at most.
constexpr PageCount kMaxReserve = 4096;
// Tries for the lock: some microseconds.
constexpr unsigned kLockTries = 200;
// Cycles after a question in vain before the next.
constexpr uint64_t kAskAgainCycles = 400000;
constexpr uint32_t kDeadEveryMs = 20;
// For what a process has to be gone after its end.
constexpr uint32_t kEndedMs = 5000;
// For `uzswap run` to measure a family; without it life goes on.
constexpr uint32_t kMeasureMs = 500;
// For a child to take its place.
constexpr uint32_t kBirthMs = 1000;
// Pressure halves in this time.
constexpr uint32_t kHalfLifeMs = 256;
constexpr uint32_t kWakeAll = INT_MAX;

uint32_t NowMs() { return static_cast<uint32_t>(os::MonotonicNs() / 1000000); }

// A zombie is dead, too.
bool IsDead(uint32_t pid) {
  const int64_t fd = os::Syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return fd == -ESRCH;
  pollfd events{.fd = static_cast<int>(fd), .events = POLLIN, .revents = 0};
  const int64_t ready =
      os::Syscall(SYS_poll, reinterpret_cast<int64_t>(&events), 1, 0);
  os::Close(static_cast<int>(fd));
  return ready == 1 && (events.revents & POLLIN) != 0;
}

uint32_t Pid() { return static_cast<uint32_t>(os::ProcessId()); }

uint32_t Word(const uint32_t& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

PageCount SlackOf(PageCount most) { return 64 + most / 256; }

// The least that can be asked for: each question has its price.
PageCount ChunkOf(PageCount most) {
  return std::clamp<PageCount>(most / 64, 64, 4096);
}

// Of a count << 32 | milliseconds.
uint64_t Decayed(uint64_t pressure, uint32_t now_ms) {
  const uint32_t age = now_ms - static_cast<uint32_t>(pressure);
  const uint32_t halves = age / kHalfLifeMs;
  return halves >= 32 ? 0 : pressure >> 32 >> halves;
}

}  // namespace

void TreeBudget::Attach(uzswap_tree* tree, PageCount limit) {
  tree_ = tree != nullptr ? tree : Own();
  if (tree != nullptr) {
    // Of the program that became this one.
    uint32_t self = Pid();
    (void)__atomic_compare_exchange_n(&tree_->lock, &self, 0, false,
                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED);
    return;
  }
  tree_->limit = limit;
  tree_->capacity = 1;
}

PageCount TreeBudget::Outside() const {
  return std::max(Load(tree_->limit) / UZSWAP_TREE_MEMBERS, kOutsidePages);
}

// f(member) for each place that somebody else has.
template <typename F>
void TreeBudget::ForEachOther(F f) const {
  for (unsigned i = 0; i < end(); ++i) {
    uzswap_member& member = tree_->member[i];
    if (&member != member_ && Word(member.pid) != 0) f(member);
  }
}

bool TreeBudget::Unmeasured() const {
  if (!IsIn()) return false;
  const uint32_t born = Word(member_->born_ms);
  return born != 0 && NowMs() - born < kMeasureMs;
}

bool TreeBudget::AwaitsMeasurement() {
  if (Unmeasured()) return true;
  if (!IsIn()) return false;
  const uint32_t seen = Word(member_->parted_seen);
  if (Word(member_->parted) == seen) return false;
  const uint32_t now_ms = NowMs();
  uint64_t known = measurement_.load(std::memory_order_relaxed);
  if (known >> 32 != seen || known == 0) {
    known = uint64_t{seen} << 32 | now_ms;
    measurement_.store(known, std::memory_order_relaxed);
  }
  return now_ms - static_cast<uint32_t>(known) < kMeasureMs;
}

bool TreeBudget::RelativesAwaitMeasurement() const {
  if (!IsIn()) return false;
  bool any = false;
  ForEachOther([&](const uzswap_member& other) {
    any |= Word(other.parted) != Word(other.parted_seen) &&
           uzswap_are_relatives(member_, &other) != 0;
  });
  return any;
}

bool TreeBudget::OthersGiveWay() const {
  if (!IsIn()) return false;
  const PageCount slack = SlackOf(Load(tree_->limit));
  bool any = false;
  ForEachOther([&](const uzswap_member& other) {
    any |= Word(other.ending) != 0 ||
           Load(other.used) > Load(other.granted) + slack;
  });
  return any;
}

// The lock names a thread: an exec ends all others of its process.
bool TreeBudget::TryLock() {
  const uint32_t self = static_cast<uint32_t>(os::ThreadId());
  for (unsigned tries = 0; tries < kLockTries; ++tries) {
    uint32_t holder = 0;
    if (__atomic_compare_exchange_n(&tree_->lock, &holder, self, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
      return true;
    }
    if (tries + 1 == kLockTries && !quiet_ && IsDead(holder)) {
      return __atomic_compare_exchange_n(&tree_->lock, &holder, self, false,
                                         __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    }
    os::Pause();
  }
  return false;
}

void TreeBudget::Unlock() {
  __atomic_store_n(&tree_->lock, 0, __ATOMIC_RELEASE);
}

uzswap_member* TreeBudget::TakePlace() {
  const unsigned capacity =
      std::min<unsigned>(tree_->capacity, UZSWAP_TREE_MEMBERS);
  const uint32_t self = Pid();
  for (unsigned i = 0; i < capacity; ++i) {
    uzswap_member& member = tree_->member[i];
    uint32_t nobody = 0;
    // After an exec the place of the program before is still there.
    if (Word(member.pid) != self &&
        !__atomic_compare_exchange_n(&member.pid, &nobody, self, false,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
      continue;
    }
    for (uint64_t* field : {&member.granted, &member.used, &member.disk,
                            &member.pressure, &member.shared}) {
      Store(*field, 0);
    }
    for (uint32_t* field :
         {&member.parted_seen, &member.parted, &member.parent, &member.born_ms,
          &member.ending, &member.forks, &member.forks_joined}) {
      __atomic_store_n(field, 0, __ATOMIC_RELAXED);
    }
    measurement_.store(0, std::memory_order_relaxed);
    joined_as_ = self;
    uint32_t end = Word(tree_->members);
    while (end < i + 1 &&
           !__atomic_compare_exchange_n(&tree_->members, &end, i + 1, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    }
    return &member;
  }
  return nullptr;
}

void TreeBudget::Join(PageCount used) {
  uzswap_member* const place = TakePlace();
  if (place == nullptr) return;
  member_ = place;
  left_.store(false, std::memory_order_release);
  not_before_.store(0, std::memory_order_relaxed);
  Publish(used);
  const PageCount most = Load(tree_->limit);
  (void)Ask(used, used + most / 16);
  // Alone: all of it, at once.
  if (!Crowded()) (void)Ask(used, most);
  const PageCount least = std::min(most, used + kLeast);
  if (Load(member_->granted) < least) Store(member_->granted, least);
}

void TreeBudget::JoinAsChild(PageCount inherited) {
  if (tree_ == Own()) {  // a copy of the parent's, for us alone
    tree_->member[0].pid = 0;
    tree_->lock = 0;
    Join(inherited);
    return;
  }
  // The one that forked; the parent may be another one (CLONE_PARENT).
  uzswap_member* const parents = member_;
  const uint32_t parent = joined_as_;
  const auto is_born = [&] {
    if (parents == nullptr || Word(parents->pid) != parent) return;
    __atomic_fetch_add(&parents->forks_joined, 1, __ATOMIC_RELEASE);
  };
  member_ = TakePlace();
  left_.store(member_ == nullptr, std::memory_order_release);
  if (member_ == nullptr) {
    is_born();
    return;
  }
  not_before_.store(0, std::memory_order_relaxed);
  __atomic_store_n(&member_->parent, parent, __ATOMIC_RELEASE);
  Store(member_->shared, inherited);
  (void)Ask(0, kLeast);
  __atomic_store_n(&member_->born_ms, NowMs() | 1, __ATOMIC_RELAXED);
  if (Load(member_->granted) < kLeast) Store(member_->granted, kLeast);
  is_born();
}

void TreeBudget::BeginFork() {
  if (!IsIn()) return;
  __atomic_store_n(&member_->forked_ms, NowMs(), __ATOMIC_RELAXED);
  __atomic_fetch_add(&member_->forks, 1, __ATOMIC_RELEASE);
}

void TreeBudget::Leave() {
  if (!IsIn()) return;
  // The place stays ours to look at: another thread may be about to.
  uzswap_member& member = *member_;
  left_.store(true, std::memory_order_release);
  if (!IsOurs()) return;
  if (TryLock()) {
    uzswap_pass_on(tree_, &member);
    Unlock();
  }
  Store(member.used, 0);
  Store(member.granted, 0);
  __atomic_store_n(&member.pid, 0, __ATOMIC_RELEASE);
}

void TreeBudget::End() {
  if (!IsIn()) return;
  left_.store(true, std::memory_order_release);
  if (!IsOurs()) return;
  Store(member_->granted, 0);
  __atomic_store_n(&member_->ending, NowMs() | 1, __ATOMIC_RELEASE);
}

TreeBudget::Survey TreeBudget::Count() const {
  Survey survey;
  for (unsigned i = 0; i < end(); ++i) {
    const uzswap_member& member = tree_->member[i];
    if (Word(member.pid) == 0) continue;
    const PageCount granted = Load(member.granted);
    const PageCount used = Load(member.used);
    ++survey.members;
    survey.granted += granted;
    survey.used += used;
    survey.related |= Word(member.parent) != 0;
    survey.committed += std::max(granted, used);
  }
  return survey;
}

// Of families `uzswap run` knows better, each time that it has measured them.
void TreeBudget::NotePeak(const Survey& survey) {
  if (!survey.related && survey.used > tree_->peak) {
    Store(tree_->peak, survey.used);
  }
}

// Of other processes' places; a place that is taken anew meanwhile is reset by
// who takes it.
void TreeBudget::DropDead(uint32_t now_ms) {
  if (quiet_ || now_ms == ended_looked_ms_) return;
  ended_looked_ms_ = now_ms;
  const uint32_t period_ms = std::max(kDeadEveryMs, end());
  const bool all = now_ms - tree_->looked_ms >= period_ms;
  if (all) tree_->looked_ms = now_ms;
  ForEachOther([&](uzswap_member& member) {
    const uint32_t pid = Word(member.pid);
    const uint32_t ending = Word(member.ending);
    if (!all && ending == 0) return;
    // In another pid namespace its number may be somebody else's for ever.
    const bool long_gone = ending != 0 && now_ms - ending > kEndedMs &&
                           now_ms - ending < UINT32_MAX / 2;
    if (!long_gone && !IsDead(pid)) return;
    if (Word(member.pid) != pid) return;
    uzswap_pass_on(tree_, &member);
    Store(member.used, 0);
    Store(member.granted, 0);
    uint32_t expected = pid;
    (void)__atomic_compare_exchange_n(&member.pid, &expected, 0, false,
                                      __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  });
}

void TreeBudget::Lower(uzswap_member& member, PageCount to) {
  Store(member.granted, to);
  if (Load(member.used) <= to) return;
  __atomic_fetch_add(&member.wake, 1, __ATOMIC_RELEASE);
  os::FutexWakeShared(&member.wake, kWakeAll);
}

// More is granted than there is (the limit was lowered, somebody came when
// there was nothing left): each gives up its part.
void TreeBudget::Trim(const Survey& survey, PageCount most) {
  if (survey.granted <= most) return;
  const PageCount over = survey.granted - most;
  for (unsigned i = 0; i < end(); ++i) {
    uzswap_member& member = tree_->member[i];
    if (Word(member.pid) == 0) continue;
    const PageCount granted = Load(member.granted);
    const PageCount part = over * granted / survey.granted + 1;
    Lower(member, granted > part ? granted - part : 0);
  }
}

PageCount TreeBudget::TakeUnused(PageCount wanted, PageCount slack) {
  PageCount taken = 0;
  ForEachOther([&](uzswap_member& member) {
    const PageCount granted = Load(member.granted);
    const PageCount kept = Load(member.used) + slack;
    if (granted <= kept || taken >= wanted) return;
    const PageCount part = std::min(granted - kept, wanted - taken);
    Store(member.granted, granted - part);
    taken += part;
  });
  return taken;
}

// Makes the one give way who can best.
void TreeBudget::Squeeze(const Survey& survey, PageCount chunk,
                         uint32_t now_ms) {
  const PageCount floor =
      Load(tree_->limit) / (2 * std::max(1u, survey.members));
  const PageCount own = Load(member_->granted);
  const uint64_t pressure = Decayed(Load(member_->pressure), now_ms);
  uzswap_member* victim = nullptr;
  PageCount most = 0;
  ForEachOther([&](uzswap_member& member) {
    const PageCount granted = Load(member.granted);
    const uint64_t theirs = Decayed(Load(member.pressure), now_ms);
    const PageCount kept = theirs == 0 ? kLeast : floor;
    if (granted <= kept + chunk || granted - kept <= most) return;
    // It is at it, or cannot: what it has is pinned, or it is stopped.
    if (Load(member.used) > granted) return;
    const bool needs_less = theirs * 2 < pressure;
    const bool has_more = granted > own + 2 * chunk && theirs / 2 <= pressure;
    if (own >= floor && !needs_less && !has_more) return;
    most = granted - kept;
    victim = &member;
  });
  if (victim != nullptr) Lower(*victim, Load(victim->granted) - chunk);
}

void TreeBudget::NotePressure(PageCount wanted, uint32_t now_ms) {
  const uint64_t sum = std::min<uint64_t>(
      Decayed(Load(member_->pressure), now_ms) + wanted, UINT32_MAX);
  Store(member_->pressure, sum << 32 | now_ms);
}

bool TreeBudget::Ask(PageCount used, PageCount wanted) {
  if (!IsIn()) return false;
  const PageCount limit = Load(tree_->limit);
  if (Load(member_->granted) >= most()) return false;
  const uint64_t now = os::Cycles();
  if (now < not_before_.load(std::memory_order_relaxed)) return false;
  // Were it to grow now, the parent would give way with pages that both have,
  // and nothing would be free.
  if (Unmeasured()) return false;
  Publish(used);
  if (!TryLock()) return false;
  const uint32_t now_ms = NowMs();
  NotePressure(wanted, now_ms);
  DropDead(now_ms);
  const Survey survey = Count();
  const PageCount own_before = Load(member_->granted);
  crowded_.store(survey.members > 1, std::memory_order_relaxed);
  NotePeak(survey);
  Trim(survey, limit);
  const PageCount own = Load(member_->granted);
  const PageCount chunk = std::max(wanted, ChunkOf(limit));
  const bool poor = own < limit / (2 * std::max(1u, survey.members));
  const PageCount reserve =
      survey.members > 1 && !poor ? std::min(limit / 16, kMaxReserve) : 0;
  // What this process uses above its grant takes nothing from it.
  const PageCount taken =
      survey.committed - std::max(own_before, used) + own + reserve;
  PageCount more = std::min(chunk, limit > taken ? limit - taken : 0);
  if (more < wanted) more += TakeUnused(chunk - more, SlackOf(limit));
  if (more < wanted) Squeeze(survey, chunk, now_ms);
  Store(member_->granted, std::min(own + more, std::max(own, most())));
  Unlock();
  if (more == 0) {
    not_before_.store(now + kAskAgainCycles, std::memory_order_relaxed);
  }
  return more > 0;
}

void TreeBudget::Look(PageCount used) {
  if (!IsIn()) return;
  const uint32_t self = Pid();
  if (Word(member_->pid) != self) {
    // A vfork child works on its parent's place. Else somebody took us for
    // dead, who does not see our process by the number that we have.
    if (self == joined_as_) Join(used);
    return;
  }
  Publish(used);
  if (!TryLock()) return;
  DropDead(NowMs());
  const Survey survey = Count();
  crowded_.store(survey.members > 1, std::memory_order_relaxed);
  NotePeak(survey);
  Trim(survey, Load(tree_->limit));
  Unlock();
}

bool TreeBudget::HasRelatives() const {
  if (!IsIn()) return false;
  if (Word(member_->forks) != Word(member_->forks_joined) &&
      NowMs() - Word(member_->forked_ms) < kBirthMs) {
    return true;  // a child that has no place yet
  }
  bool any = false;
  ForEachOther([&](const uzswap_member& other) {
    any |= uzswap_are_relatives(member_, &other) != 0;
  });
  return any;
}

PageCount TreeBudget::UsedByAll() const { return Count().used; }

PageCount TreeBudget::DiskOfOthers() const {
  PageCount sum = 0;
  ForEachOther([&](uzswap_member& member) { sum += Load(member.disk); });
  return sum;
}

void TreeBudget::CheckInvariants() const {
  CHECK(tree_ != nullptr);
  CHECK(Word(tree_->members) <= tree_->capacity);
  CHECK(tree_->capacity <= UZSWAP_TREE_MEMBERS);
  CHECK(Word(tree_->lock) == 0);
  for (unsigned i = 0; i < end(); ++i) {
    const uzswap_member& member = tree_->member[i];
    if (Word(member.pid) == 0) continue;
    CHECK(Load(member.granted) <= Load(tree_->limit) + kLeast);
  }
  if (IsIn()) CHECK(Word(member_->pid) == Pid());
}

}  // namespace uzswap
