// SPDX-License-Identifier: Apache-2.0
// For tests and benchmarks only: a compression device made of a codec. It has a
// fixed number of descriptors, engines (threads) that finish in any order, and
// fails as it is told: errors, refusals, wrong lengths, damaged results, jobs
// that hang and write late. With no engines the test runs the jobs itself.
//
// It dies if it is given a slot that it still owns: that is the promise the
// queue makes to real devices.
#ifndef UZSWAP_COMPRESS_OFFLOAD_TEST_SUPPORT_H_
#define UZSWAP_COMPRESS_OFFLOAD_TEST_SUPPORT_H_

#include <uzswap/compressor.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "compress/offload.h"

namespace uzswap::testing {

// A zero-filled, initialised workspace.
class Workspace {
 public:
  explicit Workspace(const uzswap_compressor& plugin)
      : bytes_(plugin.workspace_size(kLevel)),
        data_(aligned_alloc(64, (bytes_ + 127) / 64 * 64)) {
    memset(data_, 0, bytes_);
    CHECK(plugin.init(data_, bytes_, kLevel) == 0);
  }
  ~Workspace() { free(data_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* get() const { return data_; }

 private:
  static constexpr int kLevel = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  size_t bytes_;
  void* data_;
};

struct Fault {
  enum Kind {
    kNone,
    kError,        // writes rubbish, then says `value`
    kRefuse,       // Submit says `value`
    kWrongLength,  // says `value` bytes
    kDamage,       // flips bits of a result that it calls good
    kHang,         // until ReleaseHung; then writes rubbish and says it is good
  };
  Kind kind = kNone;
  int value = 0;
};

class EmulatedDevice final : public OffloadDevice {
 public:
  struct Settings {
    const uzswap_compressor* codec = nullptr;
    unsigned slots = 64;                  // what capacity() says
    unsigned descriptors = 64;            // jobs it takes before EBUSY
    unsigned engines = 0;                 // threads; 0: RunJob does the work
    std::chrono::nanoseconds latency{0};  // of a job, asleep in an engine
    uint64_t shuffle_seed = 0;  // not 0: queued jobs are taken in any order
    int attach_error = 0;
    bool can_stop = true;  // false: hung jobs outlive Stop
    // What happens to the job of this number (0, 1 ...); called under a lock.
    std::function<Fault(uint64_t, const OffloadJob&)> plan = {};
  };

  explicit EmulatedDevice(Settings settings)
      : settings_(std::move(settings)),
        random_(settings_.shuffle_seed),
        own_workspace_(*settings_.codec) {
    for (unsigned i = 0; i < settings_.engines; ++i) {
      engines_.emplace_back([this] { Engine(); });
    }
  }
  ~EmulatedDevice() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& engine : engines_) {
      if (engine.joinable()) engine.join();
    }
  }
  EmulatedDevice(const EmulatedDevice&) = delete;
  EmulatedDevice& operator=(const EmulatedDevice&) = delete;

  unsigned capacity() const override { return settings_.slots; }

  Status Attach(const OffloadMemory& memory) override {
    CHECK(reinterpret_cast<uintptr_t>(memory.pages) % kPageSize == 0);
    CHECK(reinterpret_cast<uintptr_t>(memory.records) % kPageSize == 0);
    const std::lock_guard lock(mutex_);
    memory_ = memory;
    jobs_.resize(memory.slots);
    return Status::Error(settings_.attach_error);
  }

  Status Submit(const OffloadJob& job) override {
    const std::lock_guard lock(mutex_);
    CHECK(!stopping_ && job.slot < jobs_.size());
    CHECK(job.source_bytes >= 1 && job.source_bytes <= kPageSize);
    CHECK(job.room <= kPageSize);
    CHECK(jobs_[job.slot].state == State::kIdle);  // else it is still ours
    if (owned_ >= settings_.descriptors) return Status::Error(EBUSY);
    const Fault fault = settings_.plan ? settings_.plan(number_, job) : Fault{};
    ++number_;
    if (fault.kind == Fault::kRefuse) return Status::Error(fault.value);
    jobs_[job.slot] = {job, fault, State::kQueued, {}};
    ++owned_;
    queue_.push_back(job.slot);
    changed_.notify_one();
    return kOk;
  }

  Status Poll(unsigned slot, OffloadResult* result) override {
    const std::lock_guard lock(mutex_);
    Job& job = jobs_[slot];
    CHECK(job.state != State::kIdle);
    if (job.state != State::kDone) return Status::Error(EINPROGRESS);
    *result = job.result;
    LetGo(job);
    return kOk;
  }

  Status Cancel(unsigned slot) override {
    const std::lock_guard lock(mutex_);
    Job& job = jobs_[slot];
    CHECK(job.state != State::kIdle);
    if (job.state == State::kRunning || job.state == State::kHung) {
      return Status::Error(EBUSY);
    }
    if (job.state == State::kQueued) std::erase(queue_, slot);
    LetGo(job);
    return kOk;
  }

