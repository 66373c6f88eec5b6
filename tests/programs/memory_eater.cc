// SPDX-License-Identifier: Apache-2.0
// An unmodified program that eats memory: many threads map, fill, compare,
// change, move and unmap pages in bursts, far beyond the limit they are given.
//     memory_eater --limit MIB [--factor N] [--seconds N] [--threads N]
//                  [--seed N] [--stall-ms N]
// Exit code: 0 fine, 1 a page was wrong, 2 usage, 3 an operation took longer
// than --stall-ms (1000), 4 a second without any operation, 5 a thread is
// stuck. Also runs without uzswap, where all must be fine, too.
#include <getopt.h>

#include <barrier>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "support/memory_eater_pages.h"
#include "support/memory_eater_watch.h"

namespace eater {
namespace {

constexpr uint32_t kMaxPages = 512;

struct Options {
  uint64_t limit_mib = 0, factor = 4, seconds = 10, threads = 8, seed = 1;
  uint64_t stall_ms = 1000;
};

// One mapping, or none (pages 0). Any thread may use any segment: many readers
// at a time or one writer, and nobody waits for the other. The record and what
// is expected are in shared memory.
struct Segment {
  std::atomic<int32_t> users{0};  // -1: a writer
  uint32_t pages = 0;
  bool one_piece = true;  // to the kernel; mremap demands it
  char* base = nullptr;
  Expected expected[kMaxPages];

  bool TryRead() {
    int32_t n = users.load(std::memory_order_relaxed);
    return n >= 0 && users.compare_exchange_strong(n, n + 1);
  }
  bool TryWrite() {
    int32_t none = 0;
    return users.compare_exchange_strong(none, -1);
  }
  void EndRead() { users.fetch_sub(1); }
  void EndWrite() { users.store(0); }
  uint64_t* Words(uint32_t page) const {
    return reinterpret_cast<uint64_t*>(base + page * kPage);
  }
};

// In shared memory.
struct State {
  std::atomic<bool> stop{false};
  std::atomic<int64_t> held{0};  // pages mapped
  std::atomic<int64_t> most{0};
  std::atomic<int64_t> target{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> next_seed{1};
};

class Worker {
 public:
  Worker(const Options& options, unsigned number, Watch& watch, State& state,
         std::vector<Segment*>& segments)
      : watch_(watch),
        progress_(watch.progress[number]),
        state_(state),
        segments_(segments),
        number_(number),
        threads_(static_cast<unsigned>(options.threads)),
        random_(options.seed * kMaxThreads + number) {}

  void Run() {
    while (!state_.stop.load(std::memory_order_relaxed)) Step();
  }

  // Every page of every segment, shared out among the threads.
  void VerifyAll() {
    for (size_t i = number_; i < segments_.size(); i += threads_) {
      Segment& segment = *segments_[i];
      for (uint32_t p = 0; p < segment.pages; ++p) Verify(segment, p);
    }
  }

 private:
  uint64_t Random(uint64_t below) { return random_() % below; }
  uint32_t AnyPage(const Segment& s) {
    return static_cast<uint32_t>(Random(s.pages));
  }
  // A part of the segment: its first page and how many.
  std::pair<uint32_t, uint32_t> AnyPart(const Segment& s) {
    const uint32_t first = AnyPage(s);
    return {first, 1 + static_cast<uint32_t>(Random(s.pages - first))};
  }

  // From what is held to the target.
  int64_t Missing() const {
    return state_.target.load(std::memory_order_relaxed) -
           state_.held.load(std::memory_order_relaxed);
  }

  void Step() {
    Segment& segment = *segments_[Random(segments_.size())];
    // Half of the time towards the target, half of it with what is there.
    const uint64_t dice = Random(100);
    if (dice >= 60 && segment.TryRead()) {
      if (segment.pages != 0) Read(segment);
      segment.EndRead();
    } else if (dice < 60 && segment.TryWrite()) {
      if (segment.pages == 0) {
        if (Missing() > 0) Map(segment);
      } else if (Missing() < 0 && dice < 30) {
        Unmap(segment);
      } else {
        Change(segment);
      }
      segment.EndWrite();
    }
  }

