// SPDX-License-Identifier: Apache-2.0
// What must hold when all is quiet: every byte, every count, and that nothing
// grows. In the order of zswap's own stress list: content, entries, pools,
// counters, memory.
#include <cerrno>

#include "base/map_failure.h"
#include "compress/registry.h"
#include "torture_run.h"
#include "zpool/failure.h"
#include "zpool/zpool.h"

namespace uzswap::torture {
namespace {

// A few frames of emptied zspages are kept for reuse.
constexpr PageCount kIdlePoolPages = 64;
constexpr long kWarmUp = 4;
constexpr long kSlackKib = 16 * 1024;
constexpr long kSlackMappings = 64;

}  // namespace

void Run::CheckQuiet() {
  const WatchdogScope watched("checks");
  zswap_->FlushWork();
  zswap_->CheckInvariants();
  zswap_->parameters().CheckInvariants();
  cpuhp::System().CheckInvariants();
  const ZswapStats stats = zswap_->Stats();
  if (stats.pools > 1 + stats.dense_pools + stats.used_pools) {
    Fail("%llu pools, of which %llu hold entries",
         static_cast<unsigned long long>(stats.pools),
         static_cast<unsigned long long>(stats.used_pools));
  }
  CheckCounters();
  CheckContent();
  CheckCounters();
}

// No fault is injected now, so every page must be had.
void Run::CheckContent() {
  const Plan plan = plan_;
  plan_.device_errors = plan_.codec_errors = false;
  uint64_t i = plan_.seed;
  model_->ForEach([&](Cell& cell) {
    TORTURE_CHECK(zswap_->Contains(cell.slot) == (cell.content != 0));
    Load(cell, ++i % 8 == 0 ? Keep::kNo : Keep::kIfRoom);
    Watchdog::Step();
  });
  plan_ = plan;
}

void Run::CheckCounters() {
  const ZswapStats stats = zswap_->Stats();
  const Tally& t = *tally_;
  const uint64_t present = model_->present();
  TORTURE_CHECK(stats.stored_pages == present);
  TORTURE_CHECK(t.stores + t.no_memory == t.removed_by_load + t.invalidated +
                                              t.replaced + present +
                                              t.no_memory);
  TORTURE_CHECK(stats.zswpout == t.stores);
  TORTURE_CHECK(stats.duplicate_entry == t.replaced);
  TORTURE_CHECK(stats.same_filled_pages == t.same_filled);
  TORTURE_CHECK(stats.zswpin + stats.device_in == t.loads);
  TORTURE_CHECK(t.loads == t.kept + t.removed_by_load);
  TORTURE_CHECK(stats.device_read_fail + stats.decompress_fail >= t.io_errors);
  TORTURE_CHECK(stats.reject_kmemcache_fail == t.no_entries);
  TORTURE_CHECK(stats.pool_switches == t.switches);
  TORTURE_CHECK(stats.written_back_pages <= stats.zswpwb);
  if (device_ == nullptr) {
    TORTURE_CHECK(stats.zswpwb == 0 && stats.on_device == 0);
    return;
  }
  TORTURE_CHECK(stats.zswpwb == device_->writes);
  TORTURE_CHECK(stats.on_device == device_->used());
  TORTURE_CHECK(device_->writes == device_->frees + device_->used());
  TORTURE_CHECK(stats.device_read_fail == device_->read_fault.failed);
  TORTURE_CHECK(stats.device_write_fail >= device_->write_fault.failed);
}

// A switch that fails, at whichever step, leaves everything as it was.
void Run::CheckSwitchFailures(Random& random) {
  const WatchdogScope watched("failing switches");
  const uzswap_compressor* plugin =
      registry::At(static_cast<unsigned>(random.Below(6)));
  // What was loaded to be compared may have been the last of its pool.
  zswap_->FlushWork();
  const PageCount pools = zswap_->Stats().pools;
  for (unsigned k = 1;; ++k) {
    TORTURE_CHECK(k < 100);
    switch (random.Below(3)) {
      case 0:
        map_failure::FailNth(k);
        break;
      case 1:
        zpool_failure::FailNth(k);
        break;
      default:
        cpus_->FailNth(k, ENOMEM);
    }
    const Status s = zswap_->SwitchPool(
        *plugin, UZSWAP_COMPRESSOR_DEFAULT_LEVEL, ZpoolName(0));
    Heal();
    cpus_->FailNth(0, 0);
    if (s.ok()) break;
    TORTURE_CHECK(s.error() == ENOMEM);
    TORTURE_CHECK(zswap_->Stats().pools == pools);
    ++tally_->refused_switches;
  }
  ++tally_->switches;
  zswap_->FlushWork();
}

// Everything is forgotten: what is left is what an empty engine has.
void Run::Drain() {
  const WatchdogScope watched("drain");
  tally_->invalidated += model_->present();
  model_->ForEach([](Cell& cell) { cell.content = 0; });
  zswap_->Invalidate(Slot{0}, kSlotLimit);
  zswap_->FlushWork();
  zswap_->CheckInvariants();
  CheckCounters();
  const ZswapStats stats = zswap_->Stats();
  TORTURE_CHECK(stats.stored_pages == 0);
  TORTURE_CHECK(stats.compressed_bytes == 0);
  TORTURE_CHECK(stats.used_pools == 0);
  TORTURE_CHECK(stats.pools == 1 + stats.dense_pools);
  if (stats.pool_pages > kIdlePoolPages) {
    Fail("an empty pool has %llu frames",
         static_cast<unsigned long long>(stats.pool_pages));
  }
  TORTURE_CHECK(device_ == nullptr || device_->used() == 0);
}

// REQUIRES: no engine. The first few lives warm the C library up.
void Run::CheckProcess() {
  const ProcessState now = ProcessState::Settled(base_.threads);
  if (process_checks_++ < kWarmUp) {
    base_ = now;
    highest_resident_kib_ = std::max(highest_resident_kib_, now.resident_kib);
    return;
  }
  if (now.threads != base_.threads) {
    Fail("%ld threads, were %ld", now.threads, base_.threads);
  }
  if (now.descriptors != base_.descriptors) {
    Fail("%ld descriptors, were %ld", now.descriptors, base_.descriptors);
  }
  if (kSanitized) return;
  if (now.mappings > base_.mappings + kSlackMappings) {
    Fail("%ld mappings, were %ld", now.mappings, base_.mappings);
  }
  if (now.resident_kib > highest_resident_kib_ + kSlackKib) {
    Fail("%ld KiB resident, were %ld", now.resident_kib, highest_resident_kib_);
  }
}

// Setting up an engine fails at each of its steps in turn, and then does not.
Result<Zswap*> Run::CreateDespiteFailures(ZswapConfig config) {
  for (unsigned k = 1;; ++k) {
    TORTURE_CHECK(k < 200);
    switch (k % 3) {
      case 0:
        map_failure::FailNth(k / 3 + 1);
        break;
      case 1:
        zpool_failure::FailNth(k / 3 + 1);
        break;
      default:
        cpus_->FailNth(k / 3 + 1, ENOMEM);
    }
    const Result<Zswap*> zswap = Zswap::Create(config);
    const bool map_step = k % 3 == 0;
    Heal();
    cpus_->FailNth(0, 0);
    if (!zswap.ok()) {
      TORTURE_CHECK(zswap.error() == ENOMEM);
    } else if (map_step) {
      return zswap;
    } else {
      zswap.value()->Destroy();
    }
  }
}

}  // namespace uzswap::torture
