// SPDX-License-Identifier: Apache-2.0
// What batches cost with a codec, and what they gain with a device. Rounds of
// the things compared are interleaved; printed are the median of each, of the
// ratio within a round, and the ratio's quartiles.
//
// No device is measured. TimedDevice has no thread and does no work: a job is
// over `latency` after one of its engines was free, its result was prepared
// before. It shows waiting that overlaps, nothing else; the copies into and out
// of the slots are real. EmulatedDevice compresses with zstd on a thread of its
// own, so it needs a CPU of its own.
#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <vector>

#include "base/os.h"
#include "compress/acomp.h"
#include "compress/builtin.h"
#include "compress/offload_test_support.h"
#include "compress/registry.h"
#include "compress/testing.h"

namespace uzswap {
namespace {

using testing::EmulatedDevice;
using testing::PageBytes;
using testing::Workspace;

constexpr unsigned kMax = Batch::kMaxUnits;
constexpr int kRounds = 41;

const uzswap_compressor& Plugin(const char* name) {
  registry::RegisterBuiltins();
  return *registry::Find(name, nullptr).value();
}

// Does nothing, so that only the way to it is measured.
constexpr uzswap_compressor kNothing = {
    .struct_size = sizeof(uzswap_compressor),
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "nothing",
    .workspace_size = [](int) { return size_t{0}; },
    .init = [](void*, size_t, int) { return 0; },
    .compress =
        [](void*, const void*, size_t, void*, size_t, size_t* produced) {
          *produced = 100;
          return 0;
        },
    .decompress = [](void*, const void*, size_t, void*, size_t) { return 0; },
};

class TimedDevice final : public OffloadDevice {
 public:
  TimedDevice(unsigned engines, uint64_t latency_ns, uint32_t length)
      : free_at_(engines), latency_ns_(latency_ns), length_(length) {}
  unsigned capacity() const override { return 64; }
  Status Attach(const OffloadMemory&) override { return kOk; }
  Status Submit(const OffloadJob& job) override {
    uint64_t& engine = *std::min_element(free_at_.begin(), free_at_.end());
    engine = std::max(engine, os::MonotonicNs()) + latency_ns_;
    ready_at_[job.slot] = engine;
    return kOk;
  }
  Status Poll(unsigned slot, OffloadResult* result) override {
    if (os::MonotonicNs() < ready_at_[slot]) return Status::Error(EINPROGRESS);
    *result = {0, length_};
    return kOk;
  }
  Status Cancel(unsigned) override { return kOk; }
  Status Stop() override { return kOk; }

 private:
  std::vector<uint64_t> free_at_;
  const uint64_t latency_ns_;
  const uint32_t length_;
  std::array<uint64_t, 64> ready_at_{};
};

PageBytes pages[kMax];
PageBytes buffers[kMax];

void CompressAll(Acomp& acomp, SyncCodec codec, unsigned batch_size) {
  for (unsigned first = 0; first < kMax; first += batch_size) {
    Batch batch(AcompOp::kCompress, codec);
    for (unsigned i = first; i < first + batch_size; ++i) {
      batch.Add(ConstPage(pages[i]), std::span<std::byte>(buffers[i]));
    }
    acomp.Run(batch);
    CHECK(batch.first_error() == 0);
  }
}

void CompressDirectly(SyncCodec codec) {
  for (unsigned i = 0; i < kMax; ++i) {
    size_t produced = 0;
    CHECK(codec.plugin->compress(codec.workspace, pages[i].data(), kPageSize,
                                 buffers[i].data(), kPageSize, &produced) == 0);
    CHECK(produced > 0 && produced < kPageSize);
  }
}

double NsPerPage(const std::function<void()>& eight_pages, int repeat) {
  const uint64_t begin = os::MonotonicNs();
  for (int i = 0; i < repeat; ++i) eight_pages();
  return static_cast<double>(os::MonotonicNs() - begin) / (repeat * kMax);
}

double At(std::vector<double> v, size_t percent) {
  std::sort(v.begin(), v.end());
  return v[(v.size() - 1) * percent / 100];
}

void Compare(const char* title, int repeat, const std::function<void()>& a,
             const std::function<void()>& b) {
  std::vector<double> ns_a, ns_b, ratio;
  a();
  b();
  for (int round = 0; round < kRounds; ++round) {
    const bool a_first = round % 2 == 0;
    const double first = NsPerPage(a_first ? a : b, repeat);
    const double second = NsPerPage(a_first ? b : a, repeat);
    ns_a.push_back(a_first ? first : second);
    ns_b.push_back(a_first ? second : first);
    ratio.push_back(ns_a.back() / ns_b.back());
  }
  printf("%-46s %9.1f %9.1f %7.3f  %.3f ... %.3f\n", title, At(ns_a, 50),
         At(ns_b, 50), At(ratio, 50), At(ratio, 25), At(ratio, 75));
}

void CompareAdapter(const char* name, const uzswap_compressor& plugin,
                    int repeat) {
  const Workspace workspace(plugin);
  const SyncCodec codec{&plugin, workspace.get()};
  Acomp acomp;
  CHECK(acomp.Init({}).ok());
  char title[80];
  snprintf(title, sizeof title, "%s: one batch of 8 / direct calls", name);
  Compare(
      title, repeat, [&] { CompressAll(acomp, codec, kMax); },
      [&] { CompressDirectly(codec); });
}

void CompareOverlap(const char* title, OffloadDevice& device,
                    const uzswap_compressor& plugin, int repeat) {
  const Workspace workspace(plugin);
  const SyncCodec codec{&plugin, workspace.get()};
  Acomp acomp;
  CHECK(acomp.Init({.device = &device}).ok());
  Compare(
      title, repeat, [&] { CompressAll(acomp, codec, 1); },
      [&] { CompressAll(acomp, codec, kMax); });
  const OffloadStats stats = acomp.Stats();
  CHECK(stats.completed + stats.hung + stats.busy + stats.suspended ==
        2u * (kRounds * repeat + 1) * kMax);
  if (stats.hung + stats.busy + stats.suspended > 0) {
    printf("  (a codec did %lu of these pages)\n",
           stats.hung + stats.busy + stats.suspended);
  }
  CHECK(acomp.Release().ok());
}

int Main() {
  testing::Random random(1);
  for (PageBytes& page : pages) page = testing::TextPage(random);
  printf("%-46s %9s %9s %7s  %s\n", "ns per page: A / B", "A", "B", "A / B",
         "quartiles");
  CompareAdapter("codec that does nothing", kNothing, 20'000);
  CompareAdapter("lz4", Plugin("lz4"), 60);
  CompareAdapter("zstd", Plugin("zstd"), 10);
  for (const unsigned engines : {1, 2, 4, 8}) {
    for (const uint64_t us : {0, 5, 20}) {
      TimedDevice device(engines, us * 1000, 1500);
      char title[80];
      snprintf(title, sizeof title,
               "timed, %u engines, %2lu us: one by one / 8", engines, us);
      CompareOverlap(title, device, kNothing, us == 0 ? 200 : 10);
    }
  }
  EmulatedDevice device({.codec = &Plugin("zstd"), .engines = 1});
  CompareOverlap("thread with zstd: one by one / 8", device, Plugin("zstd"),
                 10);
  return 0;
}

}  // namespace
}  // namespace uzswap

int main() { return uzswap::Main(); }
