// SPDX-License-Identifier: Apache-2.0
// The limit while parameters change.
#include <algorithm>

#include "compress/registry.h"
#include "pager_fixture.h"

namespace pager_test {
namespace {

using uzswap::Status;
using PagerParameters = PagerTest;

// lz4 with a workspace of which next to nothing is ever touched.
constexpr size_t kUntouched = 2 * kMiB;
const uzswap_compressor* lz4 = nullptr;
const uzswap_compressor wide = {
    .struct_size = UZSWAP_COMPRESSOR_MIN_SIZE,
    .api_version = UZSWAP_COMPRESSOR_API_VERSION,
    .name = "wide",
    .workspace_size =
        [](int level) { return lz4->workspace_size(level) + kUntouched; },
    .init =
        [](void* workspace, size_t bytes, int level) {
          return lz4->init(workspace, bytes - kUntouched, level);
        },
    .compress =
        [](void* workspace, const void* source, size_t source_bytes, void* to,
           size_t room, size_t* produced) {
          return lz4->compress(workspace, source, source_bytes, to, room,
                               produced);
        },
    .decompress =
        [](void* workspace, const void* source, size_t source_bytes, void* to,
           size_t bytes) {
          return lz4->decompress(workspace, source, source_bytes, to, bytes);
        },
};

// What a pool had and never touched is no room when the pool goes.
TEST_F(PagerParameters, ContextsThatGoLeaveNoRoomThatIsNotThere) {
  if (!kExactMemory) GTEST_SKIP() << "the shadow is memory, too";
  Open({.method = UZSWAP_EVICT_WP, .room = 20 * kMiB, .backing = "/var/tmp"});
  const std::vector<char> unmanaged(6 * kMiB, 1);
  lz4 = uzswap::registry::Find("lz4", nullptr).value();
  constexpr size_t kBytes = 32 * kMiB;
  char* const memory = MapManaged(kBytes);
  for (size_t page = 0; page < kBytes / kPage; ++page) {
    FillPage(memory + page * kPage, page, 0);
  }
  uint64_t most = 0;
  size_t at = 0;
  for (int turn = 0; turn < 40; ++turn) {
    const uzswap_compressor& next = turn % 2 == 0 ? wide : *lz4;
    ASSERT_TRUE(
        uzswap::GetInstance()
            ->zswap
            ->SwitchPool(next, UZSWAP_COMPRESSOR_DEFAULT_LEVEL, "zsmalloc")
            .ok());
    for (int i = 0; i < 4000; ++i, ++at) {  // in order: most is brought in
      const size_t page = at % (kBytes / kPage);
      ASSERT_TRUE(PageIs(memory + page * kPage, page, 0));
      if (i % 16 == 0) most = std::max(most, RssBytes());
    }
  }
#if !defined(__SANITIZE_ADDRESS__)  // it keeps what was freed
  EXPECT_LE(most, limit_ + limit_ / 50);
#endif
  uzswap_munmap(memory, kBytes);
}

}  // namespace
}  // namespace pager_test
