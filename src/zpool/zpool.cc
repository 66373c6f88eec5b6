// SPDX-License-Identifier: Apache-2.0
// The table of zpools. A new one is one line.
#include "zpool/zpool.h"

#include <cstring>

#include "zpool/z3fold.h"
#include "zpool/zbud.h"
#include "zpool/zsmalloc.h"

namespace uzswap {
namespace {

Result<Zpool*> CreateZsmalloc() {
  const Result<Zsmalloc*> pool = NewZsmalloc(kZsmallocChain);
  if (!pool.ok()) return pool.status();
  return static_cast<Zpool*>(pool.value());
}

struct Kind {
  const char* name;
  Result<Zpool*> (*create)();
};

constexpr Kind kKinds[] = {
    {"zsmalloc", CreateZsmalloc},
    {"zbud", NewZbud},
    {"z3fold", NewZ3fold},
};

const Kind* Find(const char* name) {
  for (const Kind& kind : kKinds) {
    const size_t bytes = strlen(kind.name) + 1;
    if (strlen(name) + 1 == bytes && memcmp(kind.name, name, bytes) == 0) {
      return &kind;
    }
  }
  return nullptr;
}

}  // namespace

Result<Zpool*> CreateZpool(const char* name) {
  const Kind* kind = Find(name);
  if (kind == nullptr) return Status::Error(ENOENT);
  return kind->create();
}

bool ZpoolExists(const char* name) { return Find(name) != nullptr; }

const char* ZpoolName(unsigned index) {
  constexpr unsigned kCount = sizeof(kKinds) / sizeof(kKinds[0]);
  return index < kCount ? kKinds[index].name : nullptr;
}

}  // namespace uzswap
