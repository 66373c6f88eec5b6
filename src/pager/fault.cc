// SPDX-License-Identifier: Apache-2.0
// A page comes back (docs/design.md): from the fault, or a pin, to a mapped
// page. Frames are reserved before a page is claimed, so nothing that others
// wait for ever waits for memory to be freed, except by the system itself.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/lockdep.h"
#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

constexpr uint64_t kZeroAround = Uffd::kMaxZeros;
// Faults on one resident page in a row before it is looked at, and before the
// process is given up.
constexpr uint64_t kSuspicious = 3;
constexpr uint64_t kHopeless = 1000000;
// A store that has lost one page has often lost them all.
constexpr uint32_t kLostLines = 8;
constexpr int kFrameTries = 64;

uint32_t Bit(unsigned i) { return uint32_t{1} << i; }

void LogLost(Slot slot, int error) {
  Line line;
  line << "the page at ";
  line.Hex(AddressOf(slot)) << " cannot be brought back: error " << error
                            << " from the backing store or the compressor";
  Log(line);
}

}  // namespace

Status Pager::HandleFault(uint64_t address, Access access) {
  if (address >= kAddressLimit || !core_.managed.Contains(SlotOf(address))) {
    return Status::Error(ENOENT);
  }
  const Slot slot = SlotOf(address);
  const uint64_t begin = os::Cycles();
  core_.blocks.SetNow(begin);
  stalls_.Enter(begin);
  Status result;
  for (;;) {
    lockdep::FaultBegin();
    {
      ScopedSharedLock lock(core_.map_lock);
      const PageState state = core_.word(slot).state();
      const bool readable =
          state == PageState::kClean || state == PageState::kShared;
      if (state == PageState::kResident ||
          (readable && access == Access::kRead)) {
        result = Spurious(slot);
      } else {
        ForgetRepeats(slot);
        result = MakeResident({slot, 0, access});
        if (result.ok()) core_.recent_faults.Note(slot);
      }
      Balance();
    }
    lockdep::FaultEnd();
    if (result.error() != EAGAIN) break;
    WaitForRoom();
  }
  core_.Count(PagerCounter::faults);
  const uint64_t end = os::Cycles();
  stalls_.Leave(end);
  core_.Count(PagerCounter::fault_cycles, end - begin);
  return result;
}

Status Pager::MakeResident(const Wanted& wanted) {
  const Slot slot = wanted.slot;
  const uint32_t pins = wanted.pins;
  PageWord& word = core_.word(slot);
  for (;;) {
    const uint32_t seen = word.Load();
    switch (PageWord::StateOf(seen)) {
      case PageState::kResident:
        if (pins == 0 || word.TryPin()) return kOk;
        break;
      case PageState::kClean:
        // Whoever pins may write, and a system call would fail on protection.
        if (pins == 0 && wanted.access == Access::kRead) return kOk;
        if (core_.Settle(slot, pins)) {
          core_.Count(PagerCounter::faults_clean);
          core_.clean_policy.NoteWritten();
          return kOk;
        }
        break;
      case PageState::kShared: {
        if (pins == 0 && wanted.access == Access::kRead) return kOk;
        Status result;
        if (Part(wanted, &result)) return result;
        break;
      }
      case PageState::kEvicting:
        ChargeCopy(slot);
        if (core_.CancelEviction(slot, pins)) return kOk;
        break;
      case PageState::kBusy:
        word.Wait();
        break;
      case PageState::kStaged:
        if (staging_.BringBack(slot, seen, pins)) {
          core_.Count(PagerCounter::faults_soft);
          return kOk;
        }
        break;
      case PageState::kNone:
      case PageState::kEvicted: {
        Status result;
        if (Serve(wanted, PageWord::StateOf(seen), &result)) return result;
        break;
      }
    }
  }
}

