// SPDX-License-Identifier: Apache-2.0
// mremap: the kernel moves the page tables but drops the registration, and what
// is in zswap is under the old address. The exclusive lock keeps faults away
// meanwhile, but only where memory is registered: an evicted page that is read
// while it is not becomes a page of zeros, with no fault that would tell. So
// memory moves registered, to a place where nobody knows it yet.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "pager/mappings.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP, Linux 5.7
constexpr int kKnownFlags = MREMAP_MAYMOVE | MREMAP_FIXED | kDontUnmap;

bool Usable(uint64_t start, uint64_t bytes) {
  return start % kPageSize == 0 && start < kAddressLimit &&
         bytes <= kAddressLimit - start;
}

int64_t Raw(const MremapCall& call) {
  return os::Syscall(SYS_mremap, static_cast<int64_t>(call.old_address),
                     static_cast<int64_t>(call.old_length),
                     static_cast<int64_t>(call.new_length), call.flags,
                     static_cast<int64_t>(call.new_address));
}

}  // namespace

int64_t Pager::Mremap(const MremapCall& call) {
  const bool fixed = (call.flags & MREMAP_FIXED) != 0;
  const bool keep = (call.flags & kDontUnmap) != 0;
  const bool may_move = (call.flags & MREMAP_MAYMOVE) != 0;
  const bool usable = Usable(call.old_address, call.old_length) &&
                      call.new_length <= kAddressLimit &&
                      (!fixed || Usable(call.new_address, call.new_length));
  const bool ours =
      usable && (IsManaged(call.old_address, call.old_length) ||
                 (fixed && IsManaged(call.new_address, call.new_length)));
  // The kernel refuses these; what follows changes the flags.
  const bool valid = (call.flags & ~kKnownFlags) == 0 &&
                     (may_move || (!fixed && !keep)) &&
                     (!keep || call.new_address % kPageSize == 0);
  if (!ours || !valid) return Raw(call);
  ScopedExclusiveLock lock(core_.map_lock);
  if (!fixed && !keep) {
    // In place if that is possible, as the kernel would.
    MremapCall in_place = call;
    in_place.flags = 0;
    const int64_t r = Raw(in_place);
    if (r >= 0) {
      AfterMove(call, call.old_address);
      MeasureAfter(call.old_length);
    }
    if (r != -ENOMEM || !may_move) return r;
  }
  // A staging frame knows its page by address.
  const uint64_t old_end = call.old_address + PageCeil(call.old_length);
  BringStagedBack(call.old_address, old_end);
  // Moving takes the protection away, and zswap's name for the page with it.
  SettlePages(call.old_address, old_end);
  const int64_t r = fixed ? MoveTo(call) : MoveAway(call);
  if (r >= 0) {
    MeasureAfter(call.old_length);
    return r;
  }
  // The kernel clears the target before it finds out that it cannot go on.
  if (fixed) {
    DisownUnmapped(call.new_address,
                   call.new_address + PageCeil(call.new_length));
  }
  DisownUnmapped(call.old_address, old_end);
  return r;
}

// To an address of our choice, between two pages of another kind: where the
// kernel merges moved memory with a registered neighbour it takes the
// registration from both.
int64_t Pager::MoveAway(const MremapCall& call) {
  const uint64_t bytes = PageCeil(call.new_length) + 2 * kPageSize;
  const uint64_t hint =
      (call.flags & kDontUnmap) != 0 && call.new_address > kPageSize
          ? call.new_address - kPageSize
          : 0;
  const int64_t reserve = os::Syscall(
      SYS_mmap, static_cast<int64_t>(hint), static_cast<int64_t>(bytes),
      PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserve < 0) return -ENOMEM;
  const auto start = static_cast<uint64_t>(reserve);
  const uint64_t last = start + bytes - kPageSize;
  if (!Usable(start, bytes)) {
    CHECK(os::Unmap(reinterpret_cast<void*>(start), bytes).ok());
    return -ENOMEM;
  }
  MremapCall placed = call;
  placed.flags |= MREMAP_MAYMOVE | MREMAP_FIXED;
  placed.new_address = start + kPageSize;
  const int64_t r = Raw(placed);
  if (r >= 0) {
    AfterMove(call, placed.new_address);
  } else if (IsAllMapped(start, bytes)) {
    CHECK(os::Unmap(reinterpret_cast<void*>(start), bytes).ok());
    return r;
  }
  // After a failure what was between them is gone, and perhaps somebody else's.
  CHECK(os::Unmap(reinterpret_cast<void*>(start), kPageSize).ok());
  CHECK(os::Unmap(reinterpret_cast<void*>(last), kPageSize).ok());
  return r;
}

// To where the program wants it. Beside managed memory it has to be
// unregistered while it moves (see MoveAway); threads that use it meanwhile
// would be too late or too early without uzswap as well, but what they leave
// there must not hide the pages that are away.
int64_t Pager::MoveTo(const MremapCall& call) {
  const uint64_t old_bytes = PageCeil(call.old_length);
  const uint64_t old_end = call.old_address + old_bytes;
  const uint64_t new_end = call.new_address + PageCeil(call.new_length);
  const bool keep = (call.flags & kDontUnmap) != 0;
  const bool merges =
      IsManaged(call.new_address - 1, 1) || IsManaged(new_end, 1);
  if (merges) RegisterParts(call.old_address, old_end, false);
  const int64_t r = Raw(call);
  if (r >= 0) {
    AfterMove(call, call.new_address);
    if (merges && keep) RegisterParts(call.old_address, old_end, true);
    DropHiding(call.new_address, new_end);
  } else if (merges) {
    DisownUnmapped(call.old_address, old_end);
    RegisterParts(call.old_address, old_end, true);
    DropHiding(call.old_address, old_end);
  }
  return r;
}

