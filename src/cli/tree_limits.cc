// SPDX-License-Identifier: Apache-2.0
#include "cli/tree_limits.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "cli/size.h"

namespace uzswap::cli {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kPage = 4096;
constexpr const char* kPolicies[] = {"exceed", "wait", "kill"};
// Between two looks while nothing changes, with one process and with several.
constexpr milliseconds kAlone{100};
constexpr milliseconds kTogether{50};
// The same while something does: a family's pages become two when they are
// written, a gigabyte a second, which its processes do not see.
constexpr milliseconds kActive{10};
constexpr milliseconds kActiveFamily{5};
constexpr milliseconds kQuietAfter{1000};
// For a child that has been forked to take its place: it may be dead.
constexpr milliseconds kBirth{100};
// For what a process has to be gone after its end.
constexpr milliseconds kEnded{5000};
// Measuring what is shared may take this part of one CPU, and no more; this one
// while memory is short. How long it had to wait for a CPU does not count:
// others would write on meanwhile.
constexpr int kMeasureShare = 20;
constexpr int kMeasureShareShort = 4;

template <typename T>
T Load(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}
template <typename T>
void Store(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}

std::chrono::nanoseconds CpuTime() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return std::chrono::seconds{t.tv_sec} + std::chrono::nanoseconds{t.tv_nsec};
}

uint64_t* FieldOf(uzswap_tree* tree, const std::string& name) {
  if (name == "memory") return &tree->limit;
  if (name == "soft_memory") return &tree->soft_limit;
  if (name == "process_memory") return &tree->process_limit;
  if (name == "backing_size") return &tree->disk_limit;
  return nullptr;
}

std::string SizeText(uint64_t pages) {
  uint64_t kib = pages * (kPage / 1024);
  for (const char* unit : {"K", "M", "G"}) {
    if (kib % 1024 != 0 || *unit == 'G') return std::to_string(kib) + unit;
    kib /= 1024;
  }
  return {};
}

// Of what happened at a time of the table.
int32_t AgeMs(uint32_t then_ms, std::chrono::steady_clock::time_point now) {
  const auto now_ms =
      std::chrono::duration_cast<milliseconds>(now.time_since_epoch()).count();
  return static_cast<int32_t>(static_cast<uint32_t>(now_ms) - then_ms);
}

uint64_t Sum(uint64_t pages, int64_t more) {
  return static_cast<uint64_t>(
      std::max<int64_t>(static_cast<int64_t>(pages) + more, 0));
}

// Held for the moment of one change. A process that holds it does so for
// microseconds; one that died with it loses it to whoever asks next.
class TreeLock {
 public:
  TreeLock(uzswap_tree* tree, const std::function<bool(pid_t)>& is_alive)
      : tree_(tree) {
    uint32_t holder = 0;
    for (int tries = 0; tries < 1000 && !held_; ++tries) {
      holder = 0;
      held_ = Take(&holder);
    }
    if (!held_ && !is_alive(static_cast<pid_t>(holder))) held_ = Take(&holder);
  }
  ~TreeLock() {
    if (held_) __atomic_store_n(&tree_->lock, 0, __ATOMIC_RELEASE);
  }
  TreeLock(const TreeLock&) = delete;
  TreeLock& operator=(const TreeLock&) = delete;
  bool held() const { return held_; }

 private:
  bool Take(uint32_t* from) {
    return __atomic_compare_exchange_n(&tree_->lock, from,
                                       static_cast<uint32_t>(getpid()), false,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
  }

  uzswap_tree* const tree_;
  bool held_ = false;
};

}  // namespace

bool IsLimit(const std::string& name) {
  return std::find(std::begin(kLimitNames), std::end(kLimitNames), name) !=
         std::end(kLimitNames);
}

std::optional<uint32_t> ParseOnFull(const std::string& text) {
  for (uint32_t i = 0; i < std::size(kPolicies); ++i) {
    if (text == kPolicies[i]) return i;
  }
  return {};
}