// A page without a frame. False: its state changed, look again.
bool Pager::Serve(const Wanted& asked, PageState state, Status* result) {
  const Slot slot = asked.slot;
  const ManagedRange* range = core_.ranges.Find(AddressOf(slot));
  if (range == nullptr || range->prot == 0) {
    // Without access the fault is the program's own.
    *result = Status::Error(ENOENT);
    return true;
  }
  const bool evicted = state == PageState::kEvicted;
  const Extent window = Window(slot, state, *range);
  const PageCount wanted = window.end - window.start;
  if (!Reserve(1)) {
    *result = Status::Error(EAGAIN);
    return true;
  }
  // What is only likely to be wanted must not cost an eviction.
  PageCount reserved = wanted;
  if (wanted > 1 && !core_.budget.TryReserve(wanted - 1, core_.budget.min())) {
    reserved = 1;
  }
  core_.managed.Touch(slot);
  Batch batch{
      .first = Slot{reserved > 1 ? window.start : Index(slot)},
      .main = 0,
      .mask = 0,
      .pins = asked.pins,
      .evicted = evicted,
      .alone = wanted == 1 && (evicted || !FollowsResident(slot, *range)),
      .keep = KeepFor(asked, wanted)};
  batch.main = static_cast<unsigned>(Index(slot) - Index(batch.first));
  const bool claimed = core_.word(slot).ClaimFrom(state);
  if (claimed) {
    batch.mask = Bit(batch.main);
    if (reserved > 1) ClaimWindow(window, slot, &batch);
    if (evicted) {
      ScopedBounce bounce(core_.bounce);
      *result = LoadBatch(&batch, bounce);
      const Status mapped = MapBatch(&batch, &bounce);
      if (result->ok()) *result = mapped;
    } else {
      *result = MapBatch(&batch, nullptr);
    }
  }
  // Nobody waits for any of the pages any more.
  core_.zswap->BringBack(batch.beside);
  const PageCount used = CountPages(batch.mask);
  core_.budget.Release(reserved - (claimed ? used : 0));
  if (claimed && result->error() == ENOMEM) {
    // The system is short of frames, whatever our limit says.
    (void)EvictOne();
    return false;
  }
  return claimed;
}

// What was only read may be dropped again without being compressed again, at
// the price of the copy's pool memory. A stream's pages soon leave, so that
// pays; so it does for any page once most of them are away: the resident set
// is then smaller by a copy's share, but a miss costs half as much.
Keep Pager::KeepFor(const Wanted& wanted, PageCount window) {
  if (wanted.access == Access::kWrite || wanted.pins != 0) return Keep::kNo;
  if (!core_.clean_policy.Pays()) return Keep::kNo;
  const bool most_are_away =
      core_.budget.stored() * 3 > core_.budget.resident() * 2;
  return window > 1 || most_are_away ? Keep::kIfRoom : Keep::kFree;
}

bool Pager::FollowsResident(Slot slot, const ManagedRange& range) {
  const uint64_t at = Index(slot);
  return at > range.start / kPageSize &&
         core_.word(Slot{at - 1}).state() == PageState::kResident;
}

// Slots that would be good to bring together with this one.
Pager::Extent Pager::Window(Slot slot, PageState state,
                            const ManagedRange& range) {
  const uint64_t at = Index(slot);
  const uint64_t low = range.start / kPageSize;
  const uint64_t high = range.end / kPageSize;
  if (state == PageState::kNone) {
    const bool plenty =
        core_.budget.Free() > static_cast<int64_t>(core_.budget.low());
    if (!plenty || !FollowsResident(slot, range)) return {at, at + 1};
    return {at, std::min(high, at + kZeroAround)};
  }
  const PrefetchWindow window = prefetcher_.Next(slot);
  if (window.down)
    return {std::max(low, at + 1 - std::min(at, window.pages)), at + 1};
  return {at, std::min(high, at + window.pages)};
}

// Claims the pages around the main one that are in the same state as it was.
void Pager::ClaimWindow(const Extent& window, Slot slot, Batch* batch) {
  const PageState state =
      batch->evicted ? PageState::kEvicted : PageState::kNone;
  for (uint64_t at = window.start; at < window.end; ++at) {
    if (at == Index(slot)) continue;
    core_.managed.Touch(Slot{at});
    if (core_.word(Slot{at}).ClaimFrom(state)) {
      batch->mask |= Bit(static_cast<unsigned>(at - Index(batch->first)));
    }
  }
}

