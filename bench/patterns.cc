// SPDX-License-Identifier: Apache-2.0
// One access pattern over one anonymous region, for comparing systems that keep
// memory under a limit. The program knows nothing of any of them.
//
//   patterns PATTERN THREADS MEGABYTES CONTENT [OPERATIONS]
//
// The region is filled with pages of CONTENT (a file of real pages), then read
// once from end to end, so that every run of every pattern starts from the same
// state; only then the pattern is measured. Each access touches one page,
// checks its tag and, for writes, makes the page different. Every page is
// compared whole at the end: a wrong byte is exit 1.
//
// zipfm: which pages are the popular ones changes eight times. mix: every
// second access belongs to a scan from end to end, the others to a fifth of the
// pages.
//
// Prints one JSON object: operations, seconds, CPU seconds, quantiles of the
// accesses that faulted (slower than 600 ns) in nanoseconds.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;
constexpr double kFaultNs = 600;
constexpr size_t kPhases = 8;

using Clock = std::chrono::steady_clock;

double Seconds(Clock::duration d) {
  return std::chrono::duration<double>(d).count();
}

double CpuSeconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  auto s = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) +
           1e-6 * static_cast<double>(t.tv_usec);
  };
  return s(u.ru_utime) + s(u.ru_stime);
}

struct Random {
  uint64_t state;
  uint64_t Next() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
  }
};

// The first 16 bytes of a page: which page it is and how often it was written.
struct Tag {
  uint64_t page;
  uint64_t version;
};

// Not to be managed by anybody: a small file mapping, shared.
struct Content {
  const char* pages;
  size_t count;
};

class Region {
 public:
  Region(size_t pages, Content content) : pages_(pages), content_(content) {
    base_ =
        static_cast<char*>(mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) {
      perror("patterns: mmap");
      exit(2);
    }
    madvise(base_, pages * kPage, MADV_NOHUGEPAGE);
  }
  void Fill(size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      memcpy(base_ + i * kPage, Source(i), kPage);
      *At(i) = {i, 0};
    }
  }
  bool Read(size_t i) { return At(i)->page == i; }
  bool Write(size_t i) {
    Tag* tag = At(i);
    const bool ok = tag->page == i;
    ++tag->version;
    return ok;
  }
  bool Verify() {
    for (size_t i = 0; i < pages_; ++i) {
      if (At(i)->page != i ||
          memcmp(base_ + i * kPage + sizeof(Tag), Source(i) + sizeof(Tag),
                 kPage - sizeof(Tag)) != 0) {
        fprintf(stderr, "patterns: page %zu has wrong content\n", i);
        return false;
      }
    }
    return true;
  }
  size_t pages() const { return pages_; }

 private:
  Tag* At(size_t i) { return reinterpret_cast<Tag*>(base_ + i * kPage); }
  const char* Source(size_t i) const {
    return content_.pages + (i % content_.count) * kPage;
  }
  size_t pages_;
  Content content_;
  char* base_;
};

// Zipf with exponent 0.99 over pages in a scattered order, by inversion.
class Zipf {
 public:
  explicit Zipf(size_t n) : cdf_(n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) {
      sum += std::pow(static_cast<double>(i + 1), -0.99);
      cdf_[i] = static_cast<float>(sum);
    }
    for (float& c : cdf_) c = static_cast<float>(c / sum);
  }
  // The pages are another order for each `phase`.
  size_t Pick(Random& random, size_t phase) const {
    const float u = static_cast<float>(random.Next() >> 40) * 0x1p-24f;
    const auto at = std::lower_bound(cdf_.begin(), cdf_.end(), u);
    const size_t rank =
        std::min(static_cast<size_t>(at - cdf_.begin()), cdf_.size() - 1);
    return (rank * 0x9E3779B1u + phase * 10007) % cdf_.size();
  }

 private:
  std::vector<float> cdf_;
};

struct Outcome {
  uint64_t wrong = 0;
  std::vector<uint32_t> slow;  // cycles
};

double CyclesPerNs() {
  const auto t0 = Clock::now();
  const uint64_t c0 = __rdtsc();
  while (Seconds(Clock::now() - t0) < 0.05) {
  }
  return static_cast<double>(__rdtsc() - c0) /
         (1e9 * Seconds(Clock::now() - t0));
}

template <typename Access>
void Timed(Outcome& out, uint32_t threshold, Access access) {
  const uint64_t c0 = __rdtsc();
  if (!access()) ++out.wrong;
  const uint64_t cycles = __rdtsc() - c0;
  if (cycles > threshold) {
    out.slow.push_back(
        static_cast<uint32_t>(std::min<uint64_t>(cycles, UINT32_MAX)));
  }
}

