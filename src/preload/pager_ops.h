// SPDX-License-Identifier: Apache-2.0
// What preload asks of the pager, as one table of functions: the real ones in
// the library, recording fakes in the unit tests. Those that may run a codec
// are reached through entry.S, which saves the vector registers first.
#ifndef UZSWAP_PRELOAD_PAGER_OPS_H_
#define UZSWAP_PRELOAD_PAGER_OPS_H_

#include <cstddef>
#include <cstdint>

namespace uzswap::preload {

struct PagerOps {
  int (*is_managed)(const void* address, size_t length);
  // 0: all pinned. -EAGAIN: nothing pinned, some page is absent. Never touches
  // a vector register.
  int (*pin_resident)(const void* address, size_t length);
  int (*pin)(const void* address, size_t length);  // saves vector registers
  void (*unpin)(const void* address, size_t length);
  // Runs fn(argument) with the vector registers saved around it.
  int64_t (*saving_vectors)(int64_t (*fn)(void*), void* argument);
  // Only to be called under saving_vectors:
  int (*manage)(void* address, size_t length);
  int (*unmanage)(void* address, size_t length);
  long (*mmap)(void* address, size_t length, int prot, int flags, int fd,
               long offset, int manage);
  long (*munmap)(void* address, size_t length);
  long (*mprotect)(void* address, size_t length, int prot);
  long (*mremap)(void* old_address, size_t old_length, size_t new_length,
                 int flags, void* new_address);
  long (*madvise)(void* address, size_t length, int advice);
  long (*brk)(void* new_break);
  size_t (*descriptors)(int* fds, size_t capacity);
};

extern const PagerOps kPager;

inline bool IsManaged(uint64_t address, uint64_t bytes) {
  return kPager.is_managed(reinterpret_cast<const void*>(address), bytes) != 0;
}

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_PAGER_OPS_H_
