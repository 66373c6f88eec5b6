// SPDX-License-Identifier: Apache-2.0
// Allocation and free of z3fold.
//
// A page is found in two ways: by an object's owner, who is using the object,
// so that it and its page stay; or on a list, under the list's lock, by trying
// for the page's lock. Whoever empties a page has it off its list before its
// lock is free: then nobody can find it, and nobody waits for it.
#include "zpool/z3fold.h"

#include <algorithm>
#include <bit>
#include <new>

#include "base/check.h"
#include "base/os.h"
#include "zpool/z3fold_pool.h"

namespace uzswap {

constinit LockClass FoldHeader::lock_class{"z3fold page"};
constinit LockClass FoldLists::lock_class{"z3fold lists"};

// ---- the layout of a page

unsigned FoldHeader::Largest() const {
  return std::max({chunks[kFoldFirst], chunks[kFoldMiddle], chunks[kFoldLast]});
}

unsigned FoldHeader::Start(FoldBuddy b) const {
  if (b == kFoldFirst) return 1;
  return b == kFoldMiddle ? start_middle : kChunksPerPage - chunks[kFoldLast];
}

unsigned FoldHeader::FreeRun() const {
  if (!Has(kFoldMiddle)) {
    return kUsableChunks - chunks[kFoldFirst] - chunks[kFoldLast];
  }
  return std::max(Has(kFoldFirst) ? 0 : GapBefore(),
                  Has(kFoldLast) ? 0 : GapBehind());
}

FoldBuddy FoldHeader::Choose(unsigned count) const {
  if (Has(kFoldMiddle)) {
    return !Has(kFoldFirst) && count <= GapBefore() ? kFoldFirst : kFoldLast;
  }
  if (!Has(kFoldFirst)) return kFoldFirst;
  return Has(kFoldLast) ? kFoldMiddle : kFoldLast;
}

FoldBuddy FoldHeader::BuddyAt(uint32_t handle, unsigned chunk) const {
  for (const FoldBuddy b : {kFoldFirst, kFoldMiddle, kFoldLast}) {
    if (handles[b] == handle && Start(b) == chunk) return b;
  }
  return kFoldBuddies;
}

// ---- allocate

Z3foldPool::Z3foldPool() : cpus_(os::CpuCount()) {
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) new (&ListsOf(cpu)) FoldLists;
}

Status Z3foldPool::Place(uint32_t handle,
                         unsigned chunks) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  PageNumber page = LockPageWithRoom(chunks);
  if (page == 0) {
    const Result<PageNumber> taken = area_.Take();
    if (!taken.ok()) return taken.status();
    page = taken.value();
    // Whatever the page was before, it is a new one now.
    (new (area_.At(page)) FoldHeader)->Lock();
  }
  FoldHeader& header = Header(page);
  handles_.Set(handle, PlaceIn(header, page, handle, chunks).Word());
  Link(header, page);
  header.Unlock();
  return kOk;
}

// This CPU's lists first. Those of all others too, so that no page is out of
// reach because its CPU is gone or its threads are elsewhere.
PageNumber Z3foldPool::LockPageWithRoom(unsigned chunks) {
  const unsigned own = ThisCpu();
  for (unsigned i = 0; i < cpus_; ++i) {
    const unsigned cpu = own + i < cpus_ ? own + i : own + i - cpus_;
    FoldLists& lists = ListsOf(cpu);
    if (lists.bins.load(std::memory_order_relaxed) >> chunks == 0) continue;
    const PageNumber page = LockPageOn(lists, chunks);
    if (page != 0) return page;
  }
  return 0;
}

// Best fit. One success is enough: a loop that goes on after it would end up
// with the locks of all pages.
PageNumber Z3foldPool::LockPageOn(FoldLists& lists, unsigned chunks)
    UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  constexpr unsigned kLooks = 4;  // at pages that others hold
  ScopedLock lock(lists.lock);
  uint64_t bins = lists.bins.load(std::memory_order_relaxed);
  bins = bins >> chunks << chunks;
  unsigned looks = 0;
  for (; bins != 0; bins &= bins - 1) {
    PageNumber page = lists.heads[std::countr_zero(bins)];
    for (; page != 0; page = Header(page).next) {
      FoldHeader& header = Header(page);
      if (header.TryLock()) {
        CHECK(!header.claimed);
        UnlinkFrom(lists, header);
        return page;
      }
      if (++looks == kLooks) return 0;
    }
  }
  return 0;
}

