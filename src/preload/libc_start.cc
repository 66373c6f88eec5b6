// SPDX-License-Identifier: Apache-2.0
#include "preload/libc_start.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>

namespace uzswap::preload {

void InitialiseLibc(int argc, char** argv, char** environment) {
  using Constructor = void (*)(int, char**, char**);
  Dl_info unused;
  void* found = nullptr;
  if (dladdr1(reinterpret_cast<void*>(&dlopen), &unused, &found,
              RTLD_DL_LINKMAP) == 0 ||
      found == nullptr) {
    return;
  }
  const auto* const libc = static_cast<const link_map*>(found);
  const Constructor* first = nullptr;
  uint64_t count = 0;
  for (const ElfW(Dyn)* d = libc->l_ld; d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_INIT_ARRAY) {
      first =
          reinterpret_cast<const Constructor*>(libc->l_addr + d->d_un.d_ptr);
    } else if (d->d_tag == DT_INIT_ARRAYSZ) {
      count = d->d_un.d_val / sizeof(*first);
    }
  }
  if (first == nullptr) return;
  for (uint64_t i = 0; i < count; ++i) first[i](argc, argv, environment);
}

}  // namespace uzswap::preload
