// SPDX-License-Identifier: Apache-2.0
#include "base/cpuhp.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/cpuhp_testing.h"

namespace uzswap {
namespace {

using cpuhp::CpuMask;
using cpuhp::Simulator;

// What the callbacks of all instances did, oldest first: "+a0" or "-a0".
std::vector<std::string> events;

struct Thing : cpuhp::Instance {
  explicit Thing(char c) : name(c) {}
  char name;
  CpuMask up{};
  int error = 0;  // what startup says
};

Status Do(unsigned cpu, cpuhp::Instance& instance) {
  auto& thing = static_cast<Thing&>(instance);
  if (thing.error != 0) return Status::Error(thing.error);
  events.push_back(std::string("+") + thing.name + std::to_string(cpu));
  thing.up.Set(cpu);
  return kOk;
}

void Undo(unsigned cpu, cpuhp::Instance& instance) {
  auto& thing = static_cast<Thing&>(instance);
  events.push_back(std::string("-") + thing.name + std::to_string(cpu));
  EXPECT_TRUE(thing.up.Has(cpu)) << "torn down before it was started";
  thing.up.Clear(cpu);
}

using Events = std::vector<std::string>;

// CPUs 0-2 of 4 are online; one state with a teardown, one without.
class CpuHotplug : public ::testing::Test {
 protected:
  CpuHotplug() {
    events.clear();
    EXPECT_TRUE(machine_.SetUpState(with_).ok());
    EXPECT_TRUE(machine_.SetUpState(without_).ok());
  }
  ~CpuHotplug() override {
    machine_.CheckInvariants();
    machine_.RemoveState(without_);
    machine_.RemoveState(with_);
  }
  Events TakeEvents() { return std::exchange(events, {}); }

  struct Nothing final : cpuhp::Source {
    unsigned Possible() override { return 1; }
    CpuMask Online() override { return CpuMask::First(1); }
    Status BeforeStartup(unsigned, const cpuhp::Instance&) override {
      return kOk;
    }
  } nothing_;
  cpuhp::Machine machine_{nothing_};
  Simulator cpus_{machine_, 4, 3};
  cpuhp::State with_{"test/with:prepare", &Do, &Undo};
  cpuhp::State without_{"test/without:prepare", &Do};
};

TEST_F(CpuHotplug, AddCallsStartupForEveryOnlineCpuAndRemoveTearsDown) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(with_, a).ok());
  EXPECT_EQ(Events({"+a0", "+a1", "+a2"}), TakeEvents());
  machine_.RemoveInstance(with_, a);
  EXPECT_EQ(Events({"-a2", "-a1", "-a0"}), TakeEvents());
  EXPECT_FALSE(a.link.linked());
}

TEST_F(CpuHotplug, WithoutATeardownNothingIsCalledWhenCpusOrInstancesGo) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  TakeEvents();
  cpus_.Down(1);
  machine_.RemoveInstance(without_, a);
  EXPECT_EQ(Events(), TakeEvents());
  EXPECT_EQ(CpuMask::First(3), a.up);
}

TEST_F(CpuHotplug, ACpuThatComesIsStartedBeforeItIsOnline) {
  Thing a('a');
  Thing b('b');
  ASSERT_TRUE(machine_.AddInstance(without_, b).ok());
  ASSERT_TRUE(machine_.AddInstance(with_, a).ok());
  TakeEvents();
  EXPECT_TRUE(cpus_.Up(3).ok());
  // In the order of the states, not of the instances.
  EXPECT_EQ(Events({"+a3", "+b3"}), TakeEvents());
  EXPECT_TRUE(machine_.Online().Has(3));
  cpus_.Down(3);
  EXPECT_EQ(Events({"-a3"}), TakeEvents());
  EXPECT_FALSE(machine_.Online().Has(3));
  EXPECT_TRUE(cpus_.Up(3).ok());
  EXPECT_EQ(Events({"+a3", "+b3"}), TakeEvents());
  machine_.RemoveInstance(with_, a);
  machine_.RemoveInstance(without_, b);
}

