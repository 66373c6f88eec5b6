// SPDX-License-Identifier: Apache-2.0
// The steps of src/zpool/zpool_fuzz.cc, decided by libFuzzer: the first byte
// says which zpool, the others what happens to it.
#include "zpool/zpool_steps_testing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace uzswap;
  if (size < 2) return 0;
  ByteDecisions decisions({data + 1, size - 1});
  // Few objects: what a short input does should reach the corners.
  ZpoolSteps steps(NewZpoolVariant(data[0] % ZpoolVariants()).pool, decisions,
                   1000);
  while (!decisions.AtEnd()) steps.Step();
  steps.Finish();
  return 0;
}
