// SPDX-License-Identifier: Apache-2.0
#include "base/counters.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace uzswap {
namespace {

enum class Event : unsigned { stores, loads, kCount };

constinit PerCpuCounters<Event> global_counters;

TEST(Counters, StartAtZeroAndStayApart) {
  EXPECT_EQ(global_counters.Sum(Event::stores), 0u);
  global_counters.Add(Event::stores);
  global_counters.Add(Event::loads, 41);
  EXPECT_EQ(global_counters.Sum(Event::stores), 1u);
  EXPECT_EQ(global_counters.Sum(Event::loads), 41u);
}

TEST(Counters, LoseNothingUnderThreads) {
  PerCpuCounters<Event> counters;
  constexpr int kThreads = 4;
  constexpr int kRounds = 100'000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) counters.Add(Event::loads, 3);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counters.Sum(Event::loads), uint64_t{3} * kThreads * kRounds);
  EXPECT_EQ(counters.Sum(Event::stores), 0u);
}

TEST(Counters, GaugesMayGoUpAndDownOnDifferentCpus) {
  PerCpuCounters<Event> counters;
  std::thread([&] { counters.Add(Event::stores, 10); }).join();
  std::thread([&] { counters.Subtract(Event::stores, 4); }).join();
  EXPECT_EQ(counters.Sum(Event::stores), 6u);
}

TEST(Counters, ResetForgetsEverything) {
  PerCpuCounters<Event> counters;
  counters.Add(Event::stores, 5);
  counters.Reset();
  EXPECT_EQ(counters.Sum(Event::stores), 0u);
}

// The table form. A real table is a .def file.
#define EVENT_TABLE             \
  UZSWAP_COUNTER(hits, "found") \
  UZSWAP_COUNTER(misses, "missing")

enum class Lookup : unsigned {
#define UZSWAP_COUNTER(name, text) name,
  EVENT_TABLE
#undef UZSWAP_COUNTER
      kCount
};

TEST(Counters, AreMadeFromATable) {
  PerCpuCounters<Lookup> counters;
  counters.Add(Lookup::hits, 2);
  EXPECT_EQ(counters.Sum(Lookup::hits), 2u);
  EXPECT_EQ(counters.Sum(Lookup::misses), 0u);
}

}  // namespace
}  // namespace uzswap