TEST_F(CpuHotplug, FailedAddTearsDownTheCpusBeforeAndLeavesNoInstance) {
  for (unsigned k = 1; k <= 3; ++k) {
    Thing a('a');
    cpus_.FailNth(k, ENOMEM);
    EXPECT_EQ(ENOMEM, machine_.AddInstance(with_, a).error());
    EXPECT_TRUE(a.up.empty());
    EXPECT_FALSE(a.link.linked());
    EXPECT_EQ(2 * (k - 1), TakeEvents().size());
    // A CPU that comes does not know it, and a second attempt works.
    EXPECT_TRUE(cpus_.Up(3).ok());
    EXPECT_EQ(Events(), TakeEvents());
    EXPECT_TRUE(machine_.AddInstance(with_, a).ok());
    EXPECT_EQ(CpuMask::First(4), a.up);
    machine_.RemoveInstance(with_, a);
    cpus_.Down(3);
    TakeEvents();
  }
}

TEST_F(CpuHotplug, B11_FailedAddWithoutTeardownLeavesFreeingToTheCaller) {
  Thing a('a');
  cpus_.FailNth(3, EAGAIN);
  EXPECT_EQ(EAGAIN, machine_.AddInstance(without_, a).error());
  EXPECT_EQ(CpuMask::First(2), a.up);
  EXPECT_FALSE(a.link.linked());
  machine_.CheckInvariants();
}

TEST_F(CpuHotplug, ACpuThatFailsIsRolledBackAndTriedAgain) {
  Thing a('a');
  Thing b('b');
  Thing c('c');
  ASSERT_TRUE(machine_.AddInstance(with_, a).ok());
  ASSERT_TRUE(machine_.AddInstance(with_, b).ok());
  ASSERT_TRUE(machine_.AddInstance(without_, c).ok());
  TakeEvents();
  const Events expected[] = {{}, {"+a3", "-a3"}, {"+a3", "+b3", "-b3", "-a3"}};
  for (unsigned k = 1; k <= 3; ++k) {
    cpus_.FailNth(k, EIO);
    EXPECT_EQ(EIO, cpus_.Up(3).error());
    EXPECT_EQ(expected[k - 1], TakeEvents()) << k;
    EXPECT_FALSE(machine_.Online().Has(3));
    machine_.CheckInvariants();
  }
  EXPECT_TRUE(machine_.Refresh().ok());
  EXPECT_EQ(Events({"+a3", "+b3", "+c3"}), TakeEvents());
  EXPECT_TRUE(machine_.Refresh().ok());
  EXPECT_EQ(Events(), TakeEvents()) << "nothing changed";
  machine_.RemoveInstance(with_, a);
  machine_.RemoveInstance(with_, b);
  machine_.RemoveInstance(without_, c);
}

TEST_F(CpuHotplug, OneCpuThatFailsDoesNotStopTheOthers) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  cpus_.Down(1);
  cpus_.Down(2);
  a.up = {};
  cpus_.FailCpu(1, EIO);
  EXPECT_EQ(EIO, cpus_.Up(1).error());
  EXPECT_EQ(EIO, cpus_.Up(2).error());  // of CPU 1, again
  EXPECT_TRUE(machine_.Online().Has(2));
  EXPECT_FALSE(machine_.Online().Has(1));
  EXPECT_TRUE(a.up.Has(2));
  machine_.RemoveInstance(without_, a);
}

TEST_F(CpuHotplug, StartOnServesACpuNobodyKnew) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  EXPECT_TRUE(machine_.StartOn(without_, a, 3).ok());
  EXPECT_TRUE(a.up.Has(3));
  EXPECT_FALSE(machine_.Online().Has(3));
  machine_.RemoveInstance(without_, a);
}

