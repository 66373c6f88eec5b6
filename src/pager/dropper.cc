// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/os.h"
#include "pager/evictor.h"
#include "pager/test_hooks.h"

namespace uzswap {
namespace {

// Names the caller's own process without a descriptor (Linux 6.14).
constexpr int64_t kPidfdSelf = -10000;

uint64_t PageAddress(BlockIndex block, unsigned page) {
  return AddressOf(FirstSlot(block) + page);
}

}  // namespace

void Dropper::Probe() {
  const Result<void*> page = os::Map(kPageSize);
  if (!page.ok()) return;
  const iovec range{.iov_base = page.value(), .iov_len = kPageSize};
  const int64_t r =
      os::Syscall(SYS_process_madvise, kPidfdSelf,
                  reinterpret_cast<int64_t>(&range), 1, MADV_DONTNEED, 0);
  batched_ =
      r == static_cast<int64_t>(kPageSize) && !pager_test_hooks.no_batched_drop;
  CHECK(os::Unmap(page.value(), kPageSize).ok());
}

PageMask Dropper::Drop(BlockIndex block, PageMask pages) {
  iovec runs[kBlockPages / 2];
  int64_t count = 0;
  ForEachRun(pages, [&](unsigned first, unsigned n) {
    runs[count++] = {
        .iov_base = reinterpret_cast<void*>(PageAddress(block, first)),
        .iov_len = n * kPageSize};
  });
  const auto bytes =
      static_cast<int64_t>(CountPages(pages)) * static_cast<int64_t>(kPageSize);
  if (batched_ && count > 1 &&
      os::Syscall(SYS_process_madvise, kPidfdSelf,
                  reinterpret_cast<int64_t>(runs), count, MADV_DONTNEED,
                  0) == bytes) {
    return pages;
  }
  PageMask dropped = 0;
  ForEachRun(pages, [&](unsigned first, unsigned n) {
    void* address = reinterpret_cast<void*>(PageAddress(block, first));
    if (!os::Drop(address, n * kPageSize).ok()) return;
    for (unsigned i = first; i < first + n; ++i) dropped |= PageMask{1} << i;
  });
  return dropped;
}

// A write that comes meanwhile faults on the protection and waits.
PageCount Dropper::DropClean(BlockIndex block, PageMask pages) {
  PageMask claimed = 0;
  ForEachPage(pages, [&](unsigned i) {
    PageWord& word = core_.word(FirstSlot(block) + i);
    if (word.ClaimFrom(PageState::kClean)) claimed |= PageMask{1} << i;
  });
  if (claimed == 0) return 0;
  const PageCount shared =
      core_.budget.SharedBefore(AddressOf(FirstSlot(block)), claimed);
  const PageMask dropped = Drop(block, claimed);
  const auto count = CountPages(dropped);
  // Counts first: whoever waits for one of these pages adds to them again.
  core_.blocks.Went(block, dropped);
  core_.budget.Drop(count, shared);
  core_.budget.NoteStored(count);
  core_.Count(PagerCounter::pages_out, count);
  core_.Count(PagerCounter::pages_out_clean, count);
  core_.clean_policy.NoteDropped(count);
  ForEachPage(claimed, [&](unsigned i) {
    PageWord& word = core_.word(FirstSlot(block) + i);
    if ((dropped >> i & 1) != 0) {
      word.BecomeEvicted();
    } else {
      word.BecomeClean();
    }
  });
  return count;
}

}  // namespace uzswap