// Loads the pages into their places in the buffer. What cannot be loaded leaves
// the batch; only the main page's failure is reported.
Status Pager::LoadBatch(Batch* batch, const ScopedBounce& bounce) {
  Status result;
  ForEachPage(batch->mask, [&](unsigned i) {
    const Slot slot = batch->first + i;
    Zswap::Neighbours beside;
    const Result<bool> s =
        core_.zswap->Load(slot, bounce.page(i), batch->keep, beside);
    if (beside.pages != 0) batch->beside = beside;
    if (s.ok()) {
      if (s.value()) batch->kept |= Bit(i);
      return;
    }
    CHECK(s.error() != ENOENT);
    batch->mask &= ~Bit(i);
    core_.word(slot).BecomeEvicted();
    if (i == batch->main) {
      if (lost_logged_.fetch_add(1, std::memory_order_relaxed) < kLostLines) {
        LogLost(slot, s.error());
      }
      result = Status::Error(EIO);
    }
  });
  return result;
}

// Maps the batch from the buffer, or zeros. Afterwards batch->mask is what is
// resident; the rest is back in the state it had.
Status Pager::MapBatch(Batch* batch, const ScopedBounce* bounce) {
  Status result;
  uint32_t mapped = 0;
  const auto map = [&](unsigned first, unsigned count) {
    mapped |= MapRun(*batch, {first, count}, bounce, &result);
  };
  ForEachRun(batch->mask & ~batch->kept, map);
  ForEachRun(batch->mask & batch->kept, map);
  const uint32_t left = batch->mask & ~mapped;
  const auto pages = CountPages(mapped);
  // The counts come first: an evictor may take a page as soon as it is
  // resident.
  NoteArrival(*batch, mapped);
  ForEachPage(mapped, [&](unsigned i) {
    PageWord& word = core_.word(batch->first + i);
    if ((batch->kept & Bit(i)) != 0) {
      word.BecomeClean();
    } else {
      word.BecomeResident(i == batch->main ? batch->pins : 0);
    }
  });
  Unmapped(*batch, left, bounce);
  batch->mask = mapped;
  if (batch->evicted) {
    core_.budget.NoteStored(-static_cast<int64_t>(pages));
    core_.Count(PagerCounter::pages_in, pages);
    if (pages > 1) core_.Count(PagerCounter::pages_prefetched, pages - 1);
  } else {
    core_.Count(PagerCounter::faults_zero);
    core_.Count(PagerCounter::pages_zero, pages);
  }
  return result;
}

// A page of fresh memory that follows a resident one is part of a stream, too.
void Pager::NoteArrival(const Batch& batch, uint32_t mapped) {
  using Arrival = BlockList::Arrival;
  const bool alone = batch.alone && (mapped & (mapped - 1)) == 0;
  const Arrival how = alone ? Arrival::kAlone : Arrival::kAhead;
  const unsigned shift = Index(batch.first) % kBlockPages;
  const BlockIndex block = BlockOf(batch.first);
  const PageMask here = PageMask{mapped} << shift;
  // A batch is shorter than a block, so it lies in two at most.
  const PageMask next = shift == 0 ? 0 : PageMask{mapped} >> (64 - shift);
  if (here != 0) core_.blocks.Came(block, here, how);
  if (next != 0) core_.blocks.Came(block + 1, next, how);
}