TEST_F(CpuHotplug, StatesAreKnownOnce) {
  EXPECT_EQ(EEXIST, machine_.SetUpState(with_).error());
  cpuhp::State third{"test/third:prepare", &Do};
  EXPECT_TRUE(machine_.SetUpState(third).ok());
  machine_.RemoveState(third);
  EXPECT_TRUE(machine_.SetUpState(third).ok());
  machine_.RemoveState(third);
}

// Every step of a storm is checked by the callbacks themselves: started once,
// torn down once, in turns.
TEST_F(CpuHotplug, AStormLeavesEveryInstanceStartedOnTheOnlineCpus) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Thing a('a');
    Thing b('b');
    ASSERT_TRUE(machine_.AddInstance(with_, a).ok());
    ASSERT_TRUE(machine_.AddInstance(with_, b).ok());
    cpus_.FailAtRandom(3, seed);
    EXPECT_GT(cpus_.Storm(seed, 200), 0u);
    EXPECT_EQ(machine_.Online(), a.up) << "seed " << seed;
    EXPECT_EQ(machine_.Online(), b.up) << "seed " << seed;
    cpus_.FailAtRandom(0, 0);
    EXPECT_TRUE(machine_.Refresh().ok());
    EXPECT_EQ(cpus_.Online(), a.up);
    machine_.RemoveInstance(with_, a);
    machine_.RemoveInstance(with_, b);
    EXPECT_TRUE(a.up.empty() && b.up.empty());
  }
}

// Plain ints: only the hotplug lock keeps the threads apart.
TEST_F(CpuHotplug, AddingAndRemovingAreSerialisedAgainstCpus) {
  struct Counted : cpuhp::Instance {
    int up[4] = {};
    void Add(unsigned cpu, int n) {
      const int before = up[cpu];
      std::this_thread::yield();
      up[cpu] = before + n;
    }
  };
  cpuhp::State state{"test/counted:prepare",
                     [](unsigned cpu, cpuhp::Instance& i) {
                       static_cast<Counted&>(i).Add(cpu, 1);
                       return kOk;
                     },
                     [](unsigned cpu, cpuhp::Instance& i) {
                       static_cast<Counted&>(i).Add(cpu, -1);
                     }};
  ASSERT_TRUE(machine_.SetUpState(state).ok());
  cpus_.FailAtRandom(10, 1);
  std::atomic<bool> stop{false};
  std::thread storm([&] {
    for (uint64_t seed = 1; !stop; ++seed) cpus_.Storm(seed, 100);
  });
  std::vector<std::thread> users;
  std::atomic<int> added{0};
  for (int t = 0; t < 2; ++t) {
    users.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        Counted counted;
        if (machine_.AddInstance(state, counted).ok()) {
          ++added;
          machine_.RemoveInstance(state, counted);
        }
        for (const int n : counted.up) EXPECT_EQ(0, n);
      }
    });
  }
  for (std::thread& t : users) t.join();
  stop = true;
  storm.join();
  EXPECT_GT(added, 100);
  machine_.RemoveState(state);
}

TEST_F(CpuHotplug, NothingChangesWhileHeldOff) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  machine_.HoldOff();
  machine_.HoldOff();  // one for each of two pools
  std::atomic<bool> up{false};
  std::thread other([&] {
    EXPECT_TRUE(cpus_.Up(3).ok());
    up = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  machine_.Resume();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_FALSE(up);
  machine_.Resume();
  other.join();
  EXPECT_TRUE(a.up.Has(3));
  machine_.RemoveInstance(without_, a);
}

TEST_F(CpuHotplug, OutOfDateUntilTheNextRefreshAlsoIfThatFails) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  EXPECT_FALSE(machine_.OutOfDate());
  cpus_.FailCpu(3, ENOMEM);
  cpus_.Appear(3);
  EXPECT_TRUE(machine_.OutOfDate());
  EXPECT_FALSE(a.up.Has(3));
  EXPECT_EQ(ENOMEM, machine_.Refresh().error());
  EXPECT_FALSE(machine_.OutOfDate()) << "it would be tried again and again";
  cpus_.FailCpu(3, 0);
  machine_.RemoveInstance(without_, a);
}

