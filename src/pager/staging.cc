// SPDX-License-Identifier: Apache-2.0
#include "pager/staging.h"

#include "base/os.h"
#include "pager/store_group.h"

namespace uzswap {
namespace {

constexpr uint64_t kAreaBytes = Staging::kBlocks * kBlockPages * kPageSize;
// Frames compressed before their memory is given back: the pool may need as
// many meanwhile.
constexpr int kPart = 16;

PageMask Bit(unsigned page) { return PageMask{1} << page; }

}  // namespace

constinit LockClass Staging::lock_class_{"staging"};

Status Staging::Init() {
  const Result<void*> r = os::Map(kAreaBytes, true);
  if (!r.ok()) return r.status();
  area_ = reinterpret_cast<uint64_t>(r.value());
  {
    ScopedLock lock(mutex_);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      free_[i] = static_cast<uint16_t>(kBlocks - 1 - i);
    }
    free_count_ = kBlocks;
  }
  return core_.uffd.Register(area_, kAreaBytes);
}

void Staging::Release() {
  if (area_ == 0) return;
  CHECK(os::Unmap(reinterpret_cast<void*>(area_), kAreaBytes).ok());
  area_ = 0;
}

uint32_t Staging::TakeFree() {
  ScopedLock lock(mutex_);
  return free_count_ == 0 ? kBlocks : free_[--free_count_];
}

void Staging::Return(uint32_t block) {
  ScopedLock lock(mutex_);
  const auto number = static_cast<uint16_t>(block);
  if (blocks_[block].frames.load(std::memory_order_acquire) == 0) {
    free_[free_count_++] = number;
  } else {
    queue_[(head_ + queued_++) % kBlocks] = number;
  }
}

uint32_t Staging::PopOldest() {
  ScopedLock lock(mutex_);
  if (queued_ == 0) return kBlocks;
  const uint32_t block = queue_[head_];
  head_ = (head_ + 1) % kBlocks;
  --queued_;
  return block;
}

void Staging::Fill(uint32_t block, BlockIndex source, PageMask frames) {
  blocks_[block].source = source;
  blocks_[block].frames.store(frames, std::memory_order_release);
}

void Staging::Clear(uint32_t block, PageMask frames) {
  blocks_[block].frames.fetch_and(~frames, std::memory_order_acq_rel);
}

PageCount Staging::CompressOldest() {
  for (;;) {
    const uint32_t block = PopOldest();
    if (block == kBlocks) return 0;
    PageCount gone = 0;
    const PageMask frames =
        blocks_[block].frames.load(std::memory_order_acquire);
    PageMask part = 0;
    for (PageMask rest = frames; rest != 0; rest &= rest - 1) {
      part |= rest & -rest;
      if (CountPages(part) < kPart && (rest & (rest - 1)) != 0) continue;
      gone += static_cast<PageCount>(CountPages(Compress(block, part)));
      part = 0;
    }
    Return(block);
    // A block whose pages all went back gives nothing: the next one then.
    if (gone > 0 || frames != 0) return gone;
  }
}

// Returns the frames that were stored and dropped.
PageMask Staging::Compress(uint32_t block, PageMask frames) {
  const Slot first = FirstSlot(blocks_[block].source);
  StoreGroupOf group(core_, first);
  ForEachPage(frames, [&](unsigned i) {
    const uint32_t staged = PageWord::Make(
        PageState::kStaged, static_cast<uint32_t>(block * kBlockPages + i));
    PageWord& word = core_.word(first + i);
    if (!word.Claim(staged)) return;  // wanted back, or forgotten
    const auto* page =
        reinterpret_cast<const std::byte*>(FrameAddress(block, i));
    group.Add(i, ConstPage(page, kPageSize));
  });
  group.Flush();
  ForEachPage(group.failed(), [&](unsigned i) {
    core_.word(first + i).BecomeStaged(
        static_cast<uint32_t>(block * kBlockPages + i));
  });
  const PageMask stored = group.stored();
  ForEachRun(stored, [&](unsigned at, unsigned count) {
    CHECK(os::Drop(reinterpret_cast<void*>(FrameAddress(block, at)),
                   count * kPageSize)
              .ok());
  });
  const auto count = static_cast<PageCount>(CountPages(stored));
  core_.budget.DropStaged(count);
  core_.budget.NoteStored(static_cast<int64_t>(count));
  core_.Count(PagerCounter::pages_out, count);
  Clear(block, stored);
  ForEachPage(stored,
              [&](unsigned i) { core_.word(first + i).BecomeEvicted(); });
  return stored;
}

bool Staging::BringBack(Slot slot, uint32_t seen, uint32_t pins) {
  PageWord& word = core_.word(slot);
  if (!word.Claim(seen)) return false;
  const uint32_t frame = PageWord::ValueOf(seen);
  const auto block = static_cast<uint32_t>(frame / kBlockPages);
  const unsigned page = frame % kBlockPages;
  const uint64_t from = FrameAddress(block, page);
  const uint64_t to = AddressOf(slot);
  if (core_.uffd.Move(to, from, 1).pages == 0) {
    // The mapping's protection has changed since: a copy does not mind.
    const UffdProgress copied = core_.uffd.Copy(to, from, 1);
    if (copied.pages == 0 && copied.status.error() != EEXIST) {
      Line line;
      line << "cannot map a page back at ";
      line.Hex(to) << ": error " << copied.status.error();
      Die(line);
    }
    CHECK(os::Drop(reinterpret_cast<void*>(from), kPageSize).ok());
  }
  Clear(block, Bit(page));
  core_.blocks.Came(BlockOf(slot), MaskOf(slot), BlockList::Arrival::kAlone);
  core_.budget.Unstage(1);
  word.BecomeResident(pins);
  return true;
}

void Staging::Discard(uint32_t frame) {
  const auto block = static_cast<uint32_t>(frame / kBlockPages);
  const unsigned page = frame % kBlockPages;
  CHECK(os::Drop(reinterpret_cast<void*>(FrameAddress(block, page)), kPageSize)
            .ok());
  Clear(block, Bit(page));
  core_.budget.DropStaged(1);
}

void Staging::BringAllBack() {
  for (uint32_t block = PopOldest(); block != kBlocks; block = PopOldest()) {
    const Slot first = FirstSlot(blocks_[block].source);
    ForEachPage(blocks_[block].frames.load(std::memory_order_acquire),
                [&](unsigned i) {
                  const uint32_t seen = core_.word(first + i).Load();
                  CHECK(PageWord::StateOf(seen) == PageState::kStaged);
                  CHECK(BringBack(first + i, seen, 0));
                });
    Return(block);
  }
  CHECK(core_.budget.staged() == 0);
}

void Staging::CheckInvariants() {
  ScopedLock lock(mutex_);
  PageCount frames = 0;
  CHECK(queued_ + free_count_ == kBlocks);
  for (uint32_t i = 0; i < free_count_; ++i) {
    CHECK(blocks_[free_[i]].frames.load(std::memory_order_relaxed) == 0);
  }
  for (uint32_t i = 0; i < queued_; ++i) {
    frames += static_cast<PageCount>(
        CountPages(blocks_[queue_[(head_ + i) % kBlocks]].frames.load(
            std::memory_order_relaxed)));
  }
  CHECK(frames == core_.budget.staged());
}

}  // namespace uzswap
