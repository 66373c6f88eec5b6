// SPDX-License-Identifier: Apache-2.0
// The life of an engine: set-up, accounts, fork, end; and the public calls.
#include <new>

#include "base/os.h"
#include "zswap/zswap.h"
#include "zswap/zswap_impl.h"

namespace uzswap {
namespace {

constinit LockClass tender_class{"pool tender"};
constinit LockClass recompressor_class{"recompression"};

}  // namespace

ByteCount Zswap::Impl::MetadataBytes() {
  ByteCount bytes = PageCeil(sizeof(Zswap) + sizeof(Impl)) + buffers.bytes() +
                    slab.touched_bytes() + table.touched_bytes();
  bytes += pools.metadata_bytes();
  if (device != nullptr) bytes += device->metadata_bytes();
  return bytes;
}

uint64_t Zswap::Impl::ToNs(uint64_t cycles) const {
  const uint64_t all = os::Cycles() - begin_cycles;
  const uint64_t ns = os::MonotonicNs() - begin_ns;
  const uint64_t ns_in_a_million = (ns >> 10) * (1 << 20) / ((all >> 10) + 1);
  return (cycles >> 10) * ns_in_a_million >> 10;
}

ZswapStats Zswap::Impl::Stats() {
  ZswapStats stats{};
#define UZSWAP_COUNTER(name, text) stats.name = events.Sum(Event::name);
#include "zswap/counters.def"
#undef UZSWAP_COUNTER
  stats.same_filled = gauges.Sum(Gauge::kSameFilled);
  stats.compressed = gauges.Sum(Gauge::kCompressed);
  stats.incompressible = gauges.Sum(Gauge::kRaw);
  stats.on_device = gauges.Sum(Gauge::kOnDevice);
  stats.compressed_bytes = gauges.Sum(Gauge::kCompressedBytes);
  stats.stored_pages = stats.same_filled + stats.compressed +
                       stats.incompressible + stats.on_device;
  const PoolList::Tier dense = pools.DenseTier();
  stats.dense_pools = pools.HasDense() ? 1 : 0;
  stats.dense_pages = dense.entries;
  stats.dense_bytes = dense.bytes;
  stats.dense_pool_pages = dense.frames;
  stats.pools = pools.live();
  stats.used_pools = pools.used();
  stats.pool_pages = PoolPages();
  stats.metadata_bytes = MetadataBytes();
  stats.pool_percent = limit.max_pool_percent();
  stats.pool_load_ns = ToNs(stats.pool_load_cycles);
  stats.device_load_ns = ToNs(stats.device_load_cycles);
  stats.disk_swapins = shrinker.disk_swapins();
  CountAges(stats.age_pages);
  if (device != nullptr) stats.device = device->Stats();
  return stats;
}

Status Zswap::Impl::Init(const ZswapConfig& config) {
  Status s = slab.Init(EntrySlab::kMaxEntries);
  if (s.ok()) s = table.Init();
  if (s.ok()) s = buffers.Init();
  if (s.ok()) {
    s = pools.Init({config.compressor, config.level, config.zpool});
  }
  if (!s.ok()) {
    Release();
    return s;
  }
  worker.BindToProcess();
  PrepareMigrator();
  tender.run = [](Work* work) {
    // A CPU that fails is no worse than one nobody knows of.
    cpuhp::Refresh().Ignore();
    static_cast<Item*>(work)->impl->pools.SetUpWanted();
  };
  tender.lock_class = &tender_class;
  tender.impl = this;
  recompressor.run = [](Work* work) {
    static_cast<Item*>(work)->impl->RecompressInBackground();
  };
  recompressor.lock_class = &recompressor_class;
  recompressor.impl = this;
  parameters.max_pool_percent = first_percent = config.max_pool_percent;
  parameters.accept_threshold_percent = config.accept_threshold_percent;
  parameters.Start(config.compressor->name, config.level, config.zpool);
  return kOk;
}

void Zswap::Impl::Release() {
  worker.StopAll();
  if (device != nullptr) {
    // The device outlives us and gets its objects back.
    for (uint64_t i = 1; i < slab.end(); ++i) {
      const Entry& entry = slab[EntryIndex{static_cast<uint32_t>(i)}];
      if (entry.kind == EntryKind::kOnDevice) FreeContent(entry);
    }
  }
  pools.Release();
  buffers.Release();
  table.Release();
  slab.Release();
}

namespace {

bool IsPercentage(unsigned value) { return value >= 1 && value <= 100; }

}  // namespace

Result<Zswap*> Zswap::Create(const ZswapConfig& config) {
  if (config.compressor == nullptr || config.zpool == nullptr ||
      !IsPercentage(config.max_pool_percent) ||
      !IsPercentage(config.accept_threshold_percent)) {
    return Status::Error(EINVAL);
  }
  constexpr size_t kBytes = PageCeil(sizeof(Impl) + sizeof(Zswap));
  const Result<void*> memory = os::Map(kBytes);
  if (!memory.ok()) return memory.status();
  auto* impl = new (memory.value()) Impl(config);
  if (const Status s = impl->Init(config); !s.ok()) {
    CHECK(os::Unmap(impl, kBytes).ok());
    return s;
  }
  auto* zswap = new (impl + 1) Zswap();
  zswap->impl_ = impl;
  return zswap;
}

void Zswap::Destroy() {
  impl_->Release();
  CHECK(os::Unmap(impl_, PageCeil(sizeof(Impl) + sizeof(Zswap))).ok());
}

void Zswap::StoreGroup(std::span<StoreUnit> units) { impl_->StoreGroup(units); }

Status Zswap::Store(Slot slot, ConstPage page) {
  DCHECK(Index(slot) < kSlotLimit);
  StoreUnit unit{slot, page.data(), kOk};
  impl_->StoreGroup({&unit, 1});
  return unit.status;
}

Result<bool> Zswap::Load(Slot slot, MutablePage page, Keep keep) {
  Neighbours beside;
  const Result<bool> kept = Load(slot, page, keep, beside);
  BringBack(beside);
  return kept;
}

Result<bool> Zswap::Load(Slot slot, MutablePage page, Keep keep,
                         Neighbours& beside) {
  DCHECK(Index(slot) < kSlotLimit);
  return impl_->Load(slot, page, keep, beside);
}

void Zswap::BringBack(const Neighbours& beside) {
  if (beside.pages != 0) impl_->BringBack(beside);
}

bool Zswap::Contains(Slot slot) {
  EntryTable::Cell cell(impl_->table, slot);
  return cell.entry() != kNoEntry;
}

void Zswap::Invalidate(Slot first, PageCount count) {
  DCHECK(Index(first) <= kSlotLimit && count <= kSlotLimit - Index(first));
  impl_->Invalidate(first, first + count);
}

void Zswap::Rename(Slot from, Slot to) { impl_->Rename(from, to); }

PageCount Zswap::Shrink(PageCount pages) {
  return impl_->Shrink(pages, Impl::Until::kCount);
}

void Zswap::Tend() {
  if (impl_->pools.WantContexts() || cpuhp::System().OutOfDate()) {
    (void)impl_->worker.Queue(impl_->tender);
  }
  impl_->TendDenseTier();
  impl_->BalanceTiers();
  constexpr PageCount kAgeAtOnce = 4096;
  (void)impl_->Age(kAgeAtOnce);
}

PageCount Zswap::ShrinkUnderPressure() { return impl_->ShrinkUnderPressure(); }

PageCount Zswap::Age(PageCount most) { return impl_->Age(most); }

PageCount Zswap::Compact() {
  constexpr unsigned kObjects = 128;
  const PageCount frames = impl_->PoolPages();
  const PageCount content =
      impl_->gauges.Sum(Gauge::kCompressedBytes) / kPageSize +
      impl_->gauges.Sum(Gauge::kRaw);
  if (frames < content + content / 8) return 0;
  const PageCount gone = impl_->pools.Compact(kObjects);
  impl_->events.Add(Event::pages_compacted, gone);
  return gone;
}

void Zswap::VisitClasses(VisitClass visit, void* argument) {
  // A reference keeps it, as an entry does.
  const PoolIndex index = impl_->pools.Acquire();
  Pool& pool = impl_->pools[index];
  for (unsigned i = 0; i < pool.class_count(); ++i) {
    visit(argument, pool.ClassStats(i));
  }
  impl_->pools.Drop(index);
}

PageCount Zswap::pool_pages() const { return impl_->PoolPages(); }

PageCount Zswap::metadata_pages() const {
  return PageCeil(impl_->MetadataBytes()) / kPageSize;
}

PageCount Zswap::device_pages() const {
  if (impl_->device == nullptr) return 0;
  const DeviceStats stats = impl_->device->Stats();
  return PageCeil(stats.live_bytes + stats.garbage_bytes) / kPageSize;
}

void Zswap::SetDeviceLimit(PageCount pages) {
  if (impl_->device == nullptr) return;
  impl_->device->SetSize(std::min(pages, impl_->device_pages_at_start));
}

void Zswap::SetTotalPages(PageCount total_pages) {
  impl_->limit.SetTotalPages(total_pages);
}

ZswapStats Zswap::Stats() { return impl_->Stats(); }

void Zswap::PrepareFork() {
  impl_->worker.PrepareFork();
  impl_->pools.LockAll();
  if (impl_->device != nullptr) impl_->device->PrepareFork();
  impl_->worker.LockForFork();
}

void Zswap::ParentAfterFork() {
  if (impl_->device != nullptr) impl_->device->ParentAfterFork();
  impl_->pools.UnlockAll();
  impl_->worker.ParentAfterFork();
}

Status Zswap::ChildAfterFork() {
  impl_->slab.ResetLocksInChild();
  impl_->table.ResetLocksInChild();
  impl_->lru.ResetLocksInChild();
  impl_->buffers.ResetInChild();
  impl_->entry_ages.seldom.ResetInChild();
  impl_->events.Reset();
  impl_->sweep_busy.store(false, std::memory_order_relaxed);
  impl_->balance_busy.store(false, std::memory_order_relaxed);
  impl_->costs_before = {};
  impl_->pools.ResetInChild();
  impl_->worker.ChildAfterFork();
  if (impl_->device != nullptr) {
    // A child without room of its own on the device can still read everything;
    // that it cannot write shows in pool_limit_exceeded when it matters.
    impl_->device->ChildAfterFork().Ignore();
  }
  return kOk;
}

Status Zswap::SwitchPool(const uzswap_compressor& compressor, int level,
                         const char* zpool) {
  return impl_->SwitchPool({&compressor, level, zpool});
}

Status Zswap::SetRecompressor(const uzswap_compressor* compressor, int level) {
  return impl_->SetRecompressor(compressor, level);
}

PageCount Zswap::Recompress(PageCount most) { return impl_->Recompress(most); }

Parameters& Zswap::parameters() { return impl_->parameters; }

void Zswap::ParametersChanged() {
  if (impl_->parameters.max_pool_percent != impl_->first_percent) {
    impl_->balancing.store(false, std::memory_order_relaxed);
  }
  impl_->ParametersChanged();
}

void Zswap::FlushWork() { impl_->worker.Drain(); }

void Zswap::RunStrandedWork() { impl_->worker.RunStranded(); }

void Zswap::ForbidThreads() { impl_->worker.ForbidThreads(); }

void Zswap::SetMigrationRoom(HasRoom room, const void* argument) {
  impl_->has_room = room;
  impl_->room_argument = argument;
}

void Zswap::SetAwayCheck(IsAway away, const void* argument) {
  impl_->is_away = away;
  impl_->away_argument = argument;
}

void Zswap::ContinueMigration() { impl_->ContinueMigration(); }

void Zswap::CheckInvariants() { impl_->CheckInvariants(); }

}  // namespace uzswap