TEST_F(CpuHotplug, AForkedChildGoesOn) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(without_, a).ok());
  machine_.HoldOff();
  const pid_t child = fork();
  if (child == 0) {
    machine_.ResetInChild();
    _exit(cpus_.Up(3).ok() && a.up.Has(3) ? 0 : 1);
  }
  machine_.Resume();
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  machine_.RemoveInstance(without_, a);
}

using CpuHotplugDeathTest = CpuHotplug;

TEST_F(CpuHotplugDeathTest, B11_RemovingAfterAFailedAddIsABug) {
  Thing a('a');
  cpus_.FailNth(1, ENOMEM);
  EXPECT_EQ(ENOMEM, machine_.AddInstance(without_, a).error());
  EXPECT_DEATH(machine_.RemoveInstance(without_, a), "linked");
}

TEST_F(CpuHotplugDeathTest, StatesInUseAndUnknownStatesAreBugs) {
  Thing a('a');
  ASSERT_TRUE(machine_.AddInstance(with_, a).ok());
  EXPECT_DEATH(machine_.RemoveState(with_), "instances.empty");
  EXPECT_DEATH((void)machine_.AddInstance(with_, a), "linked");
  EXPECT_DEATH((void)machine_.StartOn(with_, a, 0), "teardown == nullptr");
  EXPECT_DEATH(machine_.SetSource(nothing_), "instances.empty");
  machine_.RemoveInstance(with_, a);
  cpuhp::State unknown{"test/unknown:prepare", &Do};
  Thing b('b');
  EXPECT_DEATH((void)machine_.AddInstance(unknown, b), "Knows");
}

TEST(SystemCpus, AreThoseOfTheSystemThatTheProcessMayUse) {
  ASSERT_TRUE(cpuhp::Refresh().ok());
  cpu_set_t allowed;
  ASSERT_EQ(0, sched_getaffinity(getpid(), sizeof(allowed), &allowed));
  const unsigned possible = cpuhp::System().possible();
  EXPECT_EQ(os::CpuCount(), possible);
  CpuMask expected;
  for (unsigned cpu = 0; cpu < possible; ++cpu) {
    // The first CPU of many machines cannot go and has no such file.
    std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) +
                       "/online");
    const bool online = file.get() != '0';
    if (online && CPU_ISSET(cpu, &allowed)) expected.Set(cpu);
  }
  EXPECT_EQ(expected, cpuhp::System().Online());
  EXPECT_TRUE(cpuhp::System().Online().Has(os::CurrentCpu()));
  cpuhp::System().CheckInvariants();
}

TEST(SystemCpus, RefreshFollowsTheAffinityOfTheProcess) {
  cpu_set_t all;
  ASSERT_EQ(0, sched_getaffinity(getpid(), sizeof(all), &all));
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one CPU";
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(os::CurrentCpu(), &one);
  ASSERT_EQ(0, sched_setaffinity(getpid(), sizeof(one), &one));
  EXPECT_TRUE(cpuhp::System().OutOfDate());
  EXPECT_TRUE(cpuhp::Refresh().ok());
  EXPECT_FALSE(cpuhp::System().OutOfDate());
  EXPECT_EQ(1u, cpuhp::System().Online().Count());
  ASSERT_EQ(0, sched_setaffinity(getpid(), sizeof(all), &all));
  EXPECT_TRUE(cpuhp::Refresh().ok());
  EXPECT_EQ(static_cast<unsigned>(CPU_COUNT(&all)),
            cpuhp::System().Online().Count());
}

}  // namespace
}  // namespace uzswap
