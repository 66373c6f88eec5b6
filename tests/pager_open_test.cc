// SPDX-License-Identifier: Apache-2.0
// Opening: every refusal has its error and a sentence that names the value.
#include <cstring>

#include "pager_model.h"

namespace pager_test {
namespace {

TEST(PagerOpen, RefusalsSayWhatToDo) {
  struct Case {
    const char* name;
    int error;
    const char* says;
    void (*change)(uzswap_config*);
  };
  const Case cases[] = {
      {"limit", -ENOMEM, "memory_limit of 1048576",
       [](uzswap_config* c) { c->memory_limit = kMiB; }},
      {"compressor", -ENOENT, "\"none\"",
       [](uzswap_config* c) { c->compressor = "none"; }},
      {"zpool", -ENODEV, "\"heap\"",
       [](uzswap_config* c) { c->zpool = "heap"; }},
      {"percent", -EINVAL, "101",
       [](uzswap_config* c) { c->max_pool_percent = 101; }},
      {"threshold", -EINVAL, "200",
       [](uzswap_config* c) { c->accept_threshold_percent = 200; }},
      {"method", -EINVAL, "evict",
       [](uzswap_config* c) {
         c->evict = static_cast<uzswap_evict_method>(3);
       }},
      {"backing", -ENOENT, "/nowhere",
       [](uzswap_config* c) { c->backing = "/nowhere"; }},
      {"size", -EINVAL, "struct_size",
       [](uzswap_config* c) { c->struct_size = 8; }},
  };
  for (const Case& c : cases) {
    uzswap_config config = {};
    config.struct_size = sizeof(config);
    config.memory_limit = RssBytes() + 256 * kMiB;
    c.change(&config);
    char why[512];
    EXPECT_EQ(uzswap_open(&config, why, sizeof(why)), c.error) << c.name;
    EXPECT_NE(strstr(why, c.says), nullptr) << why;
    // A short buffer is cut, but terminated.
    char little[8];
    memset(little, 'x', sizeof(little));
    EXPECT_EQ(uzswap_open(&config, little, sizeof(little)), c.error);
    EXPECT_LT(strnlen(little, sizeof(little)), sizeof(little));
  }
  uzswap_config config = {};
  config.struct_size = sizeof(config);
  config.memory_limit = RssBytes() + 256 * kMiB;
  ASSERT_EQ(uzswap_open(&config, nullptr, 0), 0);
  char why[512];
  EXPECT_EQ(uzswap_open(&config, why, sizeof(why)), -EBUSY);
  EXPECT_NE(strstr(why, "open already"), nullptr);
  uzswap_close();
}

TEST(PagerOpen, BeforeItTheCallsAreTheKernels) {
  const long r = uzswap_mmap(nullptr, kPage, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 1);
  ASSERT_GT(r, 0);
  void* at = reinterpret_cast<void*>(r);
  EXPECT_EQ(uzswap_is_managed(at, kPage), 0);
  EXPECT_EQ(uzswap_pin(at, kPage), 0);
  EXPECT_EQ(uzswap_handle_fault(at, 1), -ENOENT);
  EXPECT_EQ(uzswap_munmap(at, kPage), 0);
  EXPECT_EQ(uzswap_evict_all(), 0u);
}

}  // namespace
}  // namespace pager_test
