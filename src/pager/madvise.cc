// SPDX-License-Identifier: Apache-2.0
// madvise: advice that discards content must discard ours too; advice about
// where pages live is ours to follow; the rest is the kernel's.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

// Newer than the headers that the build may find.
constexpr int kDontNeedLocked = 24;  // Linux 5.18
constexpr int kGuardInstall = 102;   // Linux 6.13

int64_t Raw(uint64_t start, uint64_t bytes, int advice) {
  return os::Syscall(SYS_madvise, static_cast<int64_t>(start),
                     static_cast<int64_t>(bytes), advice);
}

}  // namespace

int64_t Pager::Madvise(uint64_t start, uint64_t bytes, int advice) {
  const bool usable = start % kPageSize == 0 && start < kAddressLimit &&
                      bytes <= kAddressLimit - start;
  if (!usable || !IsManaged(start, bytes)) return Raw(start, bytes, advice);
  const uint64_t end = start + PageCeil(bytes);
  switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE:
    case kDontNeedLocked:
      return Discard(start, end, advice);
    case kGuardInstall:
      return InstallGuards(start, end);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
      return Populate(start, end, advice);
    case MADV_PAGEOUT:
      return PageOut(start, end);
    case MADV_WIPEONFORK:
      return AdviseUnmanaged(start, end, advice);
    case MADV_WILLNEED:
    case MADV_COLD:
    case MADV_HUGEPAGE:
    case MADV_MERGEABLE:
      // Reading ahead and sorting out the cold is what uzswap does by itself;
      // huge and merged pages would not survive it.
      return AdviseForeign(start, end, advice);
    default:
      return Raw(start, end - start, advice);
  }
}

// Resident pages are forgotten first, so that none can be pinned between the
// kernel's drop and ours.
int64_t Pager::Discard(uint64_t start, uint64_t end, int advice) {
  ScopedExclusiveLock lock(core_.map_lock);
  // MADV_FREE leaves pages mapped until memory is short, which no page word
  // can describe; the program may not tell the two apart.
  const int now = advice == MADV_FREE ? MADV_DONTNEED : advice;
  int64_t result = 0;
  for (uint64_t at = start; at < end;) {
    const Extent part = NextPart(at, end);
    const bool ours = core_.managed.Contains(SlotOf(at));
    int64_t r;
    if (ours) {
      r = DropPart(part, now);
    } else {
      r = Raw(part.start, part.end - part.start, advice);
    }
    // A hole is reported at the end, other errors stop.
    if (r < 0 && r != -ENOMEM) return r;
    if (r < 0) result = r;
    at = part.end;
  }
  MeasureAfter(end - start);
  return result;
}

// Guards are marks in the page tables, which mapping a page would overwrite: no
// page of ours may ever be mapped there, so the range is managed no longer.
int64_t Pager::InstallGuards(uint64_t start, uint64_t end) {
  ScopedExclusiveLock lock(core_.map_lock);
  int64_t result = 0;
  for (uint64_t at = start; at < end;) {
    const Extent part = NextPart(at, end);
    const bool ours = core_.managed.Contains(SlotOf(at));
    const int64_t r = Raw(part.start, part.end - part.start, kGuardInstall);
    if (r < 0 && r != -ENOMEM) return r;
    if (r < 0) result = r;
    if (ours && r == 0) {
      CHECK(core_.uffd.Unregister(part.start, part.end - part.start).ok());
      Disown(part.start, part.end);
    }
    at = part.end;
  }
  MeasureAfter(end - start);
  return result;
}

// The part of [at, end) that is managed like the page at `at`.
Pager::Extent Pager::NextPart(uint64_t at, uint64_t end) const {
  const uint64_t i = core_.ranges.FirstAfter(at);
  if (i == core_.ranges.count() || core_.ranges.At(i).start >= end) {
    return {at, end};
  }
  const ManagedRange& range = core_.ranges.At(i);
  return {at, std::min(end, range.start <= at ? range.end : range.start)};
}

// Pinned pages stay mapped; everything between them is dropped.
int64_t Pager::DropPart(const Extent& part, int advice) {
  ForgetPages(part.start, part.end, /*keep_pinned=*/true);
  int64_t result = 0;
  uint64_t from = part.start;
  for (uint64_t at = part.start; at <= part.end; at += kPageSize) {
    const uint64_t unit = Index(SlotOf(at)) / ManagedMap::kUnitPages;
    if (at < part.end && !core_.managed.Touched(unit)) {
      // Nothing of it is resident; the loop's step completes the unit.
      at = std::min(part.end, (unit + 1) * ManagedMap::kUnitPages * kPageSize) -
           kPageSize;
      continue;
    }
    const bool pinned = at < part.end && core_.word(SlotOf(at)).Load() != 0;
    if (at < part.end && !pinned) continue;
    if (from < at) {
      const int64_t r = Raw(from, at - from, advice);
      if (r < 0) result = r;
    }
    from = at + kPageSize;
  }
  return result;
}

int64_t Pager::Populate(uint64_t start, uint64_t end, int advice) {
  const bool write = advice == MADV_POPULATE_WRITE;
  for (uint64_t at = start; at < end;) {
    Extent part;
    bool waits = false;
    {
      ScopedSharedLock lock(core_.map_lock);
      part = NextPart(at, end);
      const ManagedRange* range = core_.ranges.Find(at);
      if (range != nullptr) {
        // The kernel's answers for memory without that access.
        if (write && !range->writable()) return -EINVAL;
        if (!write && !range->readable()) return -EINVAL;
        part.end = at + kPageSize;
        const Status s = MakeResident(
            {SlotOf(at), 0, write ? Access::kWrite : Access::kRead});
        Balance();
        waits = s.error() == EAGAIN;
        if (!s.ok() && !waits) return s.error() == EIO ? -EFAULT : -s.error();
        if (!waits) {
          at = part.end;
          continue;
        }
      }
    }
    if (waits) {
      WaitForRoom();
      continue;
    }
    const int64_t r = Raw(part.start, part.end - part.start, advice);
    if (r < 0) return r;
    at = part.end;
  }
  return 0;
}

int64_t Pager::PageOut(uint64_t start, uint64_t end) {
  {
    ScopedSharedLock lock(core_.map_lock);
    (void)EvictPages(start, end);
  }
  return AdviseForeign(start, end, MADV_PAGEOUT);
}

// The kernel is asked about what is not ours only.
int64_t Pager::AdviseForeign(uint64_t start, uint64_t end, int advice) {
  ScopedExclusiveLock lock(core_.map_lock);
  int64_t result = 0;
  for (uint64_t at = start; at < end;) {
    const Extent part = NextPart(at, end);
    if (!core_.managed.Contains(SlotOf(at))) {
      const int64_t r = Raw(part.start, part.end - part.start, advice);
      if (r < 0 && r != -ENOMEM) return r;
      if (r < 0) result = r;
    }
    at = part.end;
  }
  return result;
}

// What a fork shall wipe must not be in tables that a fork copies.
int64_t Pager::AdviseUnmanaged(uint64_t start, uint64_t end, int advice) {
  const Status s = Unmanage(start, end - start);
  if (!s.ok()) return s.error() == EIO ? -EIO : -ENOMEM;
  return Raw(start, end - start, advice);
}

}  // namespace uzswap
