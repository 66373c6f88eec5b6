// SPDX-License-Identifier: Apache-2.0
// Taking over memory that exists already, and giving it back (mlock, memory
// that devices or other programs will use).
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "pager/mappings.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

constexpr uint64_t kProbePages = 2048;

bool Usable(uint64_t start, uint64_t bytes) {
  return start % kPageSize == 0 && bytes % kPageSize == 0 && bytes > 0 &&
         start < kAddressLimit && bytes <= kAddressLimit - start;
}

// Every byte of [start, end) is anonymous private memory.
Status CheckKind(uint64_t start, uint64_t end, int proc) {
  MappingReader reader;
  UZSWAP_RETURN_IF_ERROR(reader.Open(proc));
  uint64_t covered = start;
  for (Mapping m; reader.Next(&m) && covered < end;) {
    if (m.end <= covered) continue;
    if (m.start > covered || m.shared || !m.anonymous) break;
    covered = m.end;
  }
  return covered >= end ? kOk : Status::Error(EINVAL);
}

}  // namespace

Status Pager::Manage(uint64_t start, uint64_t bytes) {
  if (!Usable(start, bytes)) return Status::Error(EINVAL);
  const uint64_t end = start + bytes;
  ScopedExclusiveLock lock(core_.map_lock);
  UZSWAP_RETURN_IF_ERROR(CheckKind(start, end, core_.budget.proc()));
  MappingReader reader;
  UZSWAP_RETURN_IF_ERROR(reader.Open(core_.budget.proc()));
  for (Mapping m; reader.Next(&m) && m.start < end;) {
    const uint64_t from = std::max(start, m.start);
    const uint64_t to = std::min(end, m.end);
    if (from >= to) continue;
    // Parts that are managed already keep their pages' states.
    bool fresh = true;
    core_.ranges.ForEach(from, to,
                         [&](uint64_t, uint64_t, uint32_t) { fresh = false; });
    const Status s = Adopt(from, to, m.prot);
    if (!s.ok()) return s;
    if (fresh) AdoptPresent(from, to);
  }
  core_.budget.Measure();
  return kOk;
}

// Pages that are mapped already become resident ones.
void Pager::AdoptPresent(uint64_t start, uint64_t end) {
  unsigned char present[kProbePages];
  for (uint64_t at = start; at < end; at += kProbePages * kPageSize) {
    const uint64_t pages = std::min(kProbePages, (end - at) / kPageSize);
    if (os::Syscall(SYS_mincore, static_cast<int64_t>(at),
                    static_cast<int64_t>(pages * kPageSize),
                    reinterpret_cast<int64_t>(present)) < 0) {
      continue;  // they stay untracked, which is safe
    }
    for (uint64_t i = 0; i < pages; ++i) {
      const Slot slot = SlotOf(at) + i;
      if ((present[i] & 1) == 0 || core_.word(slot).Load() != 0) continue;
      core_.managed.Touch(slot);
      core_.word(slot).Place(PageWord::Make(PageState::kResident, 0));
      core_.blocks.Came(BlockOf(slot), MaskOf(slot),
                        BlockList::Arrival::kAhead);
      core_.budget.Take(1);
    }
  }
}

Status Pager::Unmanage(uint64_t start, uint64_t bytes) {
  if (!Usable(start, bytes)) return Status::Error(EINVAL);
  const uint64_t end = start + bytes;
  ScopedExclusiveLock lock(core_.map_lock);
  SettlePages(start, end);
  UZSWAP_RETURN_IF_ERROR(MakeRoomFor(start, end));
  UZSWAP_RETURN_IF_ERROR(BringAllIn(start, end));
  core_.ranges.ForEach(start, end, [&](uint64_t from, uint64_t to, uint32_t) {
    CHECK(core_.uffd.Unregister(from, to - from).ok());
  });
  const PageCount before = core_.budget.resident();
  Disown(start, end);
  core_.budget.Gained(before - core_.budget.resident());
  core_.budget.Measure();
  return kOk;
}

// Everything of the range that is away must fit into memory at the same time.
Status Pager::MakeRoomFor(uint64_t start, uint64_t end) {
  constexpr int kFutile = 8;
  for (int futile = 0; futile < kFutile;) {
    // Evicting may hit the range itself, so this is counted anew.
    const PageCount away = CountAway(start, end);
    if (away > core_.budget.tree().most()) break;
    (void)core_.budget.Ask(away + core_.budget.min());
    if (core_.budget.TryReserve(away, core_.budget.min())) {
      core_.budget.Release(away);  // nobody else can take it: we hold the lock
      return kOk;
    }
    const int64_t before = core_.budget.Free() - static_cast<int64_t>(away);
    (void)EvictOne();
    const int64_t after =
        core_.budget.Free() - static_cast<int64_t>(CountAway(start, end));
    futile = after > before ? 0 : futile + 1;
  }
  return Status::Error(ENOMEM);
}

PageCount Pager::CountAway(uint64_t start, uint64_t end) {
  PageCount away = 0;
  for (uint64_t at = start / kPageSize; at < end / kPageSize;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next =
        std::min(end / kPageSize, (unit + 1) * ManagedMap::kUnitPages);
    for (; core_.managed.Touched(unit) && at < next; ++at) {
      if (core_.word(Slot{at}).state() == PageState::kEvicted) ++away;
    }
    at = next;
  }
  return away;
}

Status Pager::BringAllIn(uint64_t start, uint64_t end) {
  for (uint64_t at = start / kPageSize; at < end / kPageSize;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next =
        std::min(end / kPageSize, (unit + 1) * ManagedMap::kUnitPages);
    for (; core_.managed.Touched(unit) && at < next; ++at) {
      const uint32_t seen = core_.word(Slot{at}).Load();
      switch (PageWord::StateOf(seen)) {
        case PageState::kStaged:
          CHECK(staging_.BringBack(Slot{at}, seen, 0));
          break;
        case PageState::kEvicted:
          UZSWAP_RETURN_IF_ERROR(LoadOne(Slot{at}));
          break;
        default:
          break;
      }
    }
    at = next;
  }
  return kOk;
}

// Also into mappings without access, where a fault would not be served.
Status Pager::LoadOne(Slot slot) {
  ScopedBounce bounce(core_.bounce);
  Batch batch{.first = slot,
              .main = 0,
              .mask = 1,
              .pins = 0,
              .evicted = true,
              .alone = false,
              .keep = Keep::kNo};
  CHECK(core_.word(slot).ClaimFrom(PageState::kEvicted));
  core_.budget.Take(1);
  Status result = LoadBatch(&batch, bounce);
  const Status mapped = MapBatch(&batch, &bounce);
  if (result.ok()) result = mapped;
  if (batch.mask == 0) core_.budget.Release(1);
  return result;
}

void Pager::BringStagedBack(uint64_t start, uint64_t end) {
  if (core_.budget.staged() == 0) return;
  for (uint64_t at = start / kPageSize; at < end / kPageSize;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next =
        std::min(end / kPageSize, (unit + 1) * ManagedMap::kUnitPages);
    for (; core_.managed.Touched(unit) && at < next; ++at) {
      const uint32_t seen = core_.word(Slot{at}).Load();
      if (PageWord::StateOf(seen) != PageState::kStaged) continue;
      CHECK(staging_.BringBack(Slot{at}, seen, 0));
    }
    at = next;
  }
}

}  // namespace uzswap