Check ParseLimit(const std::string& name, const std::string& value,
                 uint64_t* parsed) {
  if (name == "on_full") {
    const auto policy = ParseOnFull(value);
    if (!policy) {
      return Failure{"on_full '" + value +
                     "' is not known; choose one of: exceed, wait, kill"};
    }
    *parsed = *policy;
    return {};
  }
  if (name != "memory" && value == "none") {
    *parsed = 0;
    return {};
  }
  const auto bytes = ParseSize(value);
  const uint64_t least = name == "backing_size" ? kPage : kMinimumMemory;
  if (!bytes) {
    return Failure{name + " '" + value +
                   "' is not a size; write it like 512M or 1.5G" +
                   (name == "memory" ? "" : ", or none")};
  }
  if (*bytes < least) {
    return Failure{name + " " + value + " is too little; the minimum is " +
                   FormatSize(least)};
  }
  *parsed = *bytes / kPage;
  return {};
}

std::optional<Charge> ReadCharge(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/smaps_rollup");
  std::string word;
  uint64_t anonymous = 0;
  uint64_t shmem = 0;
  std::optional<uint64_t> proportional;
  while (file >> word) {
    uint64_t kib = 0;
    if (word == "Anonymous:" && file >> kib) anonymous = kib;
    if (word == "Pss_Anon:" && file >> kib) proportional = kib;
    if (word == "Pss_Shmem:" && file >> kib) shmem = kib;
  }
  if (!proportional) return {};
  return Charge{anonymous * 1024 / kPage, *proportional * 1024 / kPage,
                shmem * 1024 / kPage};
}

TreeLimits::TreeLimits(uzswap_tree* tree, std::function<bool(pid_t)> is_alive,
                       ReadChargeOf read_charge)
    : tree_(tree),
      is_alive_(std::move(is_alive)),
      read_charge_(std::move(read_charge)),
      next_(Clock::now()),
      dead_next_(next_),
      changed_(next_ - 2 * kQuietAfter) {}

void TreeLimits::Start(const Options& options) {
  tree_->limit = options.memory / kPage;
  tree_->soft_limit = options.soft_memory / kPage;
  tree_->process_limit = options.process_memory / kPage;
  tree_->disk_limit = options.backing_size / kPage;
  tree_->on_full = options.on_full;
  tree_->capacity = UZSWAP_TREE_MEMBERS;
}

template <typename F>
void TreeLimits::ForEach(F f) const {
  const uint32_t end = std::min<uint32_t>(
      __atomic_load_n(&tree_->members, __ATOMIC_ACQUIRE), UZSWAP_TREE_MEMBERS);
  for (uint32_t i = 0; i < end; ++i) {
    uzswap_member& member = tree_->member[i];
    if (__atomic_load_n(&member.pid, __ATOMIC_ACQUIRE) != 0) f(member);
  }
}

void TreeLimits::Set(const std::string& name, uint64_t value) {
  if (name == "on_full") {
    Store(tree_->on_full, static_cast<uint32_t>(value));
  } else {
    Store(*FieldOf(tree_, name), value);
  }
  WakeAll();
}

