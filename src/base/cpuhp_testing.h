// SPDX-License-Identifier: Apache-2.0
// For tests only: CPUs that come and go at will, as many as one likes, and
// startup callbacks that fail where one likes. Takes a machine over for its
// lifetime. Storm is a function of its seed, so a failing run can be replayed.
#ifndef UZSWAP_BASE_CPUHP_TESTING_H_
#define UZSWAP_BASE_CPUHP_TESTING_H_

#include <atomic>
#include <mutex>
#include <random>
#include <set>

#include "base/cpuhp.h"

namespace uzswap::cpuhp {

class Simulator final : public Source {
 public:
  // CPUs 0 ... online - 1 are there at first. REQUIRES: the machine has no
  // instances, now and when this goes.
  Simulator(Machine& machine, unsigned possible, unsigned online)
      : machine_(machine),
        possible_(possible),
        online_(CpuMask::First(online)),
        former_(machine.SetSource(*this)) {}
  ~Simulator() { machine_.SetSource(former_); }
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  // As in the world, the CPU is there whatever the machine makes of it.
  Status Up(unsigned cpu) { return Change(cpu, true); }
  void Down(unsigned cpu) { Change(cpu, false).Ignore(); }

  // Nobody tells the machine.
  void Appear(unsigned cpu) {
    const std::lock_guard lock(mutex_);
    online_.Set(cpu);
  }

  // The n-th startup callback from now on (1 is the next) fails, once.
  void FailNth(unsigned n, int error) {
    const std::lock_guard lock(mutex_);
    fail_in_ = n;
    error_ = error;
  }
  // Every startup callback for this CPU fails until error is 0.
  void FailCpu(unsigned cpu, int error) {
    const std::lock_guard lock(mutex_);
    if (error == 0) {
      failing_.erase(cpu);
    } else {
      failing_.insert(cpu);
      error_ = error;
    }
  }
  // About one callback in `n` fails; 0: none.
  void FailAtRandom(unsigned n, uint64_t seed) {
    const std::lock_guard lock(mutex_);
    one_in_ = n;
    random_.seed(seed);
    error_ = ENOMEM;
  }

  // `steps` changes of random CPUs; CPU 0 stays. Returns how many came up and
  // failed to.
  unsigned Storm(uint64_t seed, unsigned steps) {
    std::mt19937_64 random(seed);
    unsigned failed = 0;
    for (unsigned i = 0; i < steps; ++i) {
      const unsigned cpu =
          1 + static_cast<unsigned>(random() % (possible_ - 1));
      if (random() % 2 == 0) {
        Down(cpu);
      } else if (!Up(cpu).ok()) {
        ++failed;
      }
    }
    return failed;
  }

  // Held around a fork: the child has no thread that could give the lock back.
  // Taken after the machine's lock, so last.
  [[nodiscard]] std::unique_lock<std::mutex> Hold() {
    return std::unique_lock(mutex_);
  }

  // Startup callbacks that were asked for, failed ones included.
  unsigned startups() const { return startups_.load(); }

  unsigned Possible() override { return possible_; }
  CpuMask Online() override {
    const std::lock_guard lock(mutex_);
    return online_;
  }
  Status BeforeStartup(unsigned cpu, const Instance&) override {
    const std::lock_guard lock(mutex_);
    ++startups_;
    const bool hit = (fail_in_ != 0 && --fail_in_ == 0) ||
                     failing_.contains(cpu) ||
                     (one_in_ != 0 && random_() % one_in_ == 0);
    return hit ? Status::Error(error_) : kOk;
  }

 private:
  Status Change(unsigned cpu, bool up) {
    {
      const std::lock_guard lock(mutex_);
      up ? online_.Set(cpu) : online_.Clear(cpu);
    }
    return machine_.Refresh();
  }

  Machine& machine_;
  const unsigned possible_;
  std::mutex mutex_;  // taken inside the machine's lock, never around it
  CpuMask online_;
  std::set<unsigned> failing_;
  unsigned fail_in_ = 0;
  unsigned one_in_ = 0;
  int error_ = 0;
  std::mt19937_64 random_;
  std::atomic<unsigned> startups_{0};
  Source& former_;
};

}  // namespace uzswap::cpuhp

#endif  // UZSWAP_BASE_CPUHP_TESTING_H_
