// SPDX-License-Identifier: Apache-2.0
#include "pager/pager.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "base/text.h"
#include "pager/test_hooks.h"

namespace uzswap {
namespace {

bool HugePagesAlways() {
  const Result<int> fd =
      os::Open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY, 0);
  if (!fd.ok()) return false;
  char text[64] = {};
  const Result<size_t> n = os::ReadFile(fd.value(), text, sizeof(text) - 1);
  os::Close(fd.value());
  return n.ok() && StartsWith(text, "[always]");
}

}  // namespace

constinit LockClass Core::map_lock_class{"map"};

Status Pager::Open(uzswap_evict_method method, const char** what) {
  *what = "userfaultfd";
  UZSWAP_RETURN_IF_ERROR(core_.uffd.Open());
  if (method == UZSWAP_EVICT_MOVE && !core_.uffd.can_move()) {
    *what = "UFFDIO_MOVE (Linux 6.8), which evict method \"move\" needs,";
    return Status::Error(EOPNOTSUPP);
  }
  *what = "/proc/self/statm, status and task";
  UZSWAP_RETURN_IF_ERROR(core_.budget.Open());
  *what = "160 GiB of address space for tables (see ulimit -v)";
  UZSWAP_RETURN_IF_ERROR(core_.words.Init(kSlotLimit));
  UZSWAP_RETURN_IF_ERROR(core_.managed.Init());
  {
    ScopedExclusiveLock lock(core_.map_lock);
    UZSWAP_RETURN_IF_ERROR(core_.ranges.Init());
  }
  UZSWAP_RETURN_IF_ERROR(core_.blocks.Init());
  UZSWAP_RETURN_IF_ERROR(core_.bounce.Init());
  UZSWAP_RETURN_IF_ERROR(staging_.Init());
  dropper_.Probe();
  method_ = method;
  thp_always_ = HugePagesAlways() || pager_test_hooks.thp_always;
  first_break_ = static_cast<uint64_t>(os::Syscall(SYS_brk, 0));
  return kOk;
}

void Pager::Start(PageCount limit, uzswap_tree* tree, Zswap* zswap) {
  core_.zswap = zswap;
  core_.budget.tree().Attach(tree, limit);
  core_.budget.Start(zswap);
  keeper_.BindToProcess();
  zswap->SetMigrationRoom(
      [](const void* budget) {
        return static_cast<const Budget*>(budget)->HasRoomToMigrate();
      },
      &core_.budget);
  zswap->SetAwayCheck(
      [](const void* core, Slot slot) {
        return static_cast<const Core*>(core)->word(slot).state() ==
               PageState::kEvicted;
      },
      &core_);
  const CycleClock::Moment now = CycleClock::Now();
  clock_.Start(now);
  core_.blocks.SetNow(now.cycles);
  stalls_.Start(now.ns, now.cycles);
}

void Pager::Close() {
  keeper_.Stop();
  keeper_.Release();
  family_.Stop();
  core_.budget.tree().Leave();
  core_.uffd.Close();
  core_.budget.Close();
  core_.words.Release();
  core_.managed.Release();
  {
    ScopedExclusiveLock lock(core_.map_lock);
    core_.ranges.Release();
  }
  core_.blocks.Release();
  core_.bounce.Release();
  staging_.Release();
}

