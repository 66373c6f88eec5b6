// SPDX-License-Identifier: Apache-2.0
// The public calls on an open instance. Before uzswap_open (and after close)
// nothing is managed, so each is then the plain system call, or nothing.
#include <errno.h>
#include <sys/syscall.h>
#include <uzswap/uzswap.h>

#include <algorithm>
#include <cstring>

#include "api/instance.h"
#include "api/parameters.h"

using uzswap::GetInstance;
using uzswap::Instance;
using uzswap::Return;
using uzswap::SignalsBlocked;
using uzswap::os::Syscall;

namespace {

struct Classes {
  uzswap_class* to;
  unsigned capacity;
  unsigned count = 0;
};

void AddClass(void* argument, const uzswap::ZpoolClassStats& stats) {
  auto& classes = *static_cast<Classes*>(argument);
  const unsigned at = classes.count++;
  if (at >= classes.capacity) return;
  uzswap_class& to = classes.to[at];
  to = {};
  to.index = static_cast<uint16_t>(stats.index);
  to.size = static_cast<uint16_t>(stats.size);
  to.pages_per_zspage = static_cast<uint16_t>(stats.pages_per_zspage);
  constexpr unsigned kGroups = sizeof(to.zspages) / sizeof(to.zspages[0]);
  static_assert(kGroups + 1 == uzswap::ZpoolClassStats::kGroups);
  for (unsigned i = 0; i < kGroups; ++i) {
    to.zspages[i] = static_cast<uint32_t>(stats.zspages[i + 1]);
  }
  to.pages_used = static_cast<uint32_t>(stats.pages_used);
  to.obj_allocated = stats.obj_allocated;
  to.obj_used = stats.obj_used;
  to.freeable = stats.freeable;
}

uint64_t Address(const void* p) { return reinterpret_cast<uint64_t>(p); }
int64_t Raw(const void* p) { return reinterpret_cast<int64_t>(p); }
int64_t Raw(size_t n) { return static_cast<int64_t>(n); }

}  // namespace

int uzswap_manage(void* address, size_t length) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  return i == nullptr ? -EINVAL
                      : Return(i->pager.Manage(Address(address), length));
}

int uzswap_unmanage(void* address, size_t length) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  return i == nullptr ? -EINVAL
                      : Return(i->pager.Unmanage(Address(address), length));
}

int uzswap_is_managed(const void* address, size_t length) {
  Instance* i = GetInstance();
  return i != nullptr && i->pager.IsManaged(Address(address), length);
}

long uzswap_mmap(void* address, size_t length, int prot, int flags, int fd,
                 long offset, int manage) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) {
    return Syscall(SYS_mmap, Raw(address), Raw(length), prot, flags, fd,
                   offset);
  }
  const uzswap::MmapCall call{.address = Address(address),
                              .length = length,
                              .prot = prot,
                              .flags = flags,
                              .fd = fd,
                              .offset = offset};
  return i->pager.Mmap(call, manage != 0);
}

long uzswap_munmap(void* address, size_t length) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) return Syscall(SYS_munmap, Raw(address), Raw(length));
  return i->pager.Munmap(Address(address), length);
}

long uzswap_mprotect(void* address, size_t length, int prot) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) {
    return Syscall(SYS_mprotect, Raw(address), Raw(length), prot);
  }
  return i->pager.Mprotect(Address(address), length, prot);
}

long uzswap_mremap(void* old_address, size_t old_length, size_t new_length,
                   int flags, void* new_address) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) {
    return Syscall(SYS_mremap, Raw(old_address), Raw(old_length),
                   Raw(new_length), flags, Raw(new_address));
  }
  const uzswap::MremapCall call{.old_address = Address(old_address),
                                .old_length = old_length,
                                .new_length = new_length,
                                .flags = flags,
                                .new_address = Address(new_address)};
  return i->pager.Mremap(call);
}

