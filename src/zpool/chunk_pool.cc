// SPDX-License-Identifier: Apache-2.0
#include "zpool/chunk_pool.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace uzswap {

Status ChunkPool::InitMemory(unsigned objects_per_page) {
  constexpr PageCount kMinPages = (PageCount{16} << 20) >> kPageShift;
  // Under a limit on address space a smaller pool is better than none.
  Status status;
  for (PageCount pages = PageArea::kMaxPages; pages >= kMinPages; pages /= 2) {
    status = area_.Init(pages);
    if (!status.ok()) continue;
    status = handles_.Init(pages * objects_per_page);
    if (status.ok()) return kOk;
    area_.Release();
  }
  return status;
}

void ChunkPool::ReleaseMemory() {
  handles_.Release();
  area_.Release();
}

Result<Handle> ChunkPool::AllocateIn(ByteCount bytes) {
  DCHECK(!frozen());
  if (bytes == 0) return Status::Error(EINVAL);
  if (bytes > kPageSize) return Status::Error(ENOSPC);
  const uint32_t handle = handles_.Take();
  if (handle == 0) return Status::Error(ENOMEM);
  const Status status =
      bytes > kMaxShared ? PlaceAlone(handle) : Place(handle, ChunksOf(bytes));
  if (!status.ok()) {
    handles_.Return(handle);
    return status;
  }
  return Handle{handle};
}

Status ChunkPool::PlaceAlone(uint32_t handle) {
  const Result<PageNumber> page = area_.Take();
  if (!page.ok()) return page.status();
  area_.Word(page.value())
      .store(PageArea::kTaken | handle, std::memory_order_relaxed);
  handles_.Set(handle, Location{page.value(), 0}.Word());
  return kOk;
}

void ChunkPool::FreeIn(Handle handle) {
  const uint32_t word = Checked(handle);
  // In use, it stays where it is until its page is locked.
  const Location at = Location::From(handles_.BeginUse(word));
  CHECK(area_.Exists(at.page));
  if (at.chunk == 0) {
    RemoveAlone(word, at);
  } else {
    Remove(word, at);
  }
  handles_.Return(word);
}

void ChunkPool::RemoveAlone(uint32_t handle, Location at) {
  handles_.EndUse(handle);
  CHECK(!handles_.InUse(handle));
  // Whoever changes the word frees the page: it is freed once, and dies for a
  // handle that was freed before.
  uint32_t owned = PageArea::kTaken | handle;
  CHECK(area_.Word(at.page).compare_exchange_strong(owned, PageArea::kTaken));
  area_.Give(at.page);
}

void ChunkPool::CheckShared(Location at) {
  CHECK(area_.Exists(at.page));
  CHECK(area_.Word(at.page).load(std::memory_order_relaxed) ==
        PageArea::kTaken);
}

uint32_t ChunkPool::Checked(Handle handle) const {
  DCHECK(!frozen());
  CHECK(handles_.WasGiven(static_cast<uint64_t>(handle)));
  return static_cast<uint32_t>(handle);
}

void ChunkPool::WriteIn(Handle handle, std::span<const std::byte> bytes) {
  const uint32_t word = Checked(handle);
  const Location at = Location::From(handles_.BeginUse(word));
  DCHECK(bytes.size() <= (at.chunk == 0 ? kPageSize : Capacity(word, at)));
  memcpy(At(at), bytes.data(), bytes.size());
  handles_.EndUse(word);
}

std::span<const std::byte> ChunkPool::ReadIn(Handle handle, ByteCount bytes) {
  const uint32_t word = Checked(handle);
  const Location at = Location::From(handles_.BeginUse(word));
  DCHECK(bytes <= (at.chunk == 0 ? kPageSize : Capacity(word, at)));
  return {At(at), bytes};
}

PageCount ChunkPool::CheckHeadless() {
  PageCount count = 0;
  area_.ForEachTaken([&](PageNumber page) {
    const uint32_t word = area_.Word(page).load(std::memory_order_relaxed);
    if (word == PageArea::kTaken) return;
    const uint32_t handle = word & ~PageArea::kTaken;
    CHECK(handles_.WasGiven(handle));
    CHECK((handles_.Get(handle) == Location{page, 0}.Word()));
    ++count;
  });
  return count;
}

void ChunkPool::ResetBaseInChild() {
  area_.ResetLocksInChild();
  UnlockAll();
}

}  // namespace uzswap