  void Read(Segment& s) {
    if (Random(8) == 0) {  // a stream
      for (uint32_t p = 0; p < s.pages; ++p) Verify(s, p);
      return;
    }
    for (uint64_t n = 1 + Random(16); n != 0; --n) Verify(s, AnyPage(s));
  }

  void Change(Segment& s) {
    switch (Random(12)) {
      case 0:
        return Drop(s);
      case 1:
        return Replace(s);
      case 2:
        return s.one_piece ? Resize(s) : Drop(s);
      case 3:
        return s.one_piece ? MoveTo(s) : Drop(s);
      case 4:
        return Protect(s);
      case 5:
      case 6:
      case 7:
        for (uint64_t n = 1 + Random(16); n != 0; --n) Stamp(s, AnyPage(s));
        return;
      default:
        for (uint64_t n = 1 + Random(16); n != 0; --n) Rewrite(s, AnyPage(s));
    }
  }

  // ---- one page -----------------------------------------------------------

  void Verify(const Segment& s, uint32_t page) {
    size_t i;
    {
      Timed timed(watch_, progress_, "read");
      i = FirstWrong(s.Words(page), s.expected[page]);
    }
    ++progress_.verified;
    if (i == kWords) return;
    ++state_.wrong;
    dprintf(2,
            "memory_eater: wrong page at %p (page %u of %u, seed %lx, stamp "
            "%lx): word %zu is %lx, expected %lx\n",
            static_cast<void*>(s.Words(page)), page, s.pages,
            s.expected[page].seed, s.expected[page].stamp, i, s.Words(page)[i],
            WordOf(s.expected[page], i));
    state_.stop = true;
  }

  void FillPage(Segment& s, uint32_t page) {
    s.expected[page] = {Mix(state_.next_seed.fetch_add(1)), 0};
    Timed timed(watch_, progress_, "fill");
    Fill(s.Words(page), s.expected[page]);
  }

  void Rewrite(Segment& s, uint32_t page) {
    if (Random(2) == 0) Verify(s, page);
    FillPage(s, page);
  }

  void Stamp(Segment& s, uint32_t page) {
    Expected& expected = s.expected[page];
    expected.stamp = random_() | 1;
    Timed timed(watch_, progress_, "write of a word");
    *static_cast<volatile uint64_t*>(s.Words(page) + StampAt(expected)) =
        expected.stamp;
  }

  // ---- mappings -----------------------------------------------------------

  void Check(bool ok, const char* what) {
    if (ok) return;
    dprintf(2, "memory_eater: %s: %s\n", what, strerror(errno));
    _exit(2);
  }

  void Count(int64_t pages) {
    const int64_t held = state_.held.fetch_add(pages) + pages;
    int64_t most = state_.most.load();
    while (held > most && !state_.most.compare_exchange_weak(most, held)) {
    }
  }

  char* MapPages(uint32_t pages) {
    Timed timed(watch_, progress_, "mmap");
    void* at = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Check(at != MAP_FAILED, "mmap");
    return static_cast<char*>(at);
  }

  void SetZero(Segment& s, uint32_t first, uint32_t count) {
    std::fill_n(s.expected + first, count, Expected{});
  }

  // Most of it is filled at once, in a burst.
  void Map(Segment& s) {
    const uint32_t most = Random(3) == 0 ? kMaxPages : 64;
    const auto pages = static_cast<uint32_t>(1 + Random(most));
    s.base = MapPages(pages);
    s.pages = pages;
    s.one_piece = true;
    SetZero(s, 0, pages);
    Count(pages);
    const uint64_t untouched = Random(4) == 0 ? 3 : 0;
    for (uint32_t p = 0; p < pages; ++p) {
      if (Random(10) >= untouched) FillPage(s, p);
    }
  }

