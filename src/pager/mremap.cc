// SPDX-License-Identifier: Apache-2.0
// mremap: the kernel moves the page tables but drops the registration, and what
// is in zswap is under the old address. Under the exclusive lock nobody sees
// the time between.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

constexpr int kDontUnmap = 4;  // MREMAP_DONTUNMAP, Linux 5.7

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
  const bool usable = Usable(call.old_address, call.old_length) &&
                      call.new_length <= kAddressLimit &&
                      (!fixed || Usable(call.new_address, call.new_length));
  const bool ours =
      usable && (IsManaged(call.old_address, call.old_length) ||
                 (fixed && IsManaged(call.new_address, call.new_length)));
  if (!ours) return Raw(call);
  ScopedExclusiveLock lock(core_.map_lock);
  const uint64_t old_end = call.old_address + PageCeil(call.old_length);
  if (!fixed && (call.flags & kDontUnmap) == 0) {
    // In place if that is possible, as the kernel would: other threads may go
    // on using the memory meanwhile, so it stays registered.
    MremapCall in_place = call;
    in_place.flags = 0;
    const int64_t r = Raw(in_place);
    if (r >= 0) {
      AfterMove(call, call.old_address);
      MeasureAfter(call.old_length);
    }
    if (r != -ENOMEM || (call.flags & MREMAP_MAYMOVE) == 0) return r;
  }
  // A staging frame knows its page by address.
  BringStagedBack(call.old_address, old_end);
  RegisterParts(call.old_address, old_end, false);
  const int64_t r = Raw(call);
  if (r < 0) {
    // The kernel clears the target before it finds out that it cannot go on.
    if (fixed) {
      DisownUnmapped(call.new_address,
                     call.new_address + PageCeil(call.new_length));
    }
    DisownUnmapped(call.old_address, old_end);
    RegisterParts(call.old_address, old_end, true);
    return r;
  }
  AfterMove(call, static_cast<uint64_t>(r));
  if ((call.flags & kDontUnmap) != 0) {
    RegisterParts(call.old_address, old_end, true);
  }
  MeasureAfter(call.old_length);
  return r;
}

// Moved memory must not be registered while it moves: where the kernel merges
// it with a registered neighbour it takes the registration from both.
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
        core_.blocks.Went(BlockOf(old_slot), 1);
        core_.blocks.Came(BlockOf(new_slot), 1, false);
      }
      core_.word(new_slot).Place(PageWord::Make(state, 0));
    }
    at = next;
  }
}

}  // namespace uzswap