long uzswap_madvise(void* address, size_t length, int advice) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) {
    return Syscall(SYS_madvise, Raw(address), Raw(length), advice);
  }
  return i->pager.Madvise(Address(address), length, advice);
}

long uzswap_brk(void* new_break) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) return Syscall(SYS_brk, Raw(new_break));
  return i->pager.Brk(Address(new_break));
}

int uzswap_pin(const void* address, size_t length) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  return i != nullptr && i->pager.Pin(Address(address), length);
}

int uzswap_pin_resident(const void* address, size_t length) {
  Instance* i = GetInstance();
  if (i == nullptr) return 0;
  return i->pager.PinResident(Address(address), length) ? 0 : -EAGAIN;
}

void uzswap_unpin(const void* address, size_t length) {
  Instance* i = GetInstance();
  if (i != nullptr) i->pager.Unpin(Address(address), length);
}

int uzswap_handle_fault(void* address, int write) {
  Instance* i = GetInstance();
  return i == nullptr
             ? -ENOENT
             : Return(i->pager.HandleFault(Address(address),
                                           write != 0 ? uzswap::Access::kWrite
                                                      : uzswap::Access::kRead));
}

void uzswap_prepare_fork(void) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  uzswap::PrepareForkParameters();
  Instance* i = GetInstance();
  if (i != nullptr) i->pager.PrepareFork();
}

void uzswap_parent_after_fork(void) UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
  Instance* i = GetInstance();
  if (i != nullptr) i->pager.ParentAfterFork();
  uzswap::ParentAfterForkParameters();
}

int uzswap_child_after_fork(void) {
  uzswap::ChildAfterForkParameters();
  Instance* i = GetInstance();
  return i == nullptr ? 0 : Return(i->pager.ChildAfterFork());
}

void uzswap_run_work(void) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i != nullptr) i->zswap->RunStrandedWork();
}

void uzswap_finish_work(void) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) return;
  i->pager.StopKeeper(/*for_ever=*/false);
  i->zswap->FlushWork();
}

void uzswap_allow_threads(void) {
  if (Instance* i = GetInstance(); i != nullptr) i->pager.AllowKeeper();
}

void uzswap_forbid_threads(void) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) return;
  i->pager.StopKeeper(/*for_ever=*/true);
  i->zswap->ForbidThreads();
  i->zswap->FlushWork();
}

uint64_t uzswap_memory_granted(void) {
  Instance* i = GetInstance();
  return i == nullptr ? 0 : i->pager.tree().limit() * uzswap::kPageSize;
}

uzswap_tree* uzswap_get_tree(void) {
  Instance* i = GetInstance();
  return i == nullptr ? nullptr : &i->pager.tree().tree();
}

void uzswap_leave_tree(void) {
  uzswap::SignalsBlocked blocked;
  if (Instance* i = GetInstance(); i != nullptr) i->pager.LeaveTree();
}

void uzswap_end_in_tree(void) {
  uzswap::SignalsBlocked blocked;
  if (Instance* i = GetInstance(); i != nullptr) i->pager.EndInTree();
}

void uzswap_join_tree(void) {
  uzswap::SignalsBlocked blocked;
  if (Instance* i = GetInstance(); i != nullptr) i->pager.JoinTree();
}

void uzswap_thread_ends(void) {
  uzswap::SignalsBlocked blocked;
  if (Instance* i = GetInstance(); i != nullptr) i->pager.ThreadEnds();
}

size_t uzswap_evict_all(void) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  return i == nullptr ? 0 : i->pager.EvictAll();
}

int uzswap_get_classes(struct uzswap_class* to, unsigned capacity) {
  SignalsBlocked blocked;
  Instance* i = GetInstance();
  if (i == nullptr) return -ENODEV;
  Classes classes{to, capacity};
  i->zswap->VisitClasses(&AddClass, &classes);
  return static_cast<int>(classes.count);
}