void Pager::FillStats(uzswap_stats* stats) {
  core_.budget.Measure();
  const Budget& budget = core_.budget;
  auto sum = [&](PagerCounter c) { return core_.counters.Sum(c); };
  stats->memory_limit = core_.budget.tree().tree().limit * kPageSize;
  stats->memory_granted = budget.limit() * kPageSize;
  stats->resident_bytes = budget.resident() * kPageSize;
  stats->staged_bytes = budget.staged() * kPageSize;
  stats->unmanaged_bytes = budget.unmanaged() * kPageSize;
  stats->peak_bytes = budget.peak() * kPageSize;
  stats->peak_without_bytes = budget.peak_without() * kPageSize;
  stats->faults = sum(PagerCounter::faults);
  stats->faults_zero = sum(PagerCounter::faults_zero);
  stats->faults_soft = sum(PagerCounter::faults_soft);
  stats->pages_in = sum(PagerCounter::pages_in);
  stats->pages_prefetched = sum(PagerCounter::pages_prefetched);
  stats->pages_out = sum(PagerCounter::pages_out);
  stats->pages_out_clean = sum(PagerCounter::pages_out_clean);
  stats->faults_clean = sum(PagerCounter::faults_clean);
  stats->faults_shared = sum(PagerCounter::faults_shared);
  stats->pages_cancelled = sum(PagerCounter::pages_cancelled);
  stats->protect_calls = sum(PagerCounter::protect_calls);
  stats->pages_idle = sum(PagerCounter::pages_idle);
  stats->pages_promoted = core_.blocks.promoted();
  stats->limit_exceeded = sum(PagerCounter::limit_exceeded);
  stats->pinned_calls = sum(PagerCounter::pinned_calls);
  stats->evict_method = UseMove() ? UZSWAP_EVICT_MOVE : UZSWAP_EVICT_WP;
  FillTimes(stats);
}

void Pager::FillTimes(uzswap_stats* stats) {
  const CycleClock::Moment now = CycleClock::Now();
  auto ns = [&](PagerCounter c) {
    return clock_.ToNs(core_.counters.Sum(c), now);
  };
  stats->fault_ns = ns(PagerCounter::fault_cycles);
  stats->evict_ns = ns(PagerCounter::evict_cycles);
  stalls_.Update(now.ns, now.cycles);
  const StallClock::Averages averages = stalls_.averages();
  stats->stall_ns = clock_.ToNs(stalls_.Total(now.cycles), now);
  stats->stall_avg10 = averages.ten_seconds;
  stats->stall_avg60 = averages.minute;
  ages_.Count(core_.blocks, clock_, now);
  stats->resident_pages_1s = ages_.pages(0);
  stats->resident_pages_10s = ages_.pages(1);
  stats->resident_pages_1min = ages_.pages(2);
  stats->resident_pages_10min = ages_.pages(3);
  stats->resident_pages_1h = ages_.pages(4);
  stats->resident_pages_older = ages_.pages(5);
}

size_t Pager::Descriptors(int* fds, size_t capacity) const {
  size_t n = 0;
  if (core_.uffd.fd() >= 0 && n < capacity) fds[n++] = core_.uffd.fd();
  return n + core_.budget.Descriptors(fds + n, capacity - n);
}

void Pager::CheckInvariants() {
  core_.zswap->FlushWork();
  ScopedExclusiveLock lock(core_.map_lock);
  core_.ranges.CheckInvariants();
  core_.blocks.CheckInvariants();
  staging_.CheckInvariants();
  PageCount resident = 0;
  PageCount staged = 0;
  for (uint64_t i = 0; i < core_.ranges.count(); ++i) {
    const ManagedRange& range = core_.ranges.At(i);
    const auto in_unit = [&](uint64_t at, uint64_t to) {
      for (; at < to; ++at) {
        const Slot slot{at};
        CHECK(core_.managed.Contains(slot));
        const PageState state = core_.word(slot).state();
        CHECK(state != PageState::kBusy && state != PageState::kEvicting);
        CHECK((state == PageState::kEvicted || state == PageState::kClean) ==
              core_.zswap->Contains(slot));
        resident += state == PageState::kResident ||
                    state == PageState::kClean || state == PageState::kShared;
        staged += state == PageState::kStaged;
      }
    };
    core_.managed.ForEachTouched(range.start / kPageSize, range.end / kPageSize,
                                 in_unit);
  }
  CHECK(resident == core_.budget.resident());
  CHECK(resident == core_.blocks.resident());
  CHECK(staged == core_.budget.staged());
  core_.zswap->CheckInvariants();
}

}  // namespace uzswap