void TreeLimits::Wake(uzswap_member& member) {
  __atomic_fetch_add(&member.wake, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &member.wake, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void TreeLimits::WakeAll() {
  ForEach([](uzswap_member& member) { Wake(member); });
}

// Whose charge has grown, or is not what it gave up for, has no other reason to
// look.
void TreeLimits::WakeThoseAbove() {
  ForEach([](uzswap_member& member) {
    if (Load(member.used) > Load(member.granted)) Wake(member);
  });
}

std::string TreeLimits::Value(const std::string& name) const {
  if (name == "on_full") {
    const uint32_t policy = Load(tree_->on_full);
    return policy < std::size(kPolicies) ? kPolicies[policy] : "";
  }
  const uint64_t pages = Load(*FieldOf(tree_, name));
  return pages == 0 ? "none" : SizeText(pages);
}

uint64_t TreeLimits::used_bytes() const {
  uint64_t pages = 0;
  ForEach([&](const uzswap_member& member) { pages += Load(member.used); });
  return pages * kPage;
}

uint64_t TreeLimits::peak_bytes() const {
  return std::max(used_bytes(), Load(tree_->peak) * kPage);
}

uint64_t TreeLimits::times_full() const { return Load(tree_->times_full); }

void TreeLimits::DropDead(bool all) {
  ForEach([&](uzswap_member& member) {
    const uint32_t ending = Load(member.ending);
    if (!all && ending == 0) return;
    const uint32_t pid = Load(member.pid);
    // In another pid namespace its number may be somebody else's for ever.
    const bool long_gone =
        ending != 0 && AgeMs(ending, Clock::now()) > kEnded.count();
    if (long_gone || !is_alive_(static_cast<pid_t>(pid))) Drop(member, pid);
  });
}

void TreeLimits::Drop(uzswap_member& member, uint32_t pid) {
  const TreeLock lock(tree_, is_alive_);
  // Next time, if not now; nor if somebody else has the place since then.
  if (!lock.held() || Load(member.pid) != pid) return;
  uzswap_pass_on(tree_, &member);
  Store(member.used, uint64_t{0});
  Store(member.granted, uint64_t{0});
  (void)__atomic_compare_exchange_n(&member.pid, &pid, 0, false,
                                    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

// A child without a place has its part of what is shared, for which nobody
// would be charged. Forks that follow each other are not waited for for ever.
TreeLimits::Births TreeLimits::CountBirths(Clock::time_point now) const {
  Births births{.wait = now - measured_ < kBirth};
  ForEach([&](uzswap_member& member) {
    const uint32_t begun = Load(member.forks);
    uint32_t joined = Load(member.forks_joined);
    births.begun += begun;
    if (begun == joined) return;
    if (AgeMs(Load(member.forked_ms), now) < kBirth.count()) {
      births.awaited = true;
    } else {  // the fork has failed, or the child is dead
      (void)__atomic_compare_exchange_n(&member.forks_joined, &joined, begun,
                                        false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED);
    }
  });
  return births;
}

// Relatives: forked processes and those who forked them.
TreeLimits::Family TreeLimits::FindFamily() const {
  std::map<uint32_t, Seen> all;
  std::set<uint32_t> related;
  ForEach([&](const uzswap_member& member) {
    const uint32_t parent = Load(member.parent);
    const uint32_t pid = Load(member.pid);
    all[pid] = {parent, Load(member.parted), Load(member.used)};
    if (parent != 0) related.insert({parent, pid});
  });
  std::erase_if(all,
                [&](const auto& one) { return !related.contains(one.first); });
  return all;
}

// Whose part is smaller for a child that has no place yet, or larger because
// one has left, and whose is not, cannot be told.
bool TreeLimits::IsTorn(const Births& before, const Family& family) const {
  if (!before.wait) return false;
  if (CountBirths(Clock::now()).begun != before.begun) return true;
  Family now = FindFamily();
  return std::any_of(family.begin(), family.end(), [&](const auto& one) {
    const auto at = now.find(one.first);
    return at == now.end() || at->second.parent != one.second.parent;
  });
}

// All of a family are charged for what they had at about the same moment, or
// nobody is.
TreeLimits::Measured TreeLimits::ChargeShared() {
  const Clock::time_point begin = Clock::now();
  const Births births = CountBirths(begin);
  if (births.wait && births.awaited) return {.family = true, .torn = true};
  // What one parts from while the others are measured stays counted.
  Family family = FindFamily();
  Measured measured{.family = !family.empty()};
  std::vector<std::function<void()>> charges;
  ForEach([&](uzswap_member& member) {
    const uint32_t pid = Load(member.pid);
    const auto seen = family.find(pid);
    // One that came while the others were measured is measured next time.
    const bool shares = Load(member.shared) != 0 ||
                        Load(member.parted) != Load(member.parted_seen);
    const bool related = seen != family.end();
    if (!related && (!shares || Load(member.parent) != 0)) {
      measured.pages += Load(member.used);
      return;
    }
    const auto charge =
        related ? read_charge_(static_cast<pid_t>(pid)) : std::nullopt;
    // What it shared is its relatives' own already; nobody is charged twice.
    if (!charge && !is_alive_(static_cast<pid_t>(pid))) {
      Drop(member, pid);
      return;
    }
    if (!charge && Load(member.ending) != 0) return;  // gone but not yet dead
    const Seen then = related ? seen->second
                              : Seen{0, Load(member.parted), Load(member.used)};
    charges.emplace_back([this, &member, pid, then, charge] {
      ChargeMember(member, pid, then, charge);
    });
    measured.pages +=
        charge ? charge->proportional + charge->shmem : Load(member.used);
  });
  const TreeLock lock(tree_, is_alive_);
  measured.torn = !lock.held() || IsTorn(births, family);
  if (measured.torn) return measured;
  for (const auto& charge : charges) charge();
  measured_ = begin;
  return measured;
}

// What one is charged for less another is charged for more, so grants move
// along: else the first would think that it has room.
void TreeLimits::ChargeMember(uzswap_member& member, uint32_t pid,
                              const Seen& seen,
                              const std::optional<Charge>& charge) {
  const bool known = charge && charge->pages > charge->proportional;
  // Another program may have the place since then.
  if (Load(member.pid) != pid) return;
  if (Load(member.parent) != seen.parent) return;
  if (static_cast<int32_t>(Load(member.parted) - seen.parted) < 0) return;
  uint64_t used = Load(member.used);
  const int64_t before = uzswap_shared(&member);
  Store(member.shared, known ? charge->pages - charge->proportional : 0);
  Store(member.parted_seen, seen.parted);
  Store(member.born_ms, uint32_t{0});
  const int64_t shared = uzswap_shared(&member);
  if (Load(member.ending) == 0) {
    Store(member.granted, Sum(Load(member.granted), before - shared));
  }
  uint64_t corrected = Sum(used, before - shared);
  // Who sleeps does not say that what it has is charged to it now.
  if (charge && used == seen.used) {
    corrected = std::max(corrected, Sum(charge->pages, -shared));
  }
  // Its owner may have said it at this moment, and knows already.
  (void)__atomic_compare_exchange_n(&member.used, &used, corrected, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

// Processes are measured one after the other, and what one gives up meanwhile
// another may have taken: too much is looked at twice before it is told.
void TreeLimits::NotePeak(uint64_t pages) {
  if (pages <= Load(tree_->peak)) return;
  if (pages > Load(tree_->limit)) {
    const Measured again = ChargeShared();
    if (again.torn) return;
    pages = std::min(pages, again.pages);
  }
  if (pages > Load(tree_->peak)) Store(tree_->peak, pages);
}

uint64_t TreeLimits::Digest() const {
  uint64_t digest = 0;
  ForEach([&](const uzswap_member& member) {
    for (const uint64_t value : {uint64_t{Load(member.pid)}, Load(member.used),
                                 Load(member.granted), Load(member.shared)}) {
      digest = (digest ^ value) * 0x9E3779B97F4A7C15;
    }
  });
  return digest;
}

void TreeLimits::Step() {
  const Clock::time_point begin = Clock::now();
  if (begin < next_) return;
  const std::chrono::nanoseconds cpu_before = CpuTime();
  const bool alone = __atomic_load_n(&tree_->members, __ATOMIC_ACQUIRE) < 2;
  const milliseconds quiet_period = alone ? kAlone : kTogether;
  const bool all = begin >= dead_next_;
  DropDead(all);
  if (all) dead_next_ = begin + quiet_period;
  const Measured measured = ChargeShared();
  if (!measured.torn) NotePeak(measured.pages);
  uint64_t granted = 0;
  ForEach([&](const uzswap_member& m) { granted += Load(m.granted); });
  const uint64_t limit = Load(tree_->limit);
  const Clock::time_point end = Clock::now();
  if (const uint64_t digest = Digest(); digest != digest_) {
    digest_ = digest;
    changed_ = end;
    if (measured.family && granted > limit) WakeAll();
    if (measured.family && granted <= limit) WakeThoseAbove();
  }
  milliseconds period = measured.family ? kActiveFamily : kActive;
  if (end - changed_ > kQuietAfter) period = quiet_period;
  const int share = used_bytes() / kPage > limit - limit / 4
                        ? kMeasureShareShort
                        : kMeasureShare;
  next_ =
      end + std::max<Clock::duration>(period, (CpuTime() - cpu_before) * share);
}

int TreeLimits::timeout_ms() const {
  const auto left =
      std::chrono::ceil<milliseconds>(next_ - Clock::now()).count();
  return static_cast<int>(std::max<decltype(left)>(left, 0));
}

}  // namespace uzswap::cli