ChunkPool::Location Z3foldPool::PlaceIn(FoldHeader& header, PageNumber page,
                                        uint32_t handle, unsigned chunks) {
  DCHECK(chunks <= header.FreeRun());
  const FoldBuddy b = header.Choose(chunks);
  if (b == kFoldMiddle) {
    header.start_middle = static_cast<uint8_t>(1 + header.chunks[kFoldFirst]);
  }
  header.Set(b, handle, chunks);
  return {page, header.Start(b)};
}

// ---- free

void Z3foldPool::Remove(uint32_t handle, Location at) {
  CheckShared(at);
  FoldHeader& header = Header(at.page);
  header.Lock();
  handles_.EndUse(handle);
  const FoldBuddy b = header.BuddyAt(handle, at.chunk);
  CHECK(b != kFoldBuddies);
  CHECK(!handles_.InUse(handle));
  header.Set(b, 0, 0);
  if (header.claimed) {
    header.Unlock();
  } else {
    Settle(header, at.page);
  }
}

void Z3foldPool::Settle(FoldHeader& header, PageNumber page) {
  if (header.Objects() == 0) {
    Unlink(header);
    header.Unlock();
    area_.Give(page);
    return;
  }
  CompactInPage(header, page);
  if (header.bin == 0 || header.bin != header.FreeRun()) {
    Unlink(header);
    Link(header, page);
  }
  header.Unlock();
}

ByteCount Z3foldPool::Capacity(uint32_t handle, Location at) {
  FoldHeader& header = Header(at.page);
  header.Lock();
  const FoldBuddy b = header.BuddyAt(handle, at.chunk);
  CHECK(b != kFoldBuddies);
  const ByteCount bytes = header.chunks[b] * kChunkSize;
  header.Unlock();
  return bytes;
}

// ---- the lists

void Z3foldPool::Link(FoldHeader& header, PageNumber page) {
  DCHECK(header.bin == 0);
  const unsigned bin = header.FreeRun();
  if (bin == 0) return;
  const unsigned cpu = ThisCpu();
  FoldLists& lists = ListsOf(cpu);
  ScopedLock lock(lists.lock);
  header.cpu = static_cast<uint16_t>(cpu);
  header.bin = static_cast<uint8_t>(bin);
  header.prev = 0;
  header.next = lists.heads[bin];
  if (header.next != 0) Header(header.next).prev = page;
  lists.heads[bin] = page;
  lists.bins.store(
      lists.bins.load(std::memory_order_relaxed) | uint64_t{1} << bin,
      std::memory_order_relaxed);
}

void Z3foldPool::Unlink(FoldHeader& header) {
  if (header.bin == 0) return;
  FoldLists& lists = ListsOf(header.cpu);
  ScopedLock lock(lists.lock);
  UnlinkFrom(lists, header);
}

void Z3foldPool::UnlinkFrom(FoldLists& lists, FoldHeader& header) {
  PageNumber& head = lists.heads[header.bin];
  (header.prev != 0 ? Header(header.prev).next : head) = header.next;
  if (header.next != 0) Header(header.next).prev = header.prev;
  if (head == 0) {
    lists.bins.store(lists.bins.load(std::memory_order_relaxed) &
                         ~(uint64_t{1} << header.bin),
                     std::memory_order_relaxed);
  }
  header.bin = 0;
}

// ---- the pool

ByteCount Z3foldPool::metadata_bytes() const {
  const auto* begin = reinterpret_cast<const std::byte*>(this);
  const std::byte* end = list_memory_ + cpus_ * sizeof(FoldLists);
  return PageCeil(static_cast<ByteCount>(end - begin)) +
         handles_.metadata_bytes() + area_.metadata_bytes();
}

// Page locks are free: no operation was in flight. Writing to them would give
// the child a copy of every page.
void Z3foldPool::ResetLocksInChild() {
  for (unsigned cpu = 0; cpu < cpus_; ++cpu) ListsOf(cpu).lock.ResetInChild();
  ResetBaseInChild();
}

void Z3foldPool::Destroy() {
  ReleaseMemory();
  CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
}

Result<Zpool*> NewZ3fold() {
  const Result<void*> memory = os::Map(PageCeil(sizeof(Z3foldPool)));
  if (!memory.ok()) return memory.status();
  auto* pool = new (memory.value()) Z3foldPool;
  const Status status = pool->Init();
  if (!status.ok()) {
    CHECK(os::Unmap(pool, PageCeil(sizeof(*pool))).ok());
    return status;
  }
  return static_cast<Zpool*>(pool);
}

}  // namespace uzswap
