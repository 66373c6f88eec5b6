// SPDX-License-Identifier: Apache-2.0
// CPU hotplug for per-CPU resources, after the kernel's cpuhp state machine
// (kernel/cpu.c), multi-instance states of the PREPARE section only: a state
// is a startup callback (and perhaps a teardown callback), an instance is a
// thing that wants it called for every CPU. Callbacks run on whatever thread
// brings the change, before a CPU counts as online and after it stopped to.
//
// Everything is serialised by one lock, "cpu_hotplug_lock": no CPU comes or
// goes while an instance is added or removed or a callback runs. Callbacks may
// map memory; they must not call the machine, load code or touch a managed
// page. Nothing here allocates. Threads: any; signals must be blocked (F4).
#ifndef UZSWAP_BASE_CPUHP_H_
#define UZSWAP_BASE_CPUHP_H_

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>

#include "base/list.h"
#include "base/mutex.h"
#include "base/os.h"
#include "base/status.h"

namespace uzswap::cpuhp {

// A set of CPUs 0 ... os::kMaxCpus - 1.
struct CpuMask {
  std::array<uint64_t, os::kMaxCpus / 64> words{};

  bool Has(unsigned cpu) const {
    return (words[cpu / 64] >> (cpu % 64) & 1) != 0;
  }
  void Set(unsigned cpu) { words[cpu / 64] |= uint64_t{1} << (cpu % 64); }
  void Clear(unsigned cpu) { words[cpu / 64] &= ~(uint64_t{1} << (cpu % 64)); }
  unsigned Count() const {
    unsigned n = 0;
    for (const uint64_t w : words) n += static_cast<unsigned>(std::popcount(w));
    return n;
  }
  bool empty() const { return *this == CpuMask{}; }
  friend bool operator==(const CpuMask&, const CpuMask&) = default;

  // CPUs 0 ... count - 1.
  static CpuMask First(unsigned count);
};

// Embed it (as a base class or a member) in what wants to be called.
struct Instance {
  ListLink link;
};

// Where a machine learns about CPUs. All are called with the lock held.
class Source {
 public:
  // 1 ... os::kMaxCpus; never changes while a machine has instances.
  virtual unsigned Possible() = 0;
  // A subset of the possible CPUs.
  virtual CpuMask Online() = 0;
  // Asked before each startup callback; if it is an error, that is the
  // callback's result and the callback is not called (kernel: hotplug/fail).
  virtual Status BeforeStartup(unsigned cpu, const Instance& instance) = 0;

 protected:
  ~Source() = default;
};

// A kind of per-CPU resource. Must live as long as a machine knows it.
struct State {
  const char* name;  // "subsystem:mode"
  // Prepares `cpu` for the instance. It may be called again for a CPU that
  // has been prepared (it came back): then there must be nothing left to do,
  // unless there is a teardown.
  Status (*startup)(unsigned cpu, Instance& instance);
  // Undoes it; nullptr if what startup made outlives the CPU's absence.
  void (*teardown)(unsigned cpu, Instance& instance) = nullptr;

  ListLink link{};
  List<Instance, &Instance::link> instances{};
};

// Invariants: online is a subset of the possible CPUs; for each online CPU,
// the startup of every instance of every state has succeeded since the CPU came
// or the instance was added, whichever was last. A CPU that exists but whose
// startups failed is not online; each Refresh tries it again.
class Machine {
 public:
  explicit constexpr Machine(Source& source) : source_(&source) {}
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Later states start up later and are torn down earlier. EEXIST: known
  // already. Calls nothing.
  Status SetUpState(State& state);
  // REQUIRES: known, without instances.
  void RemoveState(State& state);

  // Calls startup for every online CPU, in ascending order. When one fails, its
  // error is returned and the instance is not on the list; the CPUs before it
  // are torn down if the state has a teardown, else the caller frees what was
  // made. RemoveInstance must not follow then: it dies.
  Status AddInstance(State& state, Instance& instance);
  // Calls teardown, if there is one, for every online CPU.
  void RemoveInstance(State& state, Instance& instance);
  // Calls startup for one possible CPU, whether online or not; for a thread
  // that found itself on a CPU nobody knew of. REQUIRES: the instance is on the
  // list; the state has no teardown.
  Status StartOn(State& state, Instance& instance, unsigned cpu);

  // Looks which CPUs there are and calls what that asks for. The first error of
  // a CPU that came is returned; the others were tried all the same.
  Status Refresh();
  // The CPUs are not those of the last Refresh, whatever became of them then:
  // a look that is cheap, never waits, and calls nothing, for those who may
  // not.
  bool OutOfDate();

  unsigned possible();
  CpuMask Online();

  // REQUIRES: no state has instances. Forgets which CPUs were online.
  // Returns the former source.
  Source& SetSource(Source& source);

  // For fork. Nothing changes and no callback runs between HoldOff and Resume,
  // or in the child ResetInChild; other calls wait. No lock is held meanwhile.
  // Calls nest. REQUIRES: one thread at a time.
  void HoldOff();
  void Resume();
  void ResetInChild();

  void CheckInvariants();

 private:
  void Lock() UZSWAP_ACQUIRE(lock_);
  void Learn() UZSWAP_REQUIRES(lock_);
  Status RefreshLocked() UZSWAP_REQUIRES(lock_);
  Status Start(State& state, Instance& instance, unsigned cpu)
      UZSWAP_REQUIRES(lock_);
  Status Up(unsigned cpu) UZSWAP_REQUIRES(lock_);
  void Down(unsigned cpu) UZSWAP_REQUIRES(lock_);
  void RollBack(State* state, Instance* instance, unsigned cpu)
      UZSWAP_REQUIRES(lock_);
  bool Knows(const State& state) const UZSWAP_REQUIRES(lock_);

  Mutex lock_{cpu_hotplug_class};
  Source* source_ UZSWAP_GUARDED_BY(lock_);
  List<State, &State::link> states_ UZSWAP_GUARDED_BY(lock_);
  CpuMask online_ UZSWAP_GUARDED_BY(lock_);
  CpuMask seen_ UZSWAP_GUARDED_BY(lock_);         // by the last look
  bool learnt_ UZSWAP_GUARDED_BY(lock_) = false;  // online_ means something
  std::atomic<uint32_t> held_off_{0};             // futex: HoldOff's depth
};

// The machine of this process: the CPUs that are online and that the process
// (its first thread) may run on by its affinity mask and cpuset, as
// sched_getaffinity(2) tells them. It sees changes when Refresh is called.
Machine& System();
inline Status Refresh() { return System().Refresh(); }

}  // namespace uzswap::cpuhp

#endif  // UZSWAP_BASE_CPUHP_H_