  // Queued jobs are dropped, running ones end first. Hung ones are dropped too
  // if it can stop.
  Status Stop() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      queue_.clear();
    }
    changed_.notify_all();
    for (std::thread& engine : engines_) engine.join();
    engines_.clear();
    const std::lock_guard lock(mutex_);
    bool hung = false;
    for (Job& job : jobs_) {
      if (job.state != State::kHung) continue;
      hung = true;
      if (settings_.can_stop) LetGo(job);
    }
    return hung && !settings_.can_stop ? Status::Error(ETIMEDOUT) : kOk;
  }

  // ---- what only tests call

  // Without engines: runs the queued job at this place (0: the oldest). False:
  // there are not so many.
  bool RunJob(size_t place = 0) {
    std::unique_lock lock(mutex_);
    if (place >= queue_.size()) return false;
    Run(TakeQueued(place), own_workspace_.get(), lock);
    return true;
  }
  void RunAllJobs() {
    while (RunJob()) {
    }
  }
  // Every hung job now writes its whole destination, and is over.
  unsigned ReleaseHung() {
    const std::lock_guard lock(mutex_);
    unsigned released = 0;
    for (Job& job : jobs_) {
      if (job.state != State::kHung) continue;
      Scribble(job);
      job.result = {0, 100};
      job.state = State::kDone;
      ++released;
    }
    return released;
  }
  size_t queued() {
    const std::lock_guard lock(mutex_);
    return queue_.size();
  }
  // Jobs it has, whether queued, running, hung or not yet polled.
  unsigned owned() {
    const std::lock_guard lock(mutex_);
    return owned_;
  }
  uint64_t submissions() {
    const std::lock_guard lock(mutex_);
    return number_;
  }

 private:
  enum class State { kIdle, kQueued, kRunning, kHung, kDone };
  struct Job {
    OffloadJob job;
    Fault fault;
    State state = State::kIdle;
    OffloadResult result;
  };

  void LetGo(Job& job) {
    job.state = State::kIdle;
    --owned_;
  }

  unsigned TakeQueued(size_t place) {
    const unsigned slot = queue_[place];
    queue_.erase(queue_.begin() + static_cast<ptrdiff_t>(place));
    jobs_[slot].state = State::kRunning;
    return slot;
  }

  void Scribble(const Job& job) {
    memset(memory_.destination(job.job.slot).data(), 0xee, kPageSize);
  }

  // The work itself is done without the lock, as devices do it.
  void Run(unsigned slot, void* workspace, std::unique_lock<std::mutex>& lock) {
    Job& job = jobs_[slot];
    if (job.fault.kind == Fault::kHang) {
      job.state = State::kHung;
      return;
    }
    lock.unlock();
    if (settings_.latency.count() > 0) {
      std::this_thread::sleep_for(settings_.latency);
    }
    job.result = Work(job, workspace);
    lock.lock();
    job.state = State::kDone;
  }

  OffloadResult Work(const Job& job, void* workspace) {
    const MutablePage to = memory_.destination(job.job.slot);
    if (job.fault.kind == Fault::kError) {
      Scribble(job);
      return {job.fault.value, 0};
    }
    const MutablePage from = memory_.source(job.job.slot);
    size_t length = kPageSize;
    const int error = job.job.op == AcompOp::kCompress
                          ? settings_.codec->compress(
                                workspace, from.data(), job.job.source_bytes,
                                to.data(), job.job.room, &length)
                          : settings_.codec->decompress(workspace, from.data(),
                                                        job.job.source_bytes,
                                                        to.data(), kPageSize);
    if (error != 0) return {error, 0};
    if (job.fault.kind == Fault::kDamage) to[length / 2] ^= std::byte{0x55};
    if (job.fault.kind == Fault::kWrongLength) {
      return {0, static_cast<uint32_t>(job.fault.value)};
    }
    return {0, static_cast<uint32_t>(length)};
  }

  void Engine() {
    const Workspace workspace(*settings_.codec);
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      const size_t place =
          settings_.shuffle_seed == 0 ? 0 : random_() % queue_.size();
      Run(TakeQueued(place), workspace.get(), lock);
    }
  }

  const Settings settings_;
  std::mutex
      mutex_;  // guards all below; pages of running jobs are the engine's
  std::condition_variable changed_;
  std::mt19937_64 random_;
  OffloadMemory memory_{};
  std::vector<Job> jobs_;  // by slot
  std::deque<unsigned> queue_;
  uint64_t number_ = 0;
  unsigned owned_ = 0;
  bool stopping_ = false;
  const Workspace own_workspace_;
  std::vector<std::thread> engines_;
};

}  // namespace uzswap::testing

#endif  // UZSWAP_COMPRESS_OFFLOAD_TEST_SUPPORT_H_
