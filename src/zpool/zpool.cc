// SPDX-License-Identifier: Apache-2.0
// The table of zpools. A new one is one line.
#include "zpool/zpool.h"

#include <cstring>

#include "zpool/z3fold.h"
#include "zpool/zbud.h"
#include "zpool/zsmalloc.h"
#include "zpool/zsmalloc_name.h"

namespace uzswap {
namespace {

constexpr unsigned kNoOption = 0;

Result<Zpool*> CreateZsmalloc(unsigned chain) {
  const Result<Zsmalloc*> pool = NewZsmalloc(chain);
  if (!pool.ok()) return pool.status();
  return static_cast<Zpool*>(pool.value());
}
const char* NameZsmalloc(unsigned chain) { return kZsmallocNames[chain]; }

// "NAME" or "NAME:NUMBER", for kinds with a number that can be chosen.
struct Kind {
  const char* name;
  Result<Zpool*> (*create)(unsigned option);
  unsigned usual = kNoOption;
  unsigned least = kNoOption;
  unsigned most = kNoOption;
  const char* (*full_name)(unsigned option) = nullptr;
};

constexpr Kind kKinds[] = {
    {ZsmallocNames::kPlain, CreateZsmalloc, kZsmallocChain,
     ZsmallocGeometry::kMinChain, ZsmallocGeometry::kMaxChain, NameZsmalloc},
    {"zbud", [](unsigned) { return NewZbud(); }},
    {"z3fold", [](unsigned) { return NewZ3fold(); }},
};

struct Choice {
  const Kind* kind;
  unsigned option;
};

Status ParseOption(const char* text, const Kind& kind, unsigned* option) {
  if (kind.full_name == nullptr || *text == '\0') return Status::Error(EINVAL);
  unsigned sum = 0;
  for (; *text != '\0'; ++text) {
    if (*text < '0' || *text > '9') return Status::Error(EINVAL);
    sum = sum * 10 + static_cast<unsigned>(*text - '0');
    if (sum > kind.most) return Status::Error(EINVAL);
  }
  if (sum < kind.least) return Status::Error(EINVAL);
  *option = sum;
  return kOk;
}

Result<Choice> Parse(const char* name) {
  for (const Kind& kind : kKinds) {
    const size_t bytes = strlen(kind.name);
    if (strlen(name) < bytes || memcmp(kind.name, name, bytes) != 0) continue;
    Choice choice{&kind, kind.usual};
    if (name[bytes] == '\0') return choice;
    if (name[bytes] != ':') continue;
    UZSWAP_RETURN_IF_ERROR(ParseOption(name + bytes + 1, kind, &choice.option));
    return choice;
  }
  return Status::Error(ENOENT);
}

}  // namespace

Result<Zpool*> CreateZpool(const char* name) {
  const Result<Choice> choice = Parse(name);
  if (!choice.ok()) return choice.status();
  return choice.value().kind->create(choice.value().option);
}

Result<const char*> FindZpool(const char* name) {
  const Result<Choice> choice = Parse(name);
  if (!choice.ok()) return choice.status();
  const auto [kind, option] = choice.value();
  return kind->full_name == nullptr ? kind->name : kind->full_name(option);
}

const char* ZpoolName(unsigned index) {
  constexpr unsigned kCount = sizeof(kKinds) / sizeof(kKinds[0]);
  return index < kCount ? kKinds[index].name : nullptr;
}

}  // namespace uzswap
