// SPDX-License-Identifier: Apache-2.0
#include "preload/libc_start.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdint>

namespace uzswap::preload {
namespace {

using Constructor = void (*)(int, char**, char**);

struct Constructors {
  const Constructor* first = nullptr;
  uint64_t count = 0;
};

const ElfW(Phdr) *
    Find(const dl_phdr_info& object, ElfW(Word) type, uint64_t inside) {
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object.dlpi_phdr[i];
    const uint64_t start = object.dlpi_addr + header.p_vaddr;
    if (header.p_type != type) continue;
    if (inside == 0 || inside - start < header.p_memsz) return &header;
  }
  return nullptr;
}

// Stops at the object that dlopen is in: libc, or libdl with an older one,
// which has nothing to construct.
int Visit(dl_phdr_info* object, size_t, void* result) {
  if (Find(*object, PT_LOAD, reinterpret_cast<uint64_t>(&dlopen)) == nullptr) {
    return 0;
  }
  const ElfW(Phdr)* dynamic = Find(*object, PT_DYNAMIC, 0);
  if (dynamic == nullptr) return 1;
  auto* const found = static_cast<Constructors*>(result);
  const auto* d =
      reinterpret_cast<const ElfW(Dyn)*>(object->dlpi_addr + dynamic->p_vaddr);
  for (; d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_INIT_ARRAY) {
      found->first = reinterpret_cast<const Constructor*>(object->dlpi_addr +
                                                          d->d_un.d_ptr);
    } else if (d->d_tag == DT_INIT_ARRAYSZ) {
      found->count = d->d_un.d_val / sizeof(Constructor);
    }
  }
  return 1;
}

}  // namespace

void InitialiseLibc(int argc, char** argv, char** environment) {
  Constructors all;
  (void)dl_iterate_phdr(Visit, &all);
  if (all.first == nullptr) return;
  for (uint64_t i = 0; i < all.count; ++i) {
    all.first[i](argc, argv, environment);
  }
}

}  // namespace uzswap::preload
