// SPDX-License-Identifier: Apache-2.0
#include "zpool/zbud.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

#include "base/check.h"
#include "base/mutex.h"
#include "base/os.h"
#include "zpool/chunk_pool.h"

namespace uzswap {
namespace {

enum Buddy : unsigned { kFirst, kLast, kBuddies };

// The first chunk of a page; guarded by the pool's lock while the page is on a
// list. Invariants: handles[b] != 0 exactly when chunks[b] != 0; the two fit.
struct BudHeader {
  PageNumber next = 0;
  PageNumber prev = 0;
  uint32_t handles[kBuddies] = {};
  uint8_t chunks[kBuddies] = {};

  unsigned Used() const { return chunks[kFirst] + chunks[kLast]; }
  bool Both() const { return chunks[kFirst] != 0 && chunks[kLast] != 0; }
  // Where it is listed: by its free chunks, and under 0 when it has both
  // buddies (an object has at least one chunk, so nobody looks there).
  unsigned Bin() const { return Both() ? 0 : kUsableChunks - Used(); }
  unsigned Start(Buddy b) const {
    return b == kFirst ? 1 : kChunksPerPage - chunks[kLast];
  }
  // REQUIRES: the handle's object is here.
  Buddy BuddyOf(uint32_t handle) const {
    return handles[kFirst] == handle ? kFirst : kLast;
  }
  void Set(Buddy b, uint32_t handle, unsigned count) {
    handles[b] = handle;
    chunks[b] = static_cast<uint8_t>(count);
  }
};
static_assert(sizeof(BudHeader) <= kChunkSize);

// Invariants: every page with a header is on the list of its Bin(), unless
// Compact is just moving the only object away from it; bit n of bins_ is set
// when list n has pages.
class ZbudPool final : public ChunkPool {
 public:
  Status Init() { return InitMemory(kBuddies); }

  PageCount Compact(unsigned objects) override;
  ByteCount metadata_bytes() const override {
    return PageCeil(sizeof(*this)) + handles_.metadata_bytes() +
           area_.metadata_bytes();
  }
  const char* name() const override { return "zbud"; }
  void ResetLocksInChild() override {
    lock_.ResetInChild();
    ResetBaseInChild();
  }
  void CheckInvariants() override;
  void Destroy() override {
    ReleaseMemory();
    CHECK(os::Unmap(this, PageCeil(sizeof(*this))).ok());
  }

 private:
  struct Move {
    uint32_t handle;
    unsigned chunks;
    Location from;
    Location to;
  };

  BudHeader& Header(PageNumber page) {
    return *reinterpret_cast<BudHeader*>(area_.At(page));
  }
  Status Place(uint32_t handle, unsigned chunks) override;
  void Remove(uint32_t handle, Location at) override;
  ByteCount Capacity(uint32_t handle, Location at) override;

  Location PlaceIn(PageNumber page, uint32_t handle, unsigned chunks)
      UZSWAP_REQUIRES(lock_);
  PageNumber Roomiest(unsigned chunks, PageNumber but) UZSWAP_REQUIRES(lock_);
  bool Plan(Move* move);
  bool PlanFrom(PageNumber source, Move* move) UZSWAP_REQUIRES(lock_);
  void Link(PageNumber page) UZSWAP_REQUIRES(lock_);
  void Unlink(PageNumber page) UZSWAP_REQUIRES(lock_);
  PageCount CheckBin(unsigned bin, uint64_t* objects) UZSWAP_REQUIRES(lock_);

