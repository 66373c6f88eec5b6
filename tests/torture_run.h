// SPDX-License-Identifier: Apache-2.0
// The torture program: one engine, several threads that use it and know what
// they stored, and at the same time everything that can disturb them. A run is
// a row of epochs; after each, all is quiet and everything must add up. Some
// epochs share an engine: that is a life. What an epoch does is a function of
// seed and number; how the threads meet is up to the machine.
#ifndef UZSWAP_TESTS_TORTURE_RUN_H_
#define UZSWAP_TESTS_TORTURE_RUN_H_

#include <atomic>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>

#include "base/cpuhp_testing.h"
#include "base/watchdog.h"
#include "compress/compressor.h"
#include "support/faulty_device.h"
#include "torture_model.h"
#include "torture_process.h"
#include "zswap/parameters.h"
#include "zswap/zswap.h"

namespace uzswap::torture {

struct Options {
  uint64_t seed = 1;
  double seconds = 1800;
  unsigned threads = 4;
  uint64_t first_epoch = 0;
};

// Prints what is wrong, and how to see it again; then dies.
[[noreturn]] __attribute__((format(printf, 1, 2))) void Fail(const char* format,
                                                             ...);
// What Fail and a dying engine say besides.
void NoteForFailures(const Options& options, uint64_t epoch);

#define TORTURE_CHECK(condition)                                            \
  do {                                                                      \
    if (!(condition)) {                                                     \
      ::uzswap::torture::Fail("%s:%d: %s", __FILE__, __LINE__, #condition); \
    }                                                                       \
  } while (0)

// Which disturbances an epoch has.
struct Plan {
  uint64_t seed;
  unsigned milliseconds;
  bool switches, hotplug, hotplug_failures, allocation_failures, limits;
  bool stretch, device_errors, codec_errors, forks, pressure, drain;
  static Plan Of(uint64_t seed, uint64_t epoch);
  std::string Describe() const;
};

// What was done, to be compared with what the engine counted.
struct Tally {
  std::atomic<uint64_t> stores{0};
  std::atomic<uint64_t> no_memory{0};
  std::atomic<uint64_t> replaced{0};
  std::atomic<uint64_t> same_filled{0};
  std::atomic<uint64_t> loads{0};
  std::atomic<uint64_t> kept{0};
  std::atomic<uint64_t> removed_by_load{0};
  std::atomic<uint64_t> invalidated{0};
  std::atomic<uint64_t> renames{0};
  std::atomic<uint64_t> io_errors{0};
  std::atomic<uint64_t> switches{0};
  std::atomic<uint64_t> refused_switches{0};
  std::atomic<uint64_t> forks{0};
  std::atomic<uint64_t> no_entries{0};
};

// No call is in flight while somebody has it closed.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) {
      // A pthread lock prefers readers; there are always some here.
      while (gate_.closing_) std::this_thread::yield();
      gate_.mutex_.lock_shared();
    }
    ~Pass() { gate_.mutex_.unlock_shared(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate& gate_;
  };
  void Close() {
    closing_ = true;
    mutex_.lock();
  }
  void Open() {
    mutex_.unlock();
    closing_ = false;
  }

 private:
  std::atomic<bool> closing_{false};
  std::shared_mutex mutex_;
};

// The codec that fails on demand: "torture", a copy of lz4. It refuses level
// 13 always.
namespace codec {
const uzswap_compressor* Table();
extern std::atomic<unsigned> compress_every;    // every k-th fails; 0: none
extern std::atomic<unsigned> decompress_every;  // the same
void Heal();
}  // namespace codec

class Run final : public ParameterHost {
 public:
  explicit Run(const Options& options);
  // One engine from here to EndLife.
  void BeginLife(uint64_t seed);
  void EndLife();
  void Epoch(uint64_t number);
  bool InLife() const { return zswap_ != nullptr; }
  void CheckProcess();

  Status SwitchPool(const CompressorChoice& compressor,
                    const char* zpool) override;
  Status SetRecompressor(const CompressorChoice* compressor) override;
  void Changed() override { zswap_->ParametersChanged(); }

 private:
  static constexpr unsigned kThreads = 16;  // at most

  // torture_users.cc: threads that keep a program's pages.
  void User(unsigned thread);
  void Use(unsigned thread, Random& random);
  void UseShared(unsigned thread, Random& random);
  void Store(Cell& cell, unsigned thread);
  void StoreGroup(OwnCells& cells, unsigned thread, Random& random);
  uint64_t NextContent(unsigned thread);
  void Stored(Cell& cell, uint64_t content, const PageBuffer& page, Status s);
  void Load(Cell& cell, Keep keep);
  void Invalidate(Cell& cell);
  void InvalidateRange(OwnCells& cells, Random& random);
  void Rename(Cell& from, Cell& to);

  // torture_storms.cc: threads that disturb them.
  void Switcher(Random random);
  void DirectSwitcher(Random random);
  void TrySwitch(Random& random);
  void Hotplug(Random random);
  void Limits(Random random);
  void TryParameter(Random& random);
  void Failures(Random random);
  static void InstallHooks();
  void SetFaults(Random& random);
  void Presser(Random random);
  void Heal();

  // torture_fork.cc
  void Forker(Random random);
  void ForkOnce(uint64_t seed);
  [[noreturn]] void Child(uint64_t seed);
  bool ChildIsRight(Random& random);

  // torture_checks.cc: at quiet points.
  void CheckQuiet();
  void CheckContent();
  void CheckCounters();
  void CheckSwitchFailures(Random& random);
  void Drain();
  Result<Zswap*> CreateDespiteFailures(ZswapConfig config);

  void RunThreads();
  bool Stopped() const { return stop_.load(std::memory_order_relaxed); }

  const Options options_;
  Plan plan_{};
  Zswap* zswap_ = nullptr;
  std::unique_ptr<cpuhp::Simulator> cpus_;
  std::unique_ptr<FaultyDevice> device_;  // may be null
  std::optional<Model> model_;
  std::unique_ptr<Tally> tally_;  // of this life
  Gate gate_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> operations_{0};
  std::array<uint64_t, kThreads> next_content_{};
  std::mutex parameters_mutex_;  // Set and Format are seen as one
  std::string accepted_compressor_;
  ProcessState base_{};
  long highest_resident_kib_ = 0;
  unsigned process_checks_ = 0;
};

}  // namespace uzswap::torture

#endif  // UZSWAP_TESTS_TORTURE_RUN_H_