void uzswap_get_stats(struct uzswap_stats* stats) {
  SignalsBlocked blocked;
  memset(stats, 0, sizeof(*stats));
  Instance* i = GetInstance();
  if (i == nullptr) return;
  i->pager.FillStats(stats);
  const uzswap::ZswapStats z = i->zswap->Stats();
  stats->stored_bytes = z.stored_pages * uzswap::kPageSize;
  stats->pool_bytes = z.pool_pages * uzswap::kPageSize;
  stats->compressed_bytes = z.compressed_bytes;
  stats->device_bytes = z.on_device * uzswap::kPageSize;
  stats->metadata_bytes = z.metadata_bytes;
  stats->stored_pages = z.stored_pages;
  stats->same_filled_pages = z.same_filled;
  stats->stored_incompressible_pages = z.incompressible;
  stats->pool_limit_hit = z.pool_limit_hit;
  stats->reject_reclaim_fail = z.reject_reclaim_fail;
  stats->reject_alloc_fail = z.reject_alloc_fail;
  stats->reject_kmemcache_fail = z.reject_kmemcache_fail;
  stats->reject_compress_fail = z.reject_compress_fail;
  stats->reject_compress_poor = z.reject_compress_poor;
  stats->decompress_fail = z.decompress_fail;
  stats->written_back_pages = z.written_back_pages;
  stats->pages_compacted = z.pages_compacted;
  stats->duplicate_entry = z.duplicate_entry;
  stats->zswpout = z.zswpout;
  stats->zswpin = z.zswpin;
  stats->zswpwb = z.zswpwb;
  stats->device_in = z.device_in;
  stats->device_write_fail = z.device_write_fail;
  stats->device_read_fail = z.device_read_fail;
  stats->pool_limit_exceeded = z.pool_limit_exceeded;
  stats->compressed_bytes_in = z.compressed_bytes_in;
  stats->compressed_bytes_out = z.compressed_bytes_out;
  stats->pools = z.pools;
  stats->pool_switches = z.pool_switches;
  stats->migrated_pages = z.migrated_pages;
  stats->dense_pages = z.dense_pages;
  stats->dense_bytes = z.dense_bytes;
  stats->dense_pool_bytes = z.dense_pool_pages * uzswap::kPageSize;
  stats->recompressed_pages = z.recompressed_pages;
  stats->recompress_poor = z.recompress_poor;
  stats->pool_percent = z.pool_percent;
  stats->pool_load_ns = z.pool_load_ns;
  stats->device_load_ns = z.device_load_ns;
  stats->age_1s_pages = z.age_pages[0];
  stats->age_10s_pages = z.age_pages[1];
  stats->age_1m_pages = z.age_pages[2];
  stats->age_10m_pages = z.age_pages[3];
  stats->age_1h_pages = z.age_pages[4];
  stats->age_older_pages = z.age_pages[5];
  stats->swapin_ahead_pages = z.swapin_ahead_pages;
  stats->device_written_bytes = z.device.written_bytes;
  stats->device_cleaned_bytes = z.device.cleaned_bytes;
  stats->device_reads = z.device.reads;
  stats->device_read_bytes = z.device.read_bytes;
  stats->device_alignment = z.device.alignment;
}

static_assert(uzswap::Pager::kMaxDescriptors + uzswap::kMaxDeviceDescriptors <=
              UZSWAP_DESCRIPTORS);

size_t uzswap_descriptors(int* fds, size_t capacity) {
  const Instance* i = GetInstance();
  if (i == nullptr) return 0;
  // Not SignalsBlocked: who hides them asks with a lock of its own held.
  const uint64_t mask = uzswap::os::BlockSignals();
  size_t n = i->pager.Descriptors(fds, capacity);
  if (i->device != nullptr) {
    n += i->device->Descriptors(fds + n, capacity - n);
  }
  uzswap::os::RestoreSignals(mask);
  return std::min(n, capacity);
}