// Returns the pages of the run that are mapped. *status tells what stopped the
// main page.
uint32_t Pager::MapRun(const Batch& batch, Run run, const ScopedBounce* bounce,
                       Status* status) {
  uint32_t mapped = 0;
  unsigned first = run.first;
  const unsigned end = run.first + run.count;
  unsigned replaced = end;
  const bool protect = (batch.kept & Bit(first)) != 0;  // the same in a run
  while (first < end) {
    const uint64_t to = AddressOf(batch.first + first);
    const UffdProgress done =
        bounce == nullptr
            ? core_.uffd.CopyZeros(to, end - first)
            : core_.uffd.Copy(to, bounce->address(first), end - first, protect);
    for (PageCount i = 0; i < done.pages; ++i) mapped |= Bit(first++);
    if (done.status.ok()) break;
    Status failed = done.status;
    const uint64_t address = AddressOf(batch.first + first);
    if (failed.error() == EEXIST && batch.evicted && replaced != first &&
        PageIsPresent(address)) {
      // Nothing of ours is ever mapped there: the buffer has the content, what
      // is present came behind our back.
      replaced = first;
      if (os::Drop(reinterpret_cast<void*>(address), kPageSize).ok()) continue;
    }
    if (failed.error() == EEXIST && !batch.evicted && PageIsPresent(address)) {
      core_.uffd.WriteProtect(address, 1, false).Ignore();
      mapped |= Bit(first);
      failed = kOk;
    }
    if (first == batch.main && failed.error() != EEXIST) *status = failed;
    ++first;
    if (failed.error() == ENOMEM) break;
  }
  return mapped;
}

// Gives pages that could not be mapped their old state back.
void Pager::Unmapped(const Batch& batch, uint32_t left,
                     const ScopedBounce* bounce) {
  ForEachPage(left, [&](unsigned i) {
    const Slot slot = batch.first + i;
    if (!batch.evicted) {
      core_.word(slot).BecomeNone();
      return;
    }
    if ((batch.kept & Bit(i)) != 0) {
      core_.word(slot).BecomeEvicted();
      return;
    }
    // Loading took the page out of zswap: this buffer is its only copy.
    Status stored;
    for (int tries = 0; tries < kFrameTries; ++tries) {
      stored = core_.zswap->Store(slot, bounce->page(i));
      if (stored.ok()) break;
      os::Yield();
    }
    if (!stored.ok()) {
      Line line;
      line << "neither a frame nor room in the pool for the page at ";
      line.Hex(AddressOf(slot)) << ": the system is out of memory";
      Die(line);
    }
    core_.word(slot).BecomeEvicted();
  });
}

// A fault on a resident page is usually one that another thread has served
// meanwhile: the instruction is simply run again. If it keeps coming, something
// else has protected or dropped the page.
Status Pager::Spurious(Slot slot) {
  core_.Count(PagerCounter::faults_spurious);
  std::atomic<uint64_t>& repeat = repeats_[Index(slot) % repeats_.size()];
  const uint64_t seen = repeat.load(std::memory_order_relaxed);
  const uint64_t count = seen >> 24 == Index(slot) ? (seen & 0xffffff) + 1 : 1;
  repeat.store(Index(slot) << 24 | count, std::memory_order_relaxed);
  if (count < kSuspicious) return kOk;
  if (count > kHopeless) {
    Line line;
    line << "the page at ";
    line.Hex(AddressOf(slot)) << " is resident but faults for ever";
    Die(line);
  }
  return Restore(slot);
}

void Pager::ForgetRepeats(Slot slot) {
  std::atomic<uint64_t>& repeat = repeats_[Index(slot) % repeats_.size()];
  if (repeat.load(std::memory_order_relaxed) >> 24 == Index(slot)) {
    repeat.store(0, std::memory_order_relaxed);
  }
}

Status Pager::Restore(Slot slot) {
  const uint64_t address = AddressOf(slot);
  (void)core_.Settle(slot, 0);
  (void)core_.Unshare(slot, 0);
  // While the page is ours nobody takes a frame away under this.
  if (!core_.word(slot).ClaimFrom(PageState::kResident)) return kOk;
  core_.uffd.WriteProtect(address, 1, false).Ignore();  // looks below
  Status result;
  if (!PageIsPresent(address)) {
    const UffdProgress done = core_.uffd.CopyZeros(address, 1);
    if (done.pages == 0 && done.status.error() != EEXIST) result = done.status;
    core_.Count(PagerCounter::faults_lost);
    if (!warned_lost_.exchange(true, std::memory_order_relaxed)) {
      Line line;
      line << "the page at ";
      line.Hex(address) << " was dropped by a call that uzswap did not see; "
                           "it reads as zeros, as without uzswap";
      Log(line);
    }
  }
  core_.word(slot).BecomeResident(0);
  return result;
}

}  // namespace uzswap
