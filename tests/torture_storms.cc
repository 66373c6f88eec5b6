// SPDX-License-Identifier: Apache-2.0
// The threads that disturb the users: switches of pools, CPUs that come and go,
// limits that swing, failures of every kind.
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "base/map_failure.h"
#include "base/os.h"
#include "compress/registry.h"
#include "torture_run.h"
#include "zpool/failure.h"
#include "zpool/zpool.h"
#include "zswap/test_hooks.h"

namespace uzswap::torture {
namespace {

void SleepUs(uint64_t us) {
  std::this_thread::sleep_for(std::chrono::microseconds(us));
}

// Every k-th Store gets no entry; 0: all do.
std::atomic<unsigned> no_entry_every{0};
std::atomic<uint64_t> no_entry_asked{0};
std::atomic<uint64_t> no_entry_hits{0};

bool NoEntry() {
  const unsigned k = no_entry_every.load(std::memory_order_relaxed);
  if (k == 0 || ++no_entry_asked % k != 0) return false;
  ++no_entry_hits;
  return true;
}

// Makes the moments long in which others must not come too near: now and then a
// sleep, more often a turn for somebody else. Called on threads without libc.
std::atomic<bool> stretching{false};
std::atomic<unsigned> stretches{0};

void Stretch() {
  if (!stretching.load(std::memory_order_relaxed)) return;
  const unsigned n = stretches.fetch_add(1, std::memory_order_relaxed);
  if (n % 31 == 0) {
    const uint32_t never = 0;
    os::FutexWait(&never, 0, 300'000).Ignore();  // a sleep
  } else if (n % 5 == 0) {
    os::Yield();
  }
}
void StretchFor(Slot) { Stretch(); }

unsigned Zpools() {
  unsigned count = 0;
  while (ZpoolName(count) != nullptr) ++count;
  return count;
}

CompressorChoice PickCompressor(Random& random) {
  unsigned count = 0;
  while (registry::At(count) != nullptr) ++count;
  const uzswap_compressor& plugin =
      *registry::At(static_cast<unsigned>(random.Below(count)));
  CompressorChoice choice;
  strncpy(choice.name.text, plugin.name, ParameterText::kBytes - 1);
  if (random.Below(2) == 0 && UZSWAP_COMPRESSOR_HAS(&plugin, max_level)) {
    const int low = UZSWAP_COMPRESSOR_HAS(&plugin, min_level)
                        ? std::max(plugin.min_level, 1)
                        : 1;
    const auto span = static_cast<uint64_t>(
        std::max(1, std::min(plugin.max_level - low + 1, 6)));
    choice.level = low + static_cast<int>(random.Below(span));
  }
  return choice;
}

std::string Text(const CompressorChoice& choice) {
  std::string text = choice.name.text;
  if (choice.level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) return text;
  return text + ":" + std::to_string(choice.level);
}

}  // namespace

// ---- pools

Status Run::SwitchPool(const CompressorChoice& compressor, const char* zpool) {
  const Result<const uzswap_compressor*> plugin =
      registry::Find(compressor.name.text, nullptr);
  if (!plugin.ok()) return plugin.status();
  const Status s = zswap_->SwitchPool(*plugin.value(), compressor.level, zpool);
  ++(s.ok() ? tally_->switches : tally_->refused_switches);
  return s;
}

Status Run::SetRecompressor(const CompressorChoice* compressor) {
  if (compressor == nullptr) return zswap_->SetRecompressor(nullptr, 0);
  const Result<const uzswap_compressor*> plugin =
      registry::Find(compressor->name.text, nullptr);
  if (!plugin.ok()) return plugin.status();
  return zswap_->SetRecompressor(plugin.value(), compressor->level);
}

// By name, as a user does, with what must be refused in between.
void Run::Switcher(Random random) {
  while (!Stopped()) {
    const Gate::Pass pass(gate_);
    const WatchdogScope watched("Parameters::Set(compressor)");
    TrySwitch(random);
  }
}

void Run::TrySwitch(Random& random) {
  struct Wrong {
    const char* name;
    const char* value;
    int error;
  };
  static constexpr Wrong kWrong[] = {{"compressor", "nosuch", ENOENT},
                                     {"compressor", "", ENOENT},
                                     {"compressor", "../lz4", ENOENT},
                                     {"zpool", "zlost", ENOENT},
                                     {"compressor", "torture:13", EINVAL},
                                     {"compressor", "zstd:x", EINVAL},
                                     {"zpool", "", ENOENT}};
  Parameters& parameters = zswap_->parameters();
  const std::lock_guard lock(parameters_mutex_);
  if (random.Below(4) == 0) {
    const Wrong& wrong = kWrong[random.Below(std::size(kWrong))];
    const Status s = parameters.Set(wrong.name, wrong.value, this);
    // Setting up may fail before the level is looked at.
    if (s.error() != wrong.error && s.error() != ENOMEM &&
        s.error() != ENOSPC) {
      Fail("%s = '%s': error %d", wrong.name, wrong.value, s.error());
    }
  } else if (random.Below(4) == 0) {
    const std::string text =
        random.Below(3) == 0 ? "none" : Text(PickCompressor(random));
    const Status s = parameters.Set("recompressor", text.c_str(), this);
    if (!s.ok() && s.error() != ENOMEM && s.error() != ENOSPC) {
      Fail("recompressor = %s: error %d", text.c_str(), s.error());
    }
  } else if (random.Below(8) == 0) {
    const char* zpool =
        ZpoolName(static_cast<unsigned>(random.Below(Zpools())));
    (void)parameters.Set("zpool", zpool, this).ok();
  } else {
    const std::string text = Text(PickCompressor(random));
    const Status s = parameters.Set("compressor", text.c_str(), this);
    if (s.ok()) {
      accepted_compressor_ = text;
    } else if (s.error() != ENOMEM && s.error() != ENOSPC) {
      Fail("compressor = %s: error %d", text.c_str(), s.error());
    }
  }
  ParameterText now;
  TORTURE_CHECK(parameters.Format("compressor", &now).ok());
  if (accepted_compressor_ != now.text) {
    Fail("compressor is '%s', should be '%s'", now.text,
         accepted_compressor_.c_str());
  }
}

// As the engine's own callers do, and as fast as it goes: there and back
// between two that exist, so that pools are revived.
void Run::DirectSwitcher(Random random) {
  while (!Stopped()) {
    const Gate::Pass pass(gate_);
    const WatchdogScope watched("SwitchPool");
    const CompressorChoice two[] = {PickCompressor(random),
                                    PickCompressor(random)};
    const char* zpool =
        ZpoolName(static_cast<unsigned>(random.Below(Zpools())));
    for (uint64_t i = 0, end = 1 + random.Below(8); i < end; ++i) {
      const Status s = SwitchPool(two[i % 2], zpool);
      if (!s.ok() && s.error() != ENOMEM && s.error() != ENOSPC) {
        Fail("SwitchPool to %s: error %d", Text(two[i % 2]).c_str(), s.error());
      }
    }
  }
}

// ---- CPUs

// Does not stop for a fork: the machine must hold it off.
void Run::Hotplug(Random random) {
  while (!Stopped()) {
    const WatchdogScope watched("hotplug");
    if (plan_.hotplug_failures) {
      switch (random.Below(3)) {
        case 0:
          cpus_->FailNth(static_cast<unsigned>(1 + random.Below(20)), ENOMEM);
          break;
        case 1:
          cpus_->FailAtRandom(static_cast<unsigned>(random.Below(6)),
                              random.Next());
          break;
        default:
          cpus_->FailCpu(static_cast<unsigned>(random.Below(cpus_->Possible())),
                         random.Below(2) == 0 ? ENOMEM : 0);
      }
    }
    (void)cpus_->Storm(random.Next(), 20);
    Watchdog::Step();
    SleepUs(random.Below(2000));
  }
}

// ---- limits

void Run::Limits(Random random) {
  constexpr PageCount kTotals[] = {1, 100, 300, 1000, 1 << 20, 1 << 20};
  while (!Stopped()) {
    {
      const Gate::Pass pass(gate_);
      const WatchdogScope watched("limits");
      zswap_->SetTotalPages(kTotals[random.Below(std::size(kTotals))]);
      TryParameter(random);
    }
    SleepUs(random.Below(3000));
  }
}

void Run::TryParameter(Random& random) {
  Parameters& parameters = zswap_->parameters();
  const std::string percent = std::to_string(random.Below(101));
  const char* yes_or_no = random.Below(3) == 0 ? "N" : "Y";
  struct Setting {
    const char* name;
    const char* value;
    int error;
  };
  const Setting settings[] = {
      {"max_pool_percent", percent.c_str(), 0},
      {"accept_threshold_percent", percent.c_str(), 0},
      {"max_pool_percent", random.Below(2) == 0 ? "1" : "20", 0},
      {"enabled", yes_or_no, 0},
      {"shrinker_enabled", yes_or_no, 0},
      {"max_pool_percent", "101", EINVAL},
      {"enabled", "perhaps", EINVAL},
      {"nosuch", "1", ENOENT}};
  const Setting& setting = settings[random.Below(std::size(settings))];
  const Status s = parameters.Set(setting.name, setting.value, this);
  if (s.error() != setting.error) {
    Fail("%s = '%s': error %d", setting.name, setting.value, s.error());
  }
}

void Run::Presser(Random random) {
  while (!Stopped()) {
    {
      const Gate::Pass pass(gate_);
      const WatchdogScope watched("Shrink, Compact, Stats");
      (void)zswap_->Shrink(random.Below(40));
      (void)zswap_->Recompress(random.Below(40));
      (void)zswap_->Compact();
      zswap_->Tend();
      const ZswapStats stats = zswap_->Stats();
      TORTURE_CHECK(stats.pools >= 1 && stats.pools <= 32);
      (void)zswap_->memory_pages();
      // The engine's own thread is not the only one that may run its work.
      if (random.Below(20) == 0) zswap_->FlushWork();
    }
    SleepUs(random.Below(1000));
  }
}

// ---- failures

// Before there is another thread: hooks are plain pointers.
void Run::InstallHooks() {
  zswap_test_hooks = {.after_select = StretchFor,
                      .before_finish = StretchFor,
                      .no_entry = NoEntry,
                      .before_replace = Stretch,
                      .in_acquire = Stretch,
                      .after_grace = Stretch,
                      .pool_visited = Stretch,
                      .before_return = StretchFor,
                      .swapin_window = 8};
}

void Run::Failures(Random random) {
  const uint64_t before = no_entry_hits;
  stretching = plan_.stretch;
  while (!Stopped()) {
    SetFaults(random);
    SleepUs(200 + random.Below(2000));
  }
  Heal();
  tally_->no_entries += no_entry_hits - before;
}

void Run::SetFaults(Random& random) {
  const auto sometimes = [&](unsigned below) {
    return random.Below(2) == 0
               ? 0
               : static_cast<unsigned>(1 + random.Below(below));
  };
  if (plan_.allocation_failures) {
    zpool_failure::FailNth(1 + random.Below(12));
    map_failure::FailNth(random.Below(6));
    no_entry_every = sometimes(30);
  }
  if (plan_.codec_errors) {
    codec::compress_every = sometimes(10);
    codec::decompress_every = sometimes(20);
  }
  if (!plan_.device_errors || device_ == nullptr) return;
  const int errors[] = {EIO, ENOSPC, EDQUOT};
  device_->write_fault.Set(sometimes(8), errors[random.Below(3)]);
  device_->read_fault.Set(sometimes(20), EIO);
  device_->delay_us = random.Below(8) == 0 ? random.Below(200) : 0;
}

void Run::Heal() {
  stretching = false;
  no_entry_every = 0;
  zpool_failure::FailNth(0);
  map_failure::FailNth(0);
  codec::Heal();
  if (device_ == nullptr) return;
  device_->write_fault.Clear();
  device_->read_fault.Clear();
  device_->delay_us = 0;
}

}  // namespace uzswap::torture
