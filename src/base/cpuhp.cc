// SPDX-License-Identifier: Apache-2.0
#include "base/cpuhp.h"

#include <sys/syscall.h>

namespace uzswap::cpuhp {
namespace {

// The kernel leaves out CPUs that are offline. No file of /sys is read: that
// would need a descriptor among the program's. Empty: unknown.
CpuMask AffinityOf(int thread, unsigned possible) {
  uint64_t mask[128] = {};  // as many CPUs as a kernel can be built for
  const int64_t bytes = os::Syscall(SYS_sched_getaffinity, thread, sizeof(mask),
                                    reinterpret_cast<int64_t>(mask));
  CpuMask cpus;
  for (unsigned cpu = 0; cpu < bytes * 8; ++cpu) {
    if ((mask[cpu / 64] >> (cpu % 64) & 1) != 0) cpus.Set(cpu % possible);
  }
  return cpus;
}

class SystemSource final : public Source {
 public:
  unsigned Possible() override { return os::CpuCount(); }
  CpuMask Online() override {
    const unsigned possible = Possible();
    // Other threads restrict themselves for reasons of their own.
    const CpuMask allowed = AffinityOf(os::ProcessId(), possible);
    return allowed.empty() ? CpuMask::First(possible) : allowed;
  }
  Status BeforeStartup(unsigned, const Instance&) override { return kOk; }
};

constinit SystemSource system_source;
constinit Machine system_machine(system_source);

}  // namespace

Machine& System() { return system_machine; }

CpuMask CpuMask::First(unsigned count) {
  CpuMask mask;
  for (unsigned cpu = 0; cpu < count; ++cpu) mask.Set(cpu);
  return mask;
}

void Machine::Lock() {
  for (;;) {
    lock_.Lock();
    const uint32_t depth = held_off_.load(std::memory_order_relaxed);
    if (depth == 0) return;
    lock_.Unlock();
    os::FutexWait(&held_off_, depth, -1).Ignore();  // looks again
  }
}

// Before the first instance is added nobody cares.
void Machine::Learn() {
  if (learnt_) return;
  learnt_ = true;
  RefreshLocked().Ignore();  // what failed is simply not online
}

bool Machine::Knows(const State& state) const {
  for (const State* s = states_.Front(); s != nullptr;) {
    if (s == &state) return true;
    s = states_.Next(const_cast<State*>(s));
  }
  return false;
}

Status Machine::SetUpState(State& state) {
  CHECK(state.startup != nullptr);
  Lock();
  const bool known = Knows(state);
  if (!known) states_.PushBack(&state);
  lock_.Unlock();
  return known ? Status::Error(EEXIST) : kOk;
}

void Machine::RemoveState(State& state) {
  Lock();
  CHECK(Knows(state) && state.instances.empty());
  states_.Remove(&state);
  lock_.Unlock();
}

Status Machine::AddInstance(State& state, Instance& instance) {
  Lock();
  Learn();
  CHECK(Knows(state) && !instance.link.linked());
  Status status = kOk;
  unsigned cpu = 0;
  for (; cpu < os::kMaxCpus; ++cpu) {
    if (!online_.Has(cpu)) continue;
    status = Start(state, instance, cpu);
    if (!status.ok()) break;
  }
  if (status.ok()) {
    state.instances.PushBack(&instance);
  } else if (state.teardown != nullptr) {
    while (cpu-- > 0) {
      if (online_.Has(cpu)) state.teardown(cpu, instance);
    }
  }
  lock_.Unlock();
  return status;
}

void Machine::RemoveInstance(State& state, Instance& instance) {
  Lock();
  // Not linked: AddInstance failed, or was never called.
  CHECK(Knows(state) && instance.link.linked());
  state.instances.Remove(&instance);
  for (unsigned cpu = os::kMaxCpus; state.teardown != nullptr && cpu-- > 0;) {
    if (online_.Has(cpu)) state.teardown(cpu, instance);
  }
  lock_.Unlock();
}

Status Machine::StartOn(State& state, Instance& instance, unsigned cpu) {
  Lock();
  CHECK(instance.link.linked() && state.teardown == nullptr);
  CHECK(cpu < source_->Possible());
  const Status status = Start(state, instance, cpu);
  lock_.Unlock();
  return status;
}

Status Machine::Start(State& state, Instance& instance, unsigned cpu) {
  // Callbacks may allocate: so nobody who is in reclaim may come here, nor wait
  // for the lock.
  lockdep::MightReclaim();
  UZSWAP_RETURN_IF_ERROR(source_->BeforeStartup(cpu, instance));
  return state.startup(cpu, instance);
}

Status Machine::Refresh() {
  Lock();
  learnt_ = true;
  const Status status = RefreshLocked();
  lock_.Unlock();
  return status;
}

bool Machine::OutOfDate() {
  if (!lock_.TryLock()) return false;
  const bool out_of_date = learnt_ && source_->Online() != seen_;
  lock_.Unlock();
  return out_of_date;
}

Status Machine::RefreshLocked() {
  const CpuMask now = source_->Online();
  seen_ = now;
  const unsigned possible = source_->Possible();
  Status first_error = kOk;
  for (unsigned cpu = 0; cpu < possible; ++cpu) {
    if (online_.Has(cpu) && !now.Has(cpu)) Down(cpu);
    if (online_.Has(cpu) || !now.Has(cpu)) continue;
    const Status status = Up(cpu);
    if (!status.ok() && first_error.ok()) first_error = status;
  }
  return first_error;
}

Status Machine::Up(unsigned cpu) {
  for (State* s = states_.Front(); s != nullptr; s = states_.Next(s)) {
    for (Instance* i = s->instances.Front(); i != nullptr;
         i = s->instances.Next(i)) {
      if (const Status status = Start(*s, *i, cpu); !status.ok()) {
        RollBack(s, i, cpu);
        return status;
      }
    }
  }
  online_.Set(cpu);
  return kOk;
}

// Tears down what was started before `instance` of `state`, last first; all of
// `state` and before if there is no instance.
void Machine::RollBack(State* state, Instance* instance, unsigned cpu) {
  while (state != nullptr) {
    instance = instance == nullptr ? state->instances.Back()
                                   : state->instances.Prev(instance);
    for (; instance != nullptr; instance = state->instances.Prev(instance)) {
      if (state->teardown != nullptr) state->teardown(cpu, *instance);
    }
    state = states_.Prev(state);
  }
}

void Machine::Down(unsigned cpu) {
  online_.Clear(cpu);
  RollBack(states_.Back(), nullptr, cpu);
}

unsigned Machine::possible() {
  Lock();
  const unsigned n = source_->Possible();
  lock_.Unlock();
  return n;
}

CpuMask Machine::Online() {
  Lock();
  Learn();
  const CpuMask online = online_;
  lock_.Unlock();
  return online;
}

Source& Machine::SetSource(Source& source) {
  Lock();
  for (State* s = states_.Front(); s != nullptr; s = states_.Next(s)) {
    CHECK(s->instances.empty());
  }
  Source& former = *source_;
  source_ = &source;
  online_ = {};
  learnt_ = false;
  lock_.Unlock();
  return former;
}

void Machine::HoldOff() {
  lock_.Lock();  // whoever is inside comes out first
  held_off_.fetch_add(1, std::memory_order_relaxed);
  lock_.Unlock();
}

void Machine::Resume() {
  CHECK(held_off_.fetch_sub(1, std::memory_order_release) > 0);
  os::FutexWake(&held_off_, 1 << 30);
}

void Machine::ResetInChild() {
  lock_.ResetInChild();
  held_off_.store(0, std::memory_order_relaxed);
}

void Machine::CheckInvariants() {
  Lock();
  states_.CheckInvariants();
  const unsigned possible = source_->Possible();
  CHECK(possible >= 1 && possible <= os::kMaxCpus);
  CHECK(learnt_ || online_.empty());
  for (unsigned cpu = possible; cpu < os::kMaxCpus; ++cpu) {
    CHECK(!online_.Has(cpu));
  }
  for (State* s = states_.Front(); s != nullptr; s = states_.Next(s)) {
    CHECK(s->startup != nullptr && s->name != nullptr);
    s->instances.CheckInvariants();
  }
  lock_.Unlock();
}

}  // namespace uzswap::cpuhp