  static LockClass lock_class_;
  Mutex lock_{lock_class_};
  PageNumber heads_[kBins] UZSWAP_GUARDED_BY(lock_) = {};
  uint64_t bins_ UZSWAP_GUARDED_BY(lock_) = 0;
};

constinit LockClass ZbudPool::lock_class_{"zbud"};

// ---- allocate and free

Status ZbudPool::Place(uint32_t handle, unsigned chunks) {
  {
    ScopedLock lock(lock_);
    const PageNumber page = Roomiest(chunks, 0);
    if (page != 0) {
      Unlink(page);
      handles_.Set(handle, PlaceIn(page, handle, chunks).Word());
      return kOk;
    }
  }
  const Result<PageNumber> page = area_.Take();
  if (!page.ok()) return page.status();
  new (area_.At(page.value())) BudHeader;
  ScopedLock lock(lock_);
  handles_.Set(handle, PlaceIn(page.value(), handle, chunks).Word());
  return kOk;
}

// Of the pages with just enough room for `chunks`, the one used last, but not
// `but`; 0 if there is none.
PageNumber ZbudPool::Roomiest(unsigned chunks, PageNumber but) {
  uint64_t bins = bins_ >> chunks << chunks;
  for (; bins != 0; bins &= bins - 1) {
    PageNumber page = heads_[std::countr_zero(bins)];
    if (page == but) page = Header(page).next;
    if (page != 0) return page;
  }
  return 0;
}

// The first buddy if it is free, and the page on its list.
ChunkPool::Location ZbudPool::PlaceIn(PageNumber page, uint32_t handle,
                                      unsigned chunks) {
  BudHeader& header = Header(page);
  const Buddy b = header.chunks[kFirst] == 0 ? kFirst : kLast;
  header.Set(b, handle, chunks);
  Link(page);
  return {page, header.Start(b)};
}

void ZbudPool::Remove(uint32_t handle, Location at) {
  BudHeader& header = Header(at.page);
  bool empty = false;
  {
    ScopedLock lock(lock_);
    CheckShared(at);
    const Buddy b = header.BuddyOf(handle);
    CHECK(header.handles[b] == handle && header.Start(b) == at.chunk);
    handles_.EndUse(handle);
    CHECK(!handles_.InUse(handle));
    Unlink(at.page);
    header.Set(b, 0, 0);
    empty = header.Used() == 0;
    if (!empty) Link(at.page);
  }
  if (empty) area_.Give(at.page);
}

ByteCount ZbudPool::Capacity(uint32_t handle, Location at) {
  ScopedLock lock(lock_);
  const BudHeader& header = Header(at.page);
  const Buddy b = header.BuddyOf(handle);
  CHECK(header.handles[b] == handle && header.Start(b) == at.chunk);
  return header.chunks[b] * kChunkSize;
}

// ---- compaction: the smallest object goes to where it fills most

PageCount ZbudPool::Compact(unsigned objects) {
  DCHECK(!frozen());
  const PageCount before = area_.frames();
  Move move{};
  for (; objects > 0 && Plan(&move); --objects) {
    // Nobody else can reach the object, and its old page is on no list.
    memcpy(At(move.to), At(move.from), move.chunks * kChunkSize);
    handles_.Set(move.handle, move.to.Word());
    Header(move.from.page)
        .Set(Header(move.from.page).BuddyOf(move.handle), 0, 0);
    area_.Give(move.from.page);
  }
  const PageCount after = area_.frames();
  return before > after ? before - after : 0;
}

// Takes the page of the smallest movable object off its list and makes room for
// the object elsewhere. False: no two pages can be joined now.
bool ZbudPool::Plan(Move* move) {
  constexpr unsigned kLooks = 4;  // at each list, so that the lock is short
  ScopedLock lock(lock_);
  for (uint64_t bins = bins_ & ~uint64_t{1}; bins != 0;) {
    const auto bin = 63 - static_cast<unsigned>(std::countl_zero(bins));
    bins &= ~(uint64_t{1} << bin);
    PageNumber page = heads_[bin];
    // If the smallest fits nowhere, no other does.
    if (Roomiest(kUsableChunks - bin, page) == 0) return false;
    for (unsigned n = 0; n < kLooks && page != 0; ++n) {
      if (PlanFrom(page, move)) return true;
      page = Header(page).next;
    }
  }
  return false;
}

bool ZbudPool::PlanFrom(PageNumber source, Move* move) {
  const BudHeader& header = Header(source);
  const Buddy b = header.chunks[kFirst] != 0 ? kFirst : kLast;
  const uint32_t handle = header.handles[b];
  const unsigned chunks = header.chunks[b];
  const PageNumber target = Roomiest(chunks, source);
  if (target == 0) return false;
  const Location from{source, header.Start(b)};
  if (!handles_.BeginMove(handle, from.Word())) return false;
  Unlink(source);
  Unlink(target);
  *move = {handle, chunks, from, PlaceIn(target, handle, chunks)};
  return true;
}

// ---- the lists

void ZbudPool::Link(PageNumber page) {
  BudHeader& header = Header(page);
  const unsigned bin = header.Bin();
  header.prev = 0;
  header.next = heads_[bin];
  if (header.next != 0) Header(header.next).prev = page;
  heads_[bin] = page;
  bins_ |= uint64_t{1} << bin;
}

void ZbudPool::Unlink(PageNumber page) {
  const BudHeader& header = Header(page);
  const unsigned bin = header.Bin();
  (header.prev != 0 ? Header(header.prev).next : heads_[bin]) = header.next;
  if (header.next != 0) Header(header.next).prev = header.prev;
  if (heads_[bin] == 0) bins_ &= ~(uint64_t{1} << bin);
}

// ---- checks

PageCount ZbudPool::CheckBin(unsigned bin, uint64_t* objects) {
  CHECK((bins_ >> bin & 1) == (heads_[bin] != 0 ? 1 : 0));
  PageCount pages = 0;
  PageNumber prev = 0;
  for (PageNumber page = heads_[bin]; page != 0; page = Header(page).next) {
    const BudHeader& header = Header(page);
    CheckShared({page, 1});
    CHECK(++pages <= area_.frames());
    CHECK(header.prev == prev);
    CHECK(header.Bin() == bin);
    CHECK(header.Used() > 0 && header.Used() <= kUsableChunks);
    for (const Buddy b : {kFirst, kLast}) {
      CHECK((header.handles[b] == 0) == (header.chunks[b] == 0));
      if (header.handles[b] == 0) continue;
      CHECK(handles_.WasGiven(header.handles[b]));
      CHECK((handles_.Get(header.handles[b]) ==
             Location{page, header.Start(b)}.Word()));
      ++*objects;
    }
    prev = page;
  }
  return pages;
}

void ZbudPool::CheckInvariants() {
  uint64_t objects = 0;
  PageCount pages = 0;
  {
    ScopedLock lock(lock_);
    for (unsigned bin = 0; bin < kBins; ++bin) {
      pages += CheckBin(bin, &objects);
    }
  }
  const PageCount headless = CheckHeadless();
  handles_.CheckInvariants(objects + headless);
  area_.CheckInvariants(pages + headless);
}

}  // namespace

Result<Zpool*> NewZbud() {
  const Result<void*> memory = os::Map(PageCeil(sizeof(ZbudPool)));
  if (!memory.ok()) return memory.status();
  auto* pool = new (memory.value()) ZbudPool;
  const Status status = pool->Init();
  if (!status.ok()) {
    CHECK(os::Unmap(pool, PageCeil(sizeof(*pool))).ok());
    return status;
  }
  return static_cast<Zpool*>(pool);
}

}  // namespace uzswap
