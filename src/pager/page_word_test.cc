// SPDX-License-Identifier: Apache-2.0
#include "pager/page_word.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace uzswap {
namespace {

TEST(PageWord, PinnedPagesCannotBeClaimed) {
  PageWord word;
  ASSERT_TRUE(word.ClaimFrom(PageState::kNone));
  word.BecomeResident(1);
  EXPECT_FALSE(word.ClaimFrom(PageState::kResident));
  EXPECT_TRUE(word.TryPin());
  word.Unpin();
  EXPECT_FALSE(word.ClaimFrom(PageState::kResident));
  word.Unpin();
  EXPECT_TRUE(word.ClaimFrom(PageState::kResident));
}

TEST(PageWord, OnlyResidentPagesCanBePinned) {
  PageWord word;
  EXPECT_FALSE(word.TryPin());
  ASSERT_TRUE(word.ClaimFrom(PageState::kNone));
  EXPECT_FALSE(word.TryPin());
  word.BecomeEvicting();
  EXPECT_FALSE(word.TryPin());
  ASSERT_TRUE(word.ClaimFrom(PageState::kEvicting));
  word.BecomeEvicted();
  EXPECT_FALSE(word.TryPin());
  ASSERT_TRUE(word.ClaimFrom(PageState::kEvicted));
  word.BecomeStaged(77);
  EXPECT_FALSE(word.TryPin());
  EXPECT_EQ(PageWord::ValueOf(word.Load()), 77u);
}

TEST(PageWord, UnpinOfUnpinnedPagesDoesNothing) {
  PageWord word;
  word.Unpin();
  EXPECT_EQ(word.state(), PageState::kNone);
  word.Place(PageWord::Make(PageState::kStaged, 5));
  word.Unpin();
  EXPECT_EQ(PageWord::ValueOf(word.Load()), 5u);
  word.Place(PageWord::Make(PageState::kResident, 0));
  word.Unpin();
  EXPECT_EQ(PageWord::ValueOf(word.Load()), 0u);
}

TEST(PageWord, FullPinCountsStayFull) {
  PageWord word;
  word.Place(PageWord::Make(PageState::kResident, PageWord::kValueMax - 1));
  EXPECT_TRUE(word.TryPin());
  EXPECT_TRUE(word.TryPin());
  word.Unpin();
  EXPECT_EQ(PageWord::ValueOf(word.Load()), PageWord::kValueMax);
}

TEST(PageWord, ForgettingRespectsPinsOnlyWhenAsked) {
  PageWord word;
  word.Place(PageWord::Make(PageState::kResident, 1));
  uint32_t seen = 0;
  EXPECT_FALSE(word.ForgetUnlessPinned(&seen));
  EXPECT_EQ(word.state(), PageState::kResident);
  EXPECT_EQ(PageWord::StateOf(word.Forget()), PageState::kResident);
  EXPECT_EQ(word.Load(), 0u);
  word.Place(PageWord::Make(PageState::kEvicted, 0));
  EXPECT_TRUE(word.ForgetUnlessPinned(&seen));
  EXPECT_EQ(PageWord::StateOf(seen), PageState::kEvicted);
}

TEST(PageWord, WaitersSeeTheOwnerLeave) {
  PageWord word;
  int shared = 0;  // guarded by the word
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000;) {
        const uint32_t seen = word.Load();
        if (PageWord::StateOf(seen) == PageState::kBusy) {
          word.Wait();
        } else if (word.Claim(seen)) {
          ++shared;
          ++i;
          if (i % 64 == 0) std::this_thread::yield();
          word.BecomeResident(0);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 8000);
  EXPECT_EQ(word.Load(), PageWord::Make(PageState::kResident, 0));
}

}  // namespace
}  // namespace uzswap
