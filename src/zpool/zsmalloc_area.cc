// SPDX-License-Identifier: Apache-2.0
#include "zpool/zsmalloc_area.h"

#include <algorithm>

#include "base/check.h"
#include "base/os.h"
#include "zpool/failure.h"
#include "zpool/frames.h"

namespace uzswap {

// Runs that are between the warm and the cold lists, while their frames go.
struct ZsmallocArea::Victims {
  ZspageId ids[kDropMax];
  unsigned count = 0;
};

constinit LockClass ZsmallocArea::lock_class_{"zpool frames"};

Status ZsmallocArea::Init(PageCount limit) {
  CHECK(limit > 0 && limit <= kMaxPages);
  limit_ = limit;
  const Result<void*> r = os::Map(limit << kPageShift, /*sparse=*/true);
  if (!r.ok()) return r.status();
  base_ = static_cast<std::byte*>(r.value());
  Status status = zspage_of_page_.Init(limit);
  if (status.ok()) status = zspages_.Init(limit + 1);  // number 0 is unused
  if (!status.ok()) Release();
  return status;
}

void ZsmallocArea::Release() {
  zspages_.Release();
  zspage_of_page_.Release();
  if (base_ != nullptr) CHECK(os::Unmap(base_, limit_ << kPageShift).ok());
  base_ = nullptr;
}

// ---- taking

Result<ZspageId> ZsmallocArea::Take(unsigned pages, bool warm) {
  DCHECK(pages > 0 && pages <= ZsmallocGeometry::kMaxChain);
  ScopedLock lock(lock_);
  ZspageId id = warm ? Pop(warm_, pages) : 0;
  if (id != 0) {
    warm_frames_ -= zspages_[id].frames;
    return id;
  }
  id = Pop(cold_, pages);
  if (id == 0 && !zpool_failure::ShouldFail()) {
    id = Carve(pages);
    if (id == 0) id = Split(pages);
  }
  if (id == 0) return Status::Error(ENOMEM);
  return id;
}

ZspageId ZsmallocArea::Pop(ZspageId (&heads)[ZsmallocGeometry::kMaxChain + 1],
                           unsigned pages) {
  const ZspageId id = heads[pages];
  if (id != 0) heads[pages] = zspages_[id].next;
  return id;
}

ZspageId ZsmallocArea::Carve(unsigned pages) {
  const PageCount first = carved_pages_.load(std::memory_order_relaxed);
  if (first + pages > limit_) return 0;
  carved_pages_.store(first + pages, std::memory_order_relaxed);
  return Describe(static_cast<uint32_t>(first), pages);
}

// The whole area is carved: a longer run without frames gives up its end.
ZspageId ZsmallocArea::Split(unsigned pages) {
  for (unsigned longer = pages + 1; longer <= ZsmallocGeometry::kMaxChain;
       ++longer) {
    const ZspageId id = Pop(cold_, longer);
    if (id == 0) continue;
    Zspage& z = zspages_[id];
    z.pages = static_cast<uint8_t>(pages);
    const unsigned rest_pages = longer - pages;
    const ZspageId rest = Describe(z.first_page + pages, rest_pages);
    zspages_[rest].next = cold_[rest_pages];
    cold_[rest_pages] = rest;
    return id;
  }
  return 0;
}

ZspageId ZsmallocArea::Describe(uint32_t first_page, unsigned pages) {
  const ZspageId id = carved_runs_.load(std::memory_order_relaxed) + 1;
  carved_runs_.store(id, std::memory_order_relaxed);
  Zspage& z = zspages_[id];
  z.first_page = first_page;
  z.pages = static_cast<uint8_t>(pages);
  for (unsigned i = 0; i < pages; ++i) zspage_of_page_[first_page + i] = id;
  return id;
}

Status ZsmallocArea::Populate(const Zspage& z, unsigned frames) {
  DCHECK(z.frames < frames && frames <= z.pages);
  const unsigned more = frames - z.frames;
  UZSWAP_RETURN_IF_ERROR(TakeFrames(
      base_ + (PageCount{z.first_page} + z.frames) * kPageSize, more));
  frames_.fetch_add(more, std::memory_order_relaxed);
  return kOk;
}

// ---- giving back

PageCount ZsmallocArea::Give(ZspageId id) {
  Victims victims;
  {
    ScopedLock lock(lock_);
    Zspage& z = zspages_[id];
    ZspageId& head = z.frames > 0 ? warm_[z.pages] : cold_[z.pages];
    z.next = head;
    head = id;
    warm_frames_ += z.frames;
    const PageCount limit = WarmLimit();
    if (warm_frames_ <= limit) return 0;
    ChooseVictims(victims, limit / 2);
  }
  return DropFramesOf(victims);
}

PageCount ZsmallocArea::Trim(PageCount kept) {
  PageCount dropped = 0;
  for (;;) {
    Victims victims;
    {
      ScopedLock lock(lock_);
      if (warm_frames_ <= kept) return dropped;
      ChooseVictims(victims, 0);
    }
    const PageCount more = DropFramesOf(victims);
    if (more == 0) return dropped;  // locked into memory
    dropped += more;
  }
}

// What is kept must be small beside what is used, and enough that a pool which
// oscillates by a few zspages stays away from the system.
PageCount ZsmallocArea::WarmLimit() const {
  return std::min<PageCount>(256, 16 + frames() / 64);
}

void ZsmallocArea::ChooseVictims(Victims& victims, PageCount keep) {
  for (unsigned pages = ZsmallocGeometry::kMaxChain; pages > 0; --pages) {
    while (warm_[pages] != 0) {
      if (warm_frames_ <= keep || victims.count == kDropMax) return;
      const ZspageId id = Pop(warm_, pages);
      warm_frames_ -= zspages_[id].frames;
      victims.ids[victims.count++] = id;
    }
  }
}

PageCount ZsmallocArea::DropFramesOf(Victims& victims) {
  iovec ranges[kDropMax] = {};
  bool went[kDropMax];
  for (unsigned i = 0; i < victims.count; ++i) {
    const Zspage& z = zspages_[victims.ids[i]];
    ranges[i] = {base_ + PageCount{z.first_page} * kPageSize,
                 size_t{z.frames} << kPageShift};
  }
  DropFrames(ranges, victims.count, went);
  PageCount dropped = 0;
  for (unsigned i = 0; i < victims.count; ++i) {
    Zspage& z = zspages_[victims.ids[i]];
    // Else the frames stay, and so does the count.
    if (!went[i]) continue;
    dropped += z.frames;
    z.frames = 0;
  }
  frames_.fetch_sub(dropped, std::memory_order_relaxed);
  ScopedLock lock(lock_);
  for (unsigned i = 0; i < victims.count; ++i) {
    Zspage& z = zspages_[victims.ids[i]];
    ZspageId& head = z.frames > 0 ? warm_[z.pages] : cold_[z.pages];
    warm_frames_ += z.frames;
    z.next = head;
    head = victims.ids[i];
  }
  return dropped;
}

// ---- accounts

ByteCount ZsmallocArea::metadata_bytes() const {
  const ByteCount pages = carved_pages_.load(std::memory_order_relaxed);
  const ByteCount runs = carved_runs_.load(std::memory_order_relaxed);
  return PageCeil(pages * sizeof(uint32_t)) +
         PageCeil((runs + 1) * sizeof(Zspage));
}

uint64_t ZsmallocArea::CheckList(ZspageId head, unsigned pages, bool warm) {
  const ZspageId runs = carved_runs_.load(std::memory_order_relaxed);
  uint64_t count = 0;
  for (ZspageId id = head; id != 0; id = zspages_[id].next) {
    CHECK(id <= runs && ++count <= runs);
    CHECK(zspages_[id].pages == pages);
    CHECK((zspages_[id].frames > 0) == warm);
  }
  return count;
}

void ZsmallocArea::CheckInvariants(uint64_t used_runs, PageCount used_frames) {
  ScopedLock lock(lock_);
  const ZspageId runs = carved_runs_.load(std::memory_order_relaxed);
  PageCount pages = 0;
  PageCount all_frames = 0;
  for (ZspageId id = 1; id <= runs; ++id) {
    const Zspage& z = zspages_[id];
    CHECK(z.pages > 0 && z.frames <= z.pages);
    for (unsigned i = 0; i < z.pages; ++i) {
      CHECK(zspage_of_page_[z.first_page + i] == id);
    }
    pages += z.pages;
    all_frames += z.frames;
  }
  CHECK(pages == carved_pages_.load(std::memory_order_relaxed));
  CHECK(all_frames == frames());
  CHECK(all_frames == used_frames + warm_frames_);
  uint64_t free_runs = 0;
  for (unsigned n = 1; n <= ZsmallocGeometry::kMaxChain; ++n) {
    free_runs += CheckList(warm_[n], n, /*warm=*/true);
    free_runs += CheckList(cold_[n], n, /*warm=*/false);
  }
  CHECK(free_runs + used_runs == runs);
}

}  // namespace uzswap