struct Job {
  std::string pattern;
  size_t operations;
  uint32_t threshold;
};

void Work(const Job& job, Region& region, const Zipf* zipf, size_t thread,
          size_t threads, Outcome& out) {
  const size_t n = region.pages() / threads;
  const size_t first = thread * n;
  Random random{0x9E3779B97F4A7C15ull + thread * 977};
  const bool write = job.pattern == "seqw" || job.pattern == "randw";
  const size_t operations = job.operations / threads;
  for (size_t k = 0; k < operations; ++k) {
    size_t i;
    if (job.pattern == "fill" || job.pattern[0] == 's') {
      i = first + k % n;
    } else if (job.pattern == "mix" && k % 2 == 0) {
      i = first + k / 2 % n;
    } else if (job.pattern == "mix") {
      i = (random.Next() % (region.pages() / 5)) * 0x9E3779B1u % region.pages();
    } else if (job.pattern == "zipf") {
      i = zipf->Pick(random, 0);
    } else if (job.pattern == "zipfm") {
      i = zipf->Pick(random, k * kPhases / operations);
    } else {
      i = random.Next() % region.pages();
    }
    Timed(out, job.threshold, [&] {
      if (job.pattern == "fill") {
        region.Fill(i, i + 1);
        return true;
      }
      return write ? region.Write(i) : region.Read(i);
    });
  }
}

double Quantile(std::vector<uint32_t>& v, double q, double cycles_per_ns) {
  if (v.empty()) return 0;
  const size_t at = std::min(
      v.size() - 1, static_cast<size_t>(q * static_cast<double>(v.size())));
  std::nth_element(v.begin(), v.begin() + static_cast<long>(at), v.end());
  return v[at] / cycles_per_ns;
}

Content LoadContent(const char* path) {
  const int fd = open(path, O_RDONLY);
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0 || st.st_size < static_cast<off_t>(kPage)) {
    fprintf(stderr, "patterns: %s: not a file of pages\n", path);
    exit(2);
  }
  void* p = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ,
                 MAP_SHARED, fd, 0);
  return {static_cast<char*>(p), static_cast<size_t>(st.st_size) / kPage};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fprintf(stderr,
            "usage: patterns fill|seq|seqw|rand|randw|zipf|zipfm|mix THREADS "
            "MEGABYTES CONTENT [OPERATIONS]\n");
    return 2;
  }
  const size_t threads = strtoul(argv[2], nullptr, 10);
  const size_t pages = strtoul(argv[3], nullptr, 10) * 256;
  const double cycles_per_ns = CyclesPerNs();
  Job job{argv[1], pages, static_cast<uint32_t>(kFaultNs * cycles_per_ns)};
  // Most zipf accesses hit: only a longer run reaches its steady state.
  if (job.pattern[0] == 'z' || job.pattern == "mix") job.operations *= 4;
  if (argc > 5) job.operations = strtoul(argv[5], nullptr, 10);
  Region region(pages, LoadContent(argv[4]));
  const Zipf zipf(job.pattern[0] == 'z' ? pages : 1);
  if (job.pattern != "fill") {
    region.Fill(0, pages);
    for (size_t i = 0; i < pages; ++i) {
      if (!region.Read(i)) return 1;
    }
  } else {
    job.operations = pages;
  }
  std::vector<Outcome> outcomes(threads);
  const double cpu0 = CpuSeconds();
  const auto t0 = Clock::now();
  std::vector<std::thread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back(
        [&, t] { Work(job, region, &zipf, t, threads, outcomes[t]); });
  }
  for (auto& w : workers) w.join();
  const double seconds = Seconds(Clock::now() - t0);
  const double cpu = CpuSeconds() - cpu0;
  std::vector<uint32_t> slow;
  uint64_t wrong = 0;
  for (auto& o : outcomes) {
    slow.insert(slow.end(), o.slow.begin(), o.slow.end());
    wrong += o.wrong;
  }
  if (wrong != 0 || !region.Verify()) {
    fprintf(stderr, "patterns: DATA LOST (%lu wrong tags)\n", wrong);
    return 1;
  }
  printf(
      "{\"operations\": %zu, \"seconds\": %.6f, \"cpu\": %.6f, "
      "\"faults\": %zu, \"p50\": %.0f, \"p99\": %.0f, \"p999\": %.0f}\n",
      job.operations, seconds, cpu, slow.size(),
      Quantile(slow, 0.5, cycles_per_ns), Quantile(slow, 0.99, cycles_per_ns),
      Quantile(slow, 0.999, cycles_per_ns));
  return 0;
}
