// SPDX-License-Identifier: Apache-2.0
// How memory_eater.cc measures itself: operations of each second, the longest
// one, and beside them a control thread that only ever looks at the clock. It
// lives in shared memory, which uzswap does not manage, and makes no system
// call, so what it misses is what the machine gave to others. A stall is
// printed as it was, and scaled by the control thread's share of a CPU
// meanwhile when that was less than its fair one, with this program alone on
// the machine; a second with less than a quarter of it is the machine's. While
// the others wait the control thread has its share, so waiting is never scaled
// away.
#ifndef UZSWAP_TESTS_SUPPORT_MEMORY_EATER_WATCH_H_
#define UZSWAP_TESTS_SUPPORT_MEMORY_EATER_WATCH_H_

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace eater {

inline constexpr uint64_t kMs = 1'000'000;
inline constexpr uint64_t kSecond = 1000 * kMs;

inline uint64_t NowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * kSecond +
         static_cast<uint64_t>(t.tv_nsec);
}

// Memory that uzswap leaves alone.
inline void* MapShared(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    perror("mmap of shared memory");
    exit(2);
  }
  return at;
}

struct Span {
  uint64_t begin;
  uint64_t end;
  const char* what;
};
// The latest and the longest are kept when there are more than fit.
template <size_t kCapacity>
struct Spans {
  std::atomic<size_t> count{0};
  Span longest{};
  Span spans[kCapacity];

  void Add(const Span& span) {
    if (span.end - span.begin > longest.end - longest.begin) longest = span;
    const size_t n = count.load(std::memory_order_relaxed);
    spans[n % kCapacity] = span;
    count.store(n + 1, std::memory_order_release);
  }
  size_t kept() const { return std::min(count.load(), kCapacity); }
};

inline constexpr size_t kMaxThreads = 64;
inline constexpr uint64_t kMaxSeconds = 4096;

// Of one thread; written by it alone.
struct alignas(64) Progress {
  std::atomic<uint64_t> began{0};  // 0: in no operation
  std::atomic<const char*> what{nullptr};
  uint64_t ops = 0;
  uint64_t verified = 0;
  Span longest{};
  Spans<256> stalls;  // longer than kStall
  uint32_t per_second[kMaxSeconds];
};

// All zeros at first, in shared memory.
struct Watch {
  static constexpr uint64_t kStall = 100 * kMs;
  static constexpr uint64_t kStuck = 60 * kSecond;
  static constexpr uint64_t kBucket = 10 * kMs;

  uint64_t start = 0;
  std::atomic<bool> stop{false};
  unsigned threads = 0;
  double fair = 1;     // the control thread's part of a CPU
  uint64_t delay = 0;  // its longest
  uint32_t ran[kMaxSeconds * kSecond / kBucket];  // ns of each bucket
  Progress progress[kMaxThreads];

  static Watch* New(unsigned threads) {
    Watch* watch = static_cast<Watch*>(MapShared(sizeof(Watch)));
    watch->threads = threads;
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof(cpus), &cpus);
    watch->fair = std::min(1.0, CPU_COUNT(&cpus) / (threads + 1.0));
    watch->start = NowNs();
    return watch;
  }

  // The control thread. Says so and ends the program when a thread is stuck.
  void Control() {
    uint64_t before = NowNs();
    while (!stop.load(std::memory_order_relaxed)) {
      const uint64_t now = NowNs();
      const uint64_t step = now - before;
      const uint64_t bucket = (now - start) / kBucket;
      // A longer step is one that did not run.
      if (step < kMs / 10 && bucket < std::size(ran)) {
        ran[bucket] += static_cast<uint32_t>(step);
      }
      delay = std::max(delay, step);
      before = now;
      for (unsigned i = 0; i < threads; ++i) {
        const uint64_t began = progress[i].began.load();
        if (began != 0 && now > began + kStuck) Stuck(i, now - began);
      }
    }
  }

  // What the control thread had of its fair share, 0 … 1. For spans of at least
  // kStall.
  double Share(const Span& span) const {
    const uint64_t first = (span.begin - start) / kBucket;
    const uint64_t last =
        std::min<uint64_t>((span.end - start) / kBucket, std::size(ran) - 1);
    double sum = 0;
    for (uint64_t i = first; i <= last; ++i) sum += ran[i];
    const double all = static_cast<double>((last + 1 - first) * kBucket);
    return std::min(1.0, sum / all / fair);
  }

 private:
  void Stuck(unsigned thread, uint64_t for_ns) {
    dprintf(2, "memory_eater: thread %u: %s has taken %lu s: stuck\n", thread,
            progress[thread].what.load(), for_ns / kSecond);
    _exit(5);
  }
};

// One operation, from here to the end of the scope.
class Timed {
 public:
  Timed(Watch& watch, Progress& progress, const char* what)
      : watch_(watch), progress_(progress), what_(what), begin_(NowNs()) {
    progress_.what.store(what, std::memory_order_relaxed);
    progress_.began.store(begin_, std::memory_order_release);
  }
  ~Timed() {
    progress_.began.store(0, std::memory_order_release);
    const Span span{begin_, NowNs(), what_};
    const uint64_t took = span.end - span.begin;
    if (took > progress_.longest.end - progress_.longest.begin) {
      progress_.longest = span;
    }
    if (took > Watch::kStall) progress_.stalls.Add(span);
    ++progress_.ops;
    const uint64_t second = (span.end - watch_.start) / kSecond;
    if (second < kMaxSeconds) ++progress_.per_second[second];
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Watch& watch_;
  Progress& progress_;
  const char* what_;
  const uint64_t begin_;
};

// What all threads together have seen.
struct Result {
  uint64_t ops = 0, verified = 0, least = ~uint64_t{0};
  Span stall{};            // longest
  uint64_t net_stall = 0;  // longest, scaled
  Span net_of{};
  uint64_t zero_seconds = 0, machine_seconds = 0;
};

inline Result Judge(const Watch& watch, uint64_t end) {
  Result result;
  for (unsigned i = 0; i < watch.threads; ++i) {
    const Progress& p = watch.progress[i];
    result.ops += p.ops;
    result.verified += p.verified;
    auto longer = [](const Span& a, const Span& b) {
      return a.end - a.begin > b.end - b.begin;
    };
    if (longer(p.longest, result.stall)) result.stall = p.longest;
    auto net = [&](const Span& span) {
      const uint64_t took = span.end - span.begin;
      const double share = took < Watch::kStall ? 1 : watch.Share(span);
      const auto rest =
          static_cast<uint64_t>(static_cast<double>(took) * share);
      if (rest > result.net_stall) {
        result.net_stall = rest;
        result.net_of = span;
      }
    };
    net(p.longest);
    for (size_t k = 0; k < p.stalls.kept(); ++k) net(p.stalls.spans[k]);
  }
  const uint64_t seconds = std::min((end - watch.start) / kSecond, kMaxSeconds);
  for (uint64_t s = 0; s < seconds; ++s) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < watch.threads; ++i) {
      sum += watch.progress[i].per_second[s];
    }
    result.least = std::min(result.least, sum);
    if (sum != 0) continue;
    const uint64_t begin = watch.start + s * kSecond;
    if (watch.Share({begin, begin + kSecond, ""}) < 0.25) {
      ++result.machine_seconds;
    } else {
      ++result.zero_seconds;
    }
  }
  return result;
}

}  // namespace eater

#endif  // UZSWAP_TESTS_SUPPORT_MEMORY_EATER_WATCH_H_
