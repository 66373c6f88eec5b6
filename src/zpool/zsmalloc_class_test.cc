// SPDX-License-Identifier: Apache-2.0
#include "zpool/zsmalloc_class.h"

#include <gtest/gtest.h>

#include <cstring>
#include <sstream>
#include <string>

namespace uzswap {
namespace {

// Worked out independently of the code, from the rule.
constexpr const char* kChain8 = R"(
32:1p/128 48:3p/256 64:1p/64 80:5p/256 96:3p/128 112:7p/256 128:1p/32
144:7p/199 160:5p/128 176:4p/93 192:3p/64 208:3p/59 224:7p/128 240:1p/17
256:1p/16 272:1p/15 288:5p/71 304:7p/94 320:5p/64 336:6p/73 352:8p/93 368:8p/89
384:3p/32 400:5p/51 416:6p/59 432:7p/66 448:7p/64 464:5p/44 480:2p/17 496:4p/33
512:1p/8 528:4p/31 544:2p/15 560:7p/51 576:1p/7 592:8p/55 608:7p/47 624:2p/13
640:5p/32 656:5p/31 672:1p/6 688:8p/47 704:5p/29 720:3p/17 736:2p/11 752:7p/38
768:3p/16 784:5p/26 816:1p/5 832:8p/39 848:5p/24 864:7p/33 880:8p/37 896:7p/32
912:7p/31 928:5p/22 944:3p/13 960:4p/17 976:6p/25 992:8p/33 1024:1p/4
1056:8p/31 1072:5p/19 1088:4p/15 1104:3p/11 1120:8p/29 1136:5p/18 1168:2p/7
1184:7p/24 1200:5p/17 1216:3p/10 1232:7p/23 1248:4p/13 1280:5p/16 1296:7p/22
1360:1p/3 1424:8p/23 1440:6p/17 1456:5p/14 1488:4p/11 1504:7p/19 1536:3p/8
1552:8p/21 1568:5p/13 1584:7p/18 1632:2p/5 1680:7p/17 1696:5p/12 1712:8p/19
1744:3p/7 1792:7p/16 1808:4p/9 1856:5p/11 1888:6p/13 1904:7p/15 1920:8p/17
2048:1p/2 2176:8p/15 2192:7p/13 2224:6p/11 2272:5p/9 2336:4p/7 2384:7p/12
2448:3p/5 2512:8p/13 2560:5p/8 2592:7p/11 2720:2p/3 2864:7p/10 2912:5p/7
2976:8p/11 3072:3p/4 3184:7p/9 3264:4p/5 3408:5p/6 3504:6p/7 3584:7p/8
3632:8p/9 4096:1p/1
)";

TEST(ZsmallocGeometry, Chain8IsTheKernelsTable) {
  const ZsmallocGeometry geometry(8);
  std::istringstream table(kChain8);
  std::string entry;
  unsigned i = 0;
  for (; table >> entry; ++i) {
    ASSERT_LT(i, geometry.count());
    const ZsmallocShape& s = geometry.shape(i);
    const std::string computed = std::to_string(s.size) + ":" +
                                 std::to_string(s.pages) + "p/" +
                                 std::to_string(s.objects);
    EXPECT_EQ(computed, entry);
    EXPECT_EQ(s.index, (s.size - 32) / 16);
  }
  EXPECT_EQ(i, 119u);
  EXPECT_EQ(geometry.count(), 119u);
}

TEST(ZsmallocGeometry, ClassesAndWatermarksAreTheKernels) {
  constexpr struct {
    unsigned chain, classes, watermark;
  } kKnown[] = {{4, 69, 3264}, {8, 119, 3632}, {16, 192, 3840}};
  for (const auto& known : kKnown) {
    const ZsmallocGeometry geometry(known.chain);
    EXPECT_EQ(geometry.count(), known.classes) << known.chain;
    EXPECT_EQ(geometry.watermark(), known.watermark) << known.chain;
  }
}

TEST(ZsmallocGeometry, EverySizeGetsTheSmallestClassThatHoldsIt) {
  for (unsigned chain = ZsmallocGeometry::kMinChain;
       chain <= ZsmallocGeometry::kMaxChain; ++chain) {
    const ZsmallocGeometry geometry(chain);
    for (unsigned size = 1; size <= kPageSize; ++size) {
      const unsigned c = geometry.ClassOf(size);
      ASSERT_LT(c, geometry.count());
      ASSERT_GE(geometry.shape(c).size, size);
      if (c > 0) {
        ASSERT_LT(geometry.shape(c - 1).size, size);
      }
    }
    EXPECT_EQ(geometry.ClassOf(kPageSize + 4), geometry.count() - 1);
  }
}

TEST(ZsmallocGeometry, ObjectsFitAndOnlyTheLastClassIsHuge) {
  for (unsigned chain = ZsmallocGeometry::kMinChain;
       chain <= ZsmallocGeometry::kMaxChain; ++chain) {
    const ZsmallocGeometry geometry(chain);
    for (unsigned i = 0; i < geometry.count(); ++i) {
      const ZsmallocShape& s = geometry.shape(i);
      ASSERT_LE(s.size * s.objects, s.pages * kPageSize);
      ASSERT_GT(s.size * (s.objects + 1), s.pages * kPageSize);
      ASSERT_LE(s.pages, chain);
      ASSERT_EQ(s.huge(), i + 1 == geometry.count());
    }
  }
}

TEST(ZsmallocGeometry, GroupsAreRoundedUpFromEmptyAndDownFromFull) {
  EXPECT_EQ(FullnessGroup(0, 127), 0u);
  EXPECT_EQ(FullnessGroup(1, 127), 1u);
  EXPECT_EQ(FullnessGroup(12, 127), 1u);
  EXPECT_EQ(FullnessGroup(13, 127), 2u);
  EXPECT_EQ(FullnessGroup(126, 127), 10u);
  EXPECT_EQ(FullnessGroup(127, 127), 11u);
  EXPECT_EQ(FullnessGroup(1, 1), 11u);
  EXPECT_EQ(FullnessGroup(1, 2), 6u);
}

}  // namespace
}  // namespace uzswap