  void Unmap(Segment& s) {
    for (uint64_t n = Random(8); n != 0; --n) Verify(s, AnyPage(s));
    Count(-static_cast<int64_t>(s.pages));
    Timed timed(watch_, progress_, "munmap");
    Check(munmap(s.base, s.pages * kPage) == 0, "munmap");
    s.pages = 0;
  }

  void Drop(Segment& s) {
    const auto [first, count] = AnyPart(s);
    {
      Timed timed(watch_, progress_, "MADV_DONTNEED");
      Check(madvise(s.Words(first), count * kPage, MADV_DONTNEED) == 0,
            "madvise");
    }
    SetZero(s, first, count);
    Verify(s, first);
  }

  // A fresh mapping over a part of an old one.
  void Replace(Segment& s) {
    const auto [first, count] = AnyPart(s);
    {
      Timed timed(watch_, progress_, "mmap of a part");
      Check(mmap(s.Words(first), count * kPage, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == s.Words(first),
            "mmap");
    }
    s.one_piece = false;
    SetZero(s, first, count);
    Verify(s, first + count - 1);
  }

  void Resize(Segment& s) {
    const uint32_t most = Missing() > 0 ? kMaxPages : s.pages;
    const auto pages = static_cast<uint32_t>(1 + Random(most));
    {
      Timed timed(watch_, progress_, "mremap");
      void* at = mremap(s.base, s.pages * kPage, pages * kPage, MREMAP_MAYMOVE);
      Check(at != MAP_FAILED, "mremap");
      s.base = static_cast<char*>(at);
    }
    if (pages > s.pages) SetZero(s, s.pages, pages - s.pages);
    Count(int64_t{pages} - int64_t{s.pages});
    s.pages = pages;
    Verify(s, AnyPage(s));
  }

  void MoveTo(Segment& s) {
    char* to = MapPages(s.pages);
    {
      Timed timed(watch_, progress_, "mremap to an address");
      Check(mremap(s.base, s.pages * kPage, s.pages * kPage,
                   MREMAP_MAYMOVE | MREMAP_FIXED, to) == to,
            "mremap");
    }
    s.base = to;
    Verify(s, AnyPage(s));
  }

  void Protect(Segment& s) {
    const auto [first, count] = AnyPart(s);
    auto set = [&](int protection) {
      Timed timed(watch_, progress_, "mprotect");
      Check(mprotect(s.Words(first), count * kPage, protection) == 0,
            "mprotect");
    };
    set(PROT_READ);
    Verify(s, first);
    set(PROT_READ | PROT_WRITE);
    Stamp(s, first);
  }

  Watch& watch_;
  Progress& progress_;
  State& state_;
  std::vector<Segment*>& segments_;
  const unsigned number_;
  const unsigned threads_;
  std::mt19937_64 random_;
};

// The target jumps, so that much is wanted at once and much is given back, but
// never all: with nothing held there would be nothing to do.
void Bursts(const Options& options, State& state, uint64_t end) {
  std::mt19937_64 random(options.seed);
  const auto limit = static_cast<int64_t>(options.limit_mib << 20 >> 12);
  const auto factor = static_cast<int64_t>(options.factor);
  bool high = true;
  while (NowNs() < end && !state.stop) {
    const auto share = static_cast<int64_t>(random() % 100);
    state.target = high ? limit + limit * (factor - 1) * (50 + share / 2) / 100
                        : limit * std::max<int64_t>(share, 5) / 100;
    high = !high;
    uint64_t nap = (high ? 300 : 1000) + random() % 2000;
    for (; nap >= 50 && NowNs() < end && !state.stop; nap -= 50) usleep(50'000);
  }
  state.stop = true;
}

void StartControl(Watch& watch, pthread_t* thread) {
  constexpr size_t kStack = 256 << 10;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, MapShared(kStack), kStack);
  auto run = [](void* w) -> void* {
    static_cast<Watch*>(w)->Control();
    return nullptr;
  };
  if (pthread_create(thread, &attributes, run, &watch) != 0) exit(2);
}

int Report(const Options& options, const Watch& watch, const State& state) {
  const uint64_t end = NowNs();
  const Result r = Judge(watch, end);
  auto ms = [](const Span& s) { return (s.end - s.begin) / kMs; };
  const char* none = "nothing";
  printf(
      "threads=%lu seconds=%.1f ops=%lu least_ops_in_a_second=%lu "
      "zero_seconds=%lu machine_zero_seconds=%lu verified_pages=%lu "
      "wrong_pages=%lu most_mib=%ld stall_ms=%lu stall_in='%s' "
      "net_stall_ms=%lu net_stall_in='%s' control_delay_ms=%lu "
      "control_share=%.2f\n",
      options.threads, static_cast<double>(end - watch.start) / 1e9, r.ops,
      r.least, r.zero_seconds, r.machine_seconds, r.verified,
      state.wrong.load(), state.most.load() * 4096 >> 20, ms(r.stall),
      r.stall.what ? r.stall.what : none, r.net_stall / kMs,
      r.net_of.what ? r.net_of.what : none, watch.delay / kMs,
      watch.Share({watch.start, end, ""}));
  fflush(stdout);
  if (state.wrong != 0) return 1;
  if (r.net_stall > options.stall_ms * kMs) return 3;
  return r.zero_seconds != 0 ? 4 : 0;
}

int Eat(const Options& options) {
  Watch& watch = *Watch::New(static_cast<unsigned>(options.threads));
  State& state = *new (MapShared(sizeof(State))) State;
  // Enough for the most there can be, when they are 150 pages in the middle.
  const size_t count = options.limit_mib * options.factor * 256 / 100 + 16;
  auto* all = static_cast<Segment*>(MapShared(count * sizeof(Segment)));
  std::vector<Segment*> segments;
  for (size_t i = 0; i < count; ++i) segments.push_back(&all[i]);
  pthread_t control;
  StartControl(watch, &control);
  std::vector<std::thread> threads;
  std::barrier all_stopped(static_cast<ptrdiff_t>(options.threads));
  for (unsigned i = 0; i < options.threads; ++i) {
    threads.emplace_back([&, i] {
      Worker worker(options, i, watch, state, segments);
      worker.Run();
      all_stopped.arrive_and_wait();
      worker.VerifyAll();
    });
  }
  Bursts(options, state, watch.start + options.seconds * kSecond);
  for (std::thread& thread : threads) thread.join();
  watch.stop = true;
  pthread_join(control, nullptr);
  return Report(options, watch, state);
}

int Usage() {
  fprintf(stderr,
          "usage: memory_eater --limit MIB [--factor N] [--seconds N] "
          "[--threads N] [--seed N] [--stall-ms N]\n");
  return 2;
}

int Main(int argc, char** argv) {
  Options options;
  uint64_t* const values[] = {&options.limit_mib, &options.factor,
                              &options.seconds,   &options.threads,
                              &options.seed,      &options.stall_ms};
  const option names[] = {
      {"limit", 1, nullptr, 0},   {"factor", 1, nullptr, 1},
      {"seconds", 1, nullptr, 2}, {"threads", 1, nullptr, 3},
      {"seed", 1, nullptr, 4},    {"stall-ms", 1, nullptr, 5},
      {nullptr, 0, nullptr, 0},
  };
  for (int which;
       (which = getopt_long(argc, argv, "", names, nullptr)) != -1;) {
    if (which > 5) return Usage();
    *values[which] = strtoull(optarg, nullptr, 0);
  }
  const bool ok = optind == argc && options.limit_mib > 0 &&
                  options.factor > 0 && options.seconds > 0 &&
                  options.seconds < kMaxSeconds - 600 && options.threads > 0 &&
                  options.threads <= kMaxThreads;
  return ok ? Eat(options) : Usage();
}

}  // namespace
}  // namespace eater

int main(int argc, char** argv) { return eater::Main(argc, argv); }
