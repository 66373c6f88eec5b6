// SPDX-License-Identifier: Apache-2.0
// The limits of a run, which all its processes share (uzswap/tree.h), seen from
// `uzswap run`: set at the start, changed while it runs, and looked after. What
// no process can know by itself is done here: who died without saying so, and
// how many pages of a forked process are its relatives' as well.
#ifndef UZSWAP_CLI_TREE_LIMITS_H_
#define UZSWAP_CLI_TREE_LIMITS_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "cli/fail.h"
#include "cli/options.h"
#include "uzswap/tree.h"

namespace uzswap::cli {

inline constexpr const char* kLimitNames[] = {
    "memory", "soft_memory", "process_memory", "backing_size", "on_full"};

bool IsLimit(const std::string& name);
// "exceed", "wait", "kill" to enum uzswap_on_full.
std::optional<uint32_t> ParseOnFull(const std::string& text);
// The value as the table holds it; a failure says what is wrong with it.
Check ParseLimit(const std::string& name, const std::string& value,
                 uint64_t* parsed);

// Anonymous memory of a process, and the part of it that it would be charged
// for if each shared page were split among those who have it; and that part of
// shared memory. From smaps_rollup (Pss_Anon, Pss_Shmem). Nothing if that
// cannot be read.
struct Charge {
  uint64_t pages = 0;
  uint64_t proportional = 0;
  uint64_t shmem = 0;
};
std::optional<Charge> ReadCharge(pid_t pid);

class TreeLimits {
 public:
  using ReadChargeOf = std::function<std::optional<Charge>(pid_t)>;

  // The table outlives this.
  explicit TreeLimits(uzswap_tree* tree, std::function<bool(pid_t)> is_alive,
                      ReadChargeOf read_charge = ReadCharge);
  void Start(const Options& options);

  // REQUIRES: ParseLimit was content. Takes effect at once, both ways: those
  // above it are woken to give memory back.
  void Set(const std::string& name, uint64_t value);
  // As ParseLimit would take it: "512M", "none", "wait".
  std::string Value(const std::string& name) const;

  uint64_t used_bytes() const;
  uint64_t peak_bytes() const;
  uint64_t times_full() const;

  // Does what is due. To be called after timeout_ms() at the latest.
  void Step();
  int timeout_ms() const;

 private:
  using Clock = std::chrono::steady_clock;

  static void Wake(uzswap_member& member);
  void WakeAll();
  void WakeThoseAbove();
  void DropDead(bool all);
  void Drop(uzswap_member& member, uint32_t pid);
  void NotePeak(uint64_t pages);
  struct Births {
    uint64_t begun = 0;    // forks
    bool awaited = false;  // a child has no place yet
    bool wait = false;     // it may be waited for
  };
  Births CountBirths(Clock::time_point now) const;
  // Of a member, before it is measured.
  struct Seen {
    uint32_t parent = 0;
    uint32_t parted = 0;
    uint64_t used = 0;
  };
  using Family = std::map<uint32_t, Seen>;  // by pid
  Family FindFamily() const;
  bool IsTorn(const Births& before, const Family& family) const;
  // Measures families; returns what all processes use, as far as that is known
  // now, and whether there is a family.
  struct Measured {
    uint64_t pages = 0;
    bool family = false;
    bool torn = false;  // who shares what changed: nobody is charged
  };
  Measured ChargeShared();
  void ChargeMember(uzswap_member& member, uint32_t pid, const Seen& seen,
                    const std::optional<Charge>& charge);
  // Of all that changes when memory changes hands.
  uint64_t Digest() const;
  template <typename F>
  void ForEach(F f) const;

  uzswap_tree* const tree_;
  const std::function<bool(pid_t)> is_alive_;
  const ReadChargeOf read_charge_;
  Clock::time_point next_, dead_next_, changed_, measured_;
  uint64_t digest_ = 0;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_TREE_LIMITS_H_
