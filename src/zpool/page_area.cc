// SPDX-License-Identifier: Apache-2.0
#include "zpool/page_area.h"

#include <algorithm>

#include "base/check.h"
#include "base/os.h"
#include "zpool/failure.h"
#include "zpool/fold_hooks.h"
#include "zpool/frames.h"

namespace uzswap {

constinit LockClass PageArea::lock_class_{"zpool pages"};

Status PageArea::Init(PageCount limit) {
  CHECK(limit > 1 && limit <= kMaxPages);
  limit_ = limit;
  const Result<void*> r = os::Map(limit << kPageShift, /*sparse=*/true);
  if (!r.ok()) return r.status();
  base_ = static_cast<std::byte*>(r.value());
  const Status status = words_.Init(limit);
  if (!status.ok()) Release();
  return status;
}

void PageArea::Release() {
  words_.Release();
  if (base_ != nullptr) CHECK(os::Unmap(base_, limit_ << kPageShift).ok());
  base_ = nullptr;
}

// ---- taking

Result<PageNumber> PageArea::Take() {
  fold_hooks::MaySleep();
  PageNumber page = 0;
  PageCount pages = 1;
  {
    ScopedLock lock(lock_);
    page = Pop(warm_);
    if (page != 0) {
      --warm_count_;
      Word(page).store(kTaken, std::memory_order_relaxed);
      return page;
    }
    page = Pop(cold_);
    if (page == 0 && !zpool_failure::ShouldFail()) page = Carve(&pages);
  }
  if (page == 0) return Status::Error(ENOMEM);
  const Status status = TakeFrames(At(page), pages);
  ScopedLock lock(lock_);
  for (PageNumber i = 0; i < pages; ++i) {
    if (!status.ok()) {
      Push(cold_, page + i);
    } else if (i > 0) {
      Push(warm_, page + i);
      ++warm_count_;
    }
  }
  if (!status.ok()) return status;
  frames_.fetch_add(pages, std::memory_order_relaxed);
  Word(page).store(kTaken, std::memory_order_relaxed);
  return page;
}

PageNumber PageArea::Pop(PageNumber& head) {
  const PageNumber page = head;
  if (page != 0) head = Word(page).load(std::memory_order_relaxed);
  return page;
}

void PageArea::Push(PageNumber& head, PageNumber page) {
  Word(page).store(head, std::memory_order_relaxed);
  head = page;
}

// Pages that never were one, several if the pool is large: it will want them,
// and the system gives them cheaper together.
PageNumber PageArea::Carve(PageCount* pages) {
  const PageNumber first = carved_.load(std::memory_order_relaxed);
  if (first == limit_) return 0;
  *pages = std::min({1 + frames() / 64, PageCount{16}, limit_ - first});
  carved_.store(first + static_cast<PageNumber>(*pages),
                std::memory_order_relaxed);
  return first;
}

// ---- giving back

void PageArea::Give(PageNumber page) {
  fold_hooks::MaySleep();
  PageNumber victims[kDropMax];
  unsigned count = 0;
  {
    ScopedLock lock(lock_);
    DCHECK((Word(page).load(std::memory_order_relaxed) & kTaken) != 0);
    Push(warm_, page);
    const PageCount limit = WarmLimit();
    if (++warm_count_ <= limit) return;
    while (warm_count_ > limit / 2 && count < kDropMax) {
      victims[count++] = Pop(warm_);
      --warm_count_;
    }
  }
  GiveBack(victims, count);
}

// What is kept must be small beside what is used, and enough that a pool which
// oscillates by a few pages stays away from the system.
PageCount PageArea::WarmLimit() const {
  return std::min<PageCount>(256, 16 + frames() / 64);
}

void PageArea::GiveBack(const PageNumber* pages, unsigned count) {
  iovec ranges[kDropMax] = {};
  bool dropped[kDropMax];
  for (unsigned i = 0; i < count; ++i) ranges[i] = {At(pages[i]), kPageSize};
  DropFrames(ranges, count, dropped);
  ScopedLock lock(lock_);
  for (unsigned i = 0; i < count; ++i) {
    if (dropped[i]) {
      Push(cold_, pages[i]);
      frames_.fetch_sub(1, std::memory_order_relaxed);
    } else {
      Push(warm_, pages[i]);
      ++warm_count_;
    }
  }
}

void PageArea::CheckInvariants(PageCount taken) {
  PageCount seen = 0;
  ForEachTaken([&seen](PageNumber) { ++seen; });
  CHECK(seen == taken);
  ScopedLock lock(lock_);
  CHECK(frames() == taken + warm_count_);
  const PageCount carved = carved_.load(std::memory_order_relaxed) - 1;
  PageCount warm = 0;
  PageCount cold = 0;
  for (PageNumber page = warm_; page != 0;
       page = Word(page).load(std::memory_order_relaxed)) {
    CHECK(Exists(page) && ++warm <= carved);
  }
  for (PageNumber page = cold_; page != 0;
       page = Word(page).load(std::memory_order_relaxed)) {
    CHECK(Exists(page) && ++cold <= carved);
  }
  CHECK(warm == warm_count_);
  CHECK(taken + warm + cold == carved);
}

}  // namespace uzswap
