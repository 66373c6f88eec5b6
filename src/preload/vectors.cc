// SPDX-License-Identifier: Apache-2.0
#include "preload/vectors.h"

#include <cpuid.h>
#include <uzswap/uzswap.h>

#include "preload/chaos.h"

extern "C" {
// Read by entry.S.
__attribute__((visibility("hidden"))) constinit uint64_t uzswap_xsave_bytes = 0;
}

namespace uzswap::preload {
namespace {

struct Range {
  const void* address;
  size_t length;
};

int64_t Pin(void* argument) {
  const auto* range = static_cast<const Range*>(argument);
  return uzswap_pin(range->address, range->length);
}

int64_t Prepare(void*) {
  ChaosBeforeFork();
  uzswap_prepare_fork();
  return 0;
}

int64_t Child(void*) { return uzswap_child_after_fork(); }

}  // namespace

bool MeasureVectors() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_OSXSAVE) == 0) {
    return false;
  }
  if (__get_cpuid_count(13, 0, &a, &b, &c, &d) == 0) return false;
  uzswap_xsave_bytes = (b + 63) & ~63u;
  return true;
}

void PrepareForkSavingVectors() {
  (void)uzswap_call_saving_vectors(&Prepare, nullptr);
}

void FinishWorkSavingVectors(bool for_ever) {
  const auto finish = [](void* forbid) -> int64_t {
    if (*static_cast<bool*>(forbid)) {
      uzswap_forbid_threads();
    } else {
      uzswap_finish_work();
    }
    return 0;
  };
  (void)uzswap_call_saving_vectors(finish, &for_ever);
}

int ChildAfterForkSavingVectors() {
  return static_cast<int>(uzswap_call_saving_vectors(&Child, nullptr));
}

}  // namespace uzswap::preload

int uzswap_pin_saving_vectors(const void* address, size_t length) {
  uzswap::preload::Range range{address, length};
  return static_cast<int>(
      uzswap_call_saving_vectors(&uzswap::preload::Pin, &range));
}
