// SPDX-License-Identifier: Apache-2.0
// mmap, munmap, mprotect and brk: the raw call and the books, under the
// exclusive map lock, so that no fault or eviction sees one without the other.
// Calls that cannot touch managed memory take no lock.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/os.h"
#include "pager/pager.h"

namespace uzswap {
namespace {

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

// False: the kernel refuses such a range, or there is nothing of ours in it.
bool Usable(uint64_t start, uint64_t bytes) {
  return start % kPageSize == 0 && start < kAddressLimit &&
         bytes <= kAddressLimit - start;
}

}  // namespace

bool Pager::Manageable(const MmapCall& call) const {
  constexpr int kWanted = MAP_PRIVATE | MAP_ANONYMOUS;
  constexpr int kUnwanted =
      MAP_STACK | MAP_GROWSDOWN | MAP_LOCKED | MAP_HUGETLB;
  // MAP_SHARED_VALIDATE has the bit of MAP_PRIVATE.
  return (call.flags & (MAP_TYPE | MAP_ANONYMOUS)) == kWanted &&
         (call.flags & kUnwanted) == 0 && (call.prot & PROT_EXEC) == 0;
}

// The mapped range is ours from now on. On error nothing has changed.
Status Pager::Adopt(uint64_t start, uint64_t end, uint32_t prot) {
  UZSWAP_RETURN_IF_ERROR(core_.uffd.Register(start, end - start));
  const Status s = core_.ranges.Set(start, end, prot);
  if (!s.ok()) {
    core_.uffd.Unregister(start, end - start).Ignore();  // s is the error
    return s;
  }
  core_.managed.Set(SlotOf(start), (end - start) / kPageSize);
  if (thp_always_) {
    // A huge page would come back whole where one small page was evicted.
    (void)os::Syscall(SYS_madvise, Signed(start), Signed(end - start),
                      MADV_NOHUGEPAGE);
  }
  return kOk;
}

int64_t Pager::Mmap(const MmapCall& call, bool manage) {
  const bool managed = manage && Manageable(call);
  const bool fixed = (call.flags & MAP_FIXED) != 0;
  const int flags = managed ? call.flags & ~MAP_POPULATE : call.flags;
  auto raw = [&] {
    return os::Syscall(SYS_mmap, Signed(call.address), Signed(call.length),
                       call.prot, flags, call.fd, call.offset);
  };
  if (!managed && !(fixed && IsManaged(call.address, call.length))) {
    return raw();
  }
  ScopedExclusiveLock lock(core_.map_lock);
  const int64_t r = raw();
  const uint64_t bytes = PageCeil(call.length);
  if (r < 0) {
    if (fixed && Usable(call.address, bytes)) {
      DisownUnmapped(call.address, call.address + bytes);
    }
    return r;
  }
  const auto start = static_cast<uint64_t>(r);
  // A hint above 47 bits asks the kernel for addresses that have no slot.
  if (!Usable(start, bytes)) return r;
  // Whatever was here is gone, even if uzswap was not told.
  Disown(start, start + bytes);
  // If it cannot be registered, it is ordinary memory that never leaves.
  if (managed) {
    Adopt(start, start + bytes, static_cast<uint32_t>(call.prot) & 7).Ignore();
  }
  MeasureAfter(bytes);
  return r;
}

int64_t Pager::Munmap(uint64_t start, uint64_t bytes) {
  auto raw = [&] {
    return os::Syscall(SYS_munmap, Signed(start), Signed(bytes));
  };
  if (!Usable(start, bytes) || !IsManaged(start, bytes)) return raw();
  ScopedExclusiveLock lock(core_.map_lock);
  const int64_t r = raw();
  const uint64_t end = start + PageCeil(bytes);
  if (r == 0) {
    Disown(start, end);
    MeasureAfter(bytes);
  } else {
    DisownUnmapped(start, end);
  }
  return r;
}

// The kernel changes mapping by mapping and stops at the first error, so this
// goes range by range and stops there too; the books then agree with it.
int64_t Pager::Mprotect(uint64_t start, uint64_t bytes, int prot) {
  if (!Usable(start, bytes) || !IsManaged(start, bytes)) {
    return os::Syscall(SYS_mprotect, Signed(start), Signed(bytes), prot);
  }
  ScopedExclusiveLock lock(core_.map_lock);
  const uint64_t end = start + PageCeil(bytes);
  for (uint64_t at = start; at < end;) {
    const uint64_t i = core_.ranges.FirstAfter(at);
    uint64_t next = end;
    bool ours = false;
    if (i < core_.ranges.count() && core_.ranges.At(i).start < end) {
      ours = core_.ranges.At(i).start <= at;
      next = std::min(end,
                      ours ? core_.ranges.At(i).end : core_.ranges.At(i).start);
    }
    const int64_t r =
        os::Syscall(SYS_mprotect, Signed(at), Signed(next - at), prot);
    if (r < 0) return r;
    if (ours) {
      CHECK(core_.ranges.Set(at, next, static_cast<uint32_t>(prot) & 7).ok());
    }
    at = next;
  }
  return 0;
}

int64_t Pager::Brk(uint64_t new_break) {
  ScopedExclusiveLock lock(core_.map_lock);
  const auto before = static_cast<uint64_t>(os::Syscall(SYS_brk, 0));
  const int64_t r = os::Syscall(SYS_brk, Signed(new_break));
  const auto after = static_cast<uint64_t>(r);
  const uint64_t from = std::max(PageCeil(before), PageCeil(first_break_));
  const uint64_t to = PageCeil(after);
  if (after > before && to > from) {
    Disown(from, to);                                  // see Mmap
    Adopt(from, to, PROT_READ | PROT_WRITE).Ignore();  // see Mmap
  } else if (after < before && to < PageCeil(before)) {
    Disown(to, PageCeil(before));
  }
  if (after != before) MeasureAfter(after > before ? 0 : before - after);
  return r;
}

}  // namespace uzswap
