// SPDX-License-Identifier: Apache-2.0
#include "cli/class_table.h"

#include <gtest/gtest.h>

namespace uzswap::cli {
namespace {

// A line of the kernel's documentation (Documentation/mm/zsmalloc.rst).
TEST(ClassTable, LooksLikeTheKernels) {
  uzswap_class c = {};
  c.index = 30;
  c.size = 512;
  c.pages_per_zspage = 1;
  const uint32_t zspages[] = {0, 12, 4, 1, 0, 1, 0, 0, 1, 0, 414};
  std::copy(std::begin(zspages), std::end(zspages), c.zspages);
  c.obj_allocated = 3464;
  c.obj_used = 3346;
  c.pages_used = 433;
  c.freeable = 14;
  EXPECT_EQ(
      FormatClasses({c}),
      " class  size       10%       20%       30%       40%       50%       60%"
      "       70%       80%       90%       99%      100% obj_allocated   "
      "obj_used pages_used pages_per_zspage freeable\n"
      "    30   512         0        12         4         1         0         1"
      "         0         0         1         0       414          3464       "
      "3346        433                1       14\n"
      "\n"
      " Total               0        12         4         1         0         1"
      "         0         0         1         0       414          3464       "
      "3346        433                        14\n");
}

TEST(ClassTable, TotalsAreSums) {
  uzswap_class c = {};
  c.zspages[10] = 3'000'000'000;
  c.obj_used = 5;
  const std::string text = FormatClasses({c, c});
  const std::string total = text.substr(text.rfind(" Total"));
  EXPECT_NE(total.find(" 6000000000 "), std::string::npos) << total;
  EXPECT_NE(total.find("        10 "), std::string::npos) << total;
}

}  // namespace
}  // namespace uzswap::cli
