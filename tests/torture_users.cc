// SPDX-License-Identifier: Apache-2.0
// The threads that keep a program's pages. Each has slots of its own, which it
// uses without any lock, and shares others under a lock for each slot.
#include "torture_run.h"

namespace uzswap::torture {

void Run::User(unsigned thread) {
  Random random(plan_.seed * 31 + thread);
  while (!Stopped()) {
    const Gate::Pass pass(gate_);
    for (int i = 0; i < 8; ++i) {
      if (random.Below(4) == 0) {
        UseShared(thread, random);
      } else {
        Use(thread, random);
      }
    }
    operations_.fetch_add(8, std::memory_order_relaxed);
  }
}

void Run::Use(unsigned thread, Random& random) {
  OwnCells& cells = model_->own[thread];
  Cell& cell = cells[random.Below(cells.size())];
  const uint64_t dice = random.Below(100);
  if (dice < 35) {
    Store(cell, thread);
  } else if (dice < 40) {
    StoreGroup(cells, thread, random);
  } else if (dice < 80) {
    Load(cell, static_cast<Keep>(random.Below(3)));
  } else if (dice < 88) {
    Invalidate(cell);
  } else if (dice < 90) {
    InvalidateRange(cells, random);
  } else if (dice < 95) {
    Rename(cell, cells[random.Below(cells.size())]);
  } else {
    const WatchdogScope watched("Contains");
    TORTURE_CHECK(zswap_->Contains(cell.slot) == (cell.content != 0));
  }
}

void Run::UseShared(unsigned thread, Random& random) {
  SharedCell& one = model_->shared[random.Below(Model::kShared)];
  SharedCell& two = model_->shared[random.Below(Model::kShared)];
  const std::unique_lock lock(one.mutex, std::try_to_lock);
  if (!lock.owns_lock()) return;
  const uint64_t dice = random.Below(100);
  if (dice < 45) {
    Store(one.cell, thread);
  } else if (dice < 85) {
    Load(one.cell, static_cast<Keep>(random.Below(3)));
  } else if (dice < 92) {
    Invalidate(one.cell);
  } else if (&one != &two) {
    const std::unique_lock other(two.mutex, std::try_to_lock);
    if (other.owns_lock()) Rename(one.cell, two.cell);
  }
}

void Run::Store(Cell& cell, unsigned thread) {
  const WatchdogScope watched("Store");
  PageBuffer page;
  const uint64_t content = NextContent(thread);
  MakePage(content, page);
  Stored(cell, content, page, zswap_->Store(cell.slot, page));
}

// Neighbours, as the pager evicts them.
void Run::StoreGroup(OwnCells& cells, unsigned thread, Random& random) {
  const WatchdogScope watched("StoreGroup");
  const unsigned count = 1 + static_cast<unsigned>(random.Below(kMaxBatch));
  const uint64_t first = random.Below(cells.size() - count + 1);
  std::array<PageBuffer, kMaxBatch> pages;
  std::array<uint64_t, kMaxBatch> contents;
  std::array<StoreUnit, kMaxBatch> units;
  for (unsigned i = 0; i < count; ++i) {
    contents[i] = NextContent(thread);
    MakePage(contents[i], pages[i]);
    units[i] = {cells[first + i].slot, pages[i].data(), Status::Error(EIO)};
  }
  zswap_->StoreGroup({units.data(), count});
  for (unsigned i = 0; i < count; ++i) {
    Stored(cells[first + i], contents[i], pages[i], units[i].status);
  }
}

uint64_t Run::NextContent(unsigned thread) {
  return uint64_t{thread + 1} << 48 | ++next_content_[thread];
}

void Run::Stored(Cell& cell, uint64_t content, const PageBuffer& page,
                 Status s) {
  if (cell.content != 0) ++tally_->replaced;
  if (s.ok()) {
    ++tally_->stores;
    if (IsSame(page)) ++tally_->same_filled;
    cell.content = content;
    return;
  }
  if (s.error() != ENOMEM) Fail("Store: error %d", s.error());
  if (!plan_.allocation_failures) Fail("Store: no memory, without a reason");
  ++tally_->no_memory;
  cell.content = 0;
}

void Run::Load(Cell& cell, Keep keep) {
  const WatchdogScope watched("Load");
  PageBuffer page;
  const Result<bool> kept = zswap_->Load(cell.slot, page, keep);
  if (!kept.ok()) {
    if (kept.error() == ENOENT && cell.content == 0) return;
    const bool may_fail = plan_.device_errors || plan_.codec_errors;
    if (kept.error() != EIO || cell.content == 0 || !may_fail) {
      Fail("Load of slot %llx, content %llx: error %d",
           static_cast<unsigned long long>(Index(cell.slot)),
           static_cast<unsigned long long>(cell.content), kept.error());
    }
    ++tally_->io_errors;
    TORTURE_CHECK(zswap_->Contains(cell.slot));
    return;
  }
  if (cell.content == 0) {
    Fail("slot %llx is there, but was never stored or is gone",
         static_cast<unsigned long long>(Index(cell.slot)));
  }
  PageBuffer expected;
  MakePage(cell.content, expected);
  if (page != expected) {
    Fail("slot %llx does not hold content %llx",
         static_cast<unsigned long long>(Index(cell.slot)),
         static_cast<unsigned long long>(cell.content));
  }
  ++tally_->loads;
  ++(kept.value() ? tally_->kept : tally_->removed_by_load);
  if (!kept.value()) cell.content = 0;
  TORTURE_CHECK(keep != Keep::kNo || !kept.value());
}

void Run::Invalidate(Cell& cell) {
  const WatchdogScope watched("Invalidate");
  zswap_->Invalidate(cell.slot, 1);
  if (cell.content != 0) ++tally_->invalidated;
  cell.content = 0;
}

void Run::InvalidateRange(OwnCells& cells, Random& random) {
  const WatchdogScope watched("Invalidate");
  const uint64_t first = random.Below(OwnCells::kHalf);
  const uint64_t count = random.Below(OwnCells::kHalf - first + 1) / 4;
  zswap_->Invalidate(cells[OwnCells::kHalf + first].slot, count);
  for (uint64_t i = first; i < first + count; ++i) {
    Cell& cell = cells[OwnCells::kHalf + i];
    if (cell.content != 0) ++tally_->invalidated;
    cell.content = 0;
  }
}

void Run::Rename(Cell& from, Cell& to) {
  const WatchdogScope watched("Rename");
  if (&from == &to || to.content != 0) return;
  zswap_->Rename(from.slot, to.slot);
  to.content = from.content;
  from.content = 0;
  ++tally_->renames;
}

}  // namespace uzswap::torture
