// SPDX-License-Identifier: Apache-2.0
// A working set that moves. The program knows nothing of whoever keeps its
// memory under a limit.
//
//   shift MEGABYTES WINDOW_MEGABYTES PERIODS SECONDS THREADS CONTENT COUNTERS
//
// The region is filled with pages of CONTENT (a file of real pages). Then, for
// PERIODS times SECONDS, 98 of 100 accesses go to a window of the region, the
// others to all of it; three of ten write. Half of those to the window go to an
// eighth of it, in groups of 16 pages that lie scattered, as the objects of a
// program do. Each period has a window of its own, not next to the one before.
// An access touches one page and checks its tag and one word of its content: a
// wrong one is exit 1.
//
// COUNTERS is a file of a page that is written while the program runs, for
// whoever watches: the number of the period (0: filling; PERIODS + 1: done),
// and the accesses of each thread, as 64-bit numbers.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kWords = kPage / sizeof(uint64_t);
constexpr size_t kTagWords = 2;
constexpr size_t kMaxThreads = 64;
constexpr uint64_t kInWindow = 98;  // of 100 accesses
constexpr uint64_t kWrites = 30;    // of 100
constexpr size_t kGroup = 16;       // pages that are hot together
constexpr size_t kStride = 3;       // windows from one to the next

using Clock = std::chrono::steady_clock;

struct Random {
  uint64_t state;
  uint64_t Next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
  uint64_t Below(uint64_t n) { return (Next() >> 16) % n; }
};

struct Counters {
  std::atomic<uint64_t> period;
  std::atomic<uint64_t> accesses[kMaxThreads];
};
static_assert(sizeof(Counters) <= kPage);

// Not to be managed by anybody: shared file mappings.
void* MapFile(const char* path, int flags, int protection, size_t* bytes) {
  const int fd = open(path, flags);
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < static_cast<off_t>(kPage)) {
    fprintf(stderr, "shift: %s: not a file of pages\n", path);
    exit(2);
  }
  *bytes = static_cast<size_t>(st.st_size);
  void* at = mmap(nullptr, *bytes, protection, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    perror("shift: mmap");
    exit(2);
  }
  close(fd);
  return at;
}

// Word 0 of a page: which page it is; word 1: how often it was written.
class Region {
 public:
  Region(size_t pages, const char* content) : pages_(pages) {
    size_t bytes = 0;
    source_ = static_cast<const uint64_t*>(
        MapFile(content, O_RDONLY, PROT_READ, &bytes));
    source_pages_ = bytes / kPage;
    void* at = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
      perror("shift: mmap");
      exit(2);
    }
    base_ = static_cast<uint64_t*>(at);
    madvise(base_, pages * kPage, MADV_NOHUGEPAGE);
  }
  size_t pages() const { return pages_; }
  void Fill(size_t i) {
    memcpy(At(i), Source(i), kPage);
    At(i)[0] = i;
    At(i)[1] = 0;
  }
  bool Access(size_t i, bool write, size_t word) {
    uint64_t* const page = At(i);
    if (write) {
      std::atomic_ref(page[1]).fetch_add(1, std::memory_order_relaxed);
    }
    const size_t at = kTagWords + word % (kWords - kTagWords);
    return page[0] == i && page[at] == Source(i)[at];
  }

 private:
  uint64_t* At(size_t i) { return base_ + i * kWords; }
  const uint64_t* Source(size_t i) const {
    return source_ + i % source_pages_ * kWords;
  }
  const size_t pages_;
  const uint64_t* source_;
  size_t source_pages_;
  uint64_t* base_;
};

struct Plan {
  size_t window;  // pages
  size_t periods;
  double seconds;
};

// Pages of a window, some more often than others.
class Window {
 public:
  explicit Window(size_t pages) : groups_(pages / kGroup) {}
  size_t Pick(Random* random) const {
    // The cube of a random number in [0, 1), in 20 bits.
    const uint64_t u = random->Below(1 << 20);
    const uint64_t cube = (u * u >> 20) * u >> 20;
    const size_t rank = cube * groups_ >> 20;
    // Odd and prime: every group has one rank.
    const size_t group = rank * 2654435761u % groups_;
    return group * kGroup + random->Below(kGroup);
  }

 private:
  const size_t groups_;
};

// Ends the program at once when a page has the wrong content.
void Work(const Plan& plan, Region* region, Counters* counters, size_t thread) {
  const size_t places = region->pages() / plan.window;
  const Window window(plan.window);
  Random random{0x9E3779B97F4A7C15ull + thread * 977};
  uint64_t done = 0;
  for (;;) {
    const uint64_t period = counters->period.load(std::memory_order_relaxed);
    if (period > plan.periods) return;
    const size_t first = (period - 1) * kStride % places * plan.window;
    for (int k = 0; k < 16; ++k) {
      const size_t i = random.Below(100) < kInWindow
                           ? first + window.Pick(&random)
                           : random.Below(region->pages());
      if (!region->Access(i, random.Below(100) < kWrites,
                          random.Below(kWords))) {
        fprintf(stderr, "shift: DATA LOST: page %zu has wrong content\n", i);
        _exit(1);
      }
    }
    done += 16;
    counters->accesses[thread].store(done, std::memory_order_relaxed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    fprintf(stderr,
            "usage: shift MEGABYTES WINDOW_MEGABYTES PERIODS SECONDS THREADS "
            "CONTENT COUNTERS\n");
    return 2;
  }
  Region region(strtoul(argv[1], nullptr, 10) * 256, argv[6]);
  const Plan plan{strtoul(argv[2], nullptr, 10) * 256,
                  strtoul(argv[3], nullptr, 10), strtod(argv[4], nullptr)};
  const size_t threads = strtoul(argv[5], nullptr, 10);
  if (plan.window < kGroup || plan.window > region.pages() || threads == 0 ||
      threads > kMaxThreads) {
    fprintf(stderr, "shift: the window or the number of threads is wrong\n");
    return 2;
  }
  size_t bytes = 0;
  auto* const counters = static_cast<Counters*>(
      MapFile(argv[7], O_RDWR, PROT_READ | PROT_WRITE, &bytes));
  for (size_t i = 0; i < region.pages(); ++i) region.Fill(i);
  counters->period = 1;
  std::vector<std::thread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] { Work(plan, &region, counters, t); });
  }
  const auto begin = Clock::now();
  for (size_t period = 1; period <= plan.periods; ++period) {
    counters->period = period;
    std::this_thread::sleep_until(
        begin + std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(
                        plan.seconds * static_cast<double>(period))));
  }
  counters->period = plan.periods + 1;
  for (std::thread& worker : workers) worker.join();
  return 0;
}