void Pager::RegisterParts(uint64_t start, uint64_t end, bool on) {
  core_.ranges.ForEach(start, end, [&](uint64_t from, uint64_t to, uint32_t) {
    const Status s = on ? core_.uffd.Register(from, to - from)
                        : core_.uffd.Unregister(from, to - from);
    if (s.ok()) return;
    Line line;
    line << "memory around an mremap cannot be "
         << (on ? "registered" : "unregistered") << " at ";
    line.Hex(from) << ": error " << s.error();
    Die(line);
  });
}

// Drops what is mapped where pages are in zswap: it came while the range was
// not registered. From now on they fault again.
void Pager::DropHiding(uint64_t start, uint64_t end) {
  unsigned char present[ManagedMap::kUnitPages];
  for (uint64_t at = start; at < end;) {
    const uint64_t unit = Index(SlotOf(at)) / ManagedMap::kUnitPages;
    const uint64_t unit_end = (unit + 1) * ManagedMap::kUnitPages * kPageSize;
    const uint64_t next = std::min(end, unit_end);
    const bool looks = core_.managed.Touched(unit) &&
                       os::Syscall(SYS_mincore, static_cast<int64_t>(at),
                                   static_cast<int64_t>(next - at),
                                   reinterpret_cast<int64_t>(present)) == 0;
    for (uint64_t i = 0; looks && i < (next - at) / kPageSize; ++i) {
      const Slot slot = SlotOf(at) + i;
      if ((present[i] & 1) == 0) continue;
      if (core_.word(slot).state() != PageState::kEvicted) continue;
      CHECK(os::Drop(reinterpret_cast<void*>(AddressOf(slot)), kPageSize).ok());
    }
    at = next;
  }
}

void Pager::AfterMove(const MremapCall& call, uint64_t to) {
  const uint64_t from = call.old_address;
  const uint64_t old_bytes = PageCeil(call.old_length);
  const uint64_t new_bytes = PageCeil(call.new_length);
  const uint64_t kept = std::min(old_bytes, new_bytes);
  if (to != from) Disown(to, to + new_bytes);
  // One mapping is moved, so one protection; several are only ever moved
  // without a change of size.
  Extent parts[kMoveParts];
  uint32_t prots[kMoveParts];
  for (uint64_t at = from; at < from + kept;) {
    size_t count = 0;
    core_.ranges.ForEach(at, from + kept,
                         [&](uint64_t start, uint64_t end, uint32_t prot) {
                           if (count == kMoveParts) return;
                           parts[count] = {start, end};
                           prots[count++] = prot;
                         });
    if (count == 0) break;
    for (size_t i = 0; i < count; ++i) {
      MovePart(parts[i], prots[i], to - from, call);
    }
    at = parts[count - 1].end;
  }
  if (new_bytes < old_bytes && to == from) {
    Disown(from + new_bytes, from + old_bytes);
  }
  if (to != from && (call.flags & kDontUnmap) == 0) {
    Disown(from, from + old_bytes);
  }
}

// What of the old range is now at old + shift.
void Pager::MovePart(const Extent& part, uint32_t prot, uint64_t shift,
                     const MremapCall& call) {
  const uint64_t old_end = call.old_address + PageCeil(call.old_length);
  const uint64_t growth =
      call.new_length > call.old_length && part.end == old_end
          ? PageCeil(call.new_length) - PageCeil(call.old_length)
          : 0;
  if (shift == 0 && growth == 0) return;
  const Status s =
      shift == 0 ? Adopt(part.end, part.end + growth, prot)
                 : Adopt(part.start + shift, part.end + growth + shift, prot);
  if (!s.ok() && shift != 0) {
    // Pages in zswap could never be brought back there.
    Line line;
    line << "memory moved by mremap cannot be registered again at ";
    line.Hex(part.start + shift) << ": error " << s.error();
    Die(line);
  }
  if (shift == 0) return;
  TransferPages(part.start, part.start + shift, part.end - part.start);
}

// Page words and contents go along. Pins do not: a system call that still uses
// the old address is the program's error.
void Pager::TransferPages(uint64_t from, uint64_t to, uint64_t bytes) {
  const uint64_t end = (from + bytes) / kPageSize;
  const uint64_t shift = to / kPageSize - from / kPageSize;
  for (uint64_t at = from / kPageSize; at < end;) {
    const uint64_t unit = at / ManagedMap::kUnitPages;
    const uint64_t next = std::min(end, (unit + 1) * ManagedMap::kUnitPages);
    for (; core_.managed.Touched(unit) && at < next; ++at) {
      const Slot old_slot{at};
      const Slot new_slot{at + shift};
      const PageState state = PageWord::StateOf(core_.word(old_slot).Forget());
      if (state == PageState::kNone) continue;
      core_.managed.Touch(new_slot);
      if (state == PageState::kEvicted) {
        core_.zswap->Rename(old_slot, new_slot);
      } else {
        CHECK(state == PageState::kResident);
        core_.blocks.Forgot(BlockOf(old_slot), MaskOf(old_slot));
        core_.blocks.Came(BlockOf(new_slot), MaskOf(new_slot),
                          BlockList::Arrival::kAhead);
      }
      core_.word(new_slot).Place(PageWord::Make(state, 0));
    }
    at = next;
  }
}

}  // namespace uzswap
