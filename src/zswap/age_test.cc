// SPDX-License-Identifier: Apache-2.0
#include "zswap/age.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

struct Stamped {
  Seconds at = 0;
  AgeStamp stamp = 0;
};

class Entries {
 public:
  explicit Entries(size_t count) : all_(count) {}

  void Use(size_t i, Seconds now) { all_[i] = {now, clock.Stamp(now)}; }
  void Sweep(Seconds began, Seconds done) {
    for (size_t i = 0; i < all_.size(); ++i) {
      const Seconds now = i < all_.size() / 2 ? began : done;
      all_[i].stamp = clock.Swept(all_[i].stamp, now);
    }
    clock.SweepDone(began);
  }
  // Told minus true, in seconds.
  int64_t Error(size_t i, Seconds now) const {
    return int64_t{clock.AgeOf(all_[i].stamp, now)} -
           std::min<int64_t>(now - all_[i].at, 3600);
  }
  size_t size() const { return all_.size(); }

  AgeClock clock;

 private:
  std::vector<Stamped> all_;
};

// Swept every 20 to 40 seconds, for four hours; half of the entries are used
// now and then, some never again.
TEST(AgeTest, AgesAreRightWhileThereAreSweeps) {
  std::mt19937 random(1);
  Entries entries(200);
  Seconds next = 20;
  for (Seconds now = 0; now < 4 * 3600; ++now) {
    for (int k = 0; k < 2; ++k) {
      const size_t i = random() % 100;
      if (random() % (i + 1) == 0) entries.Use(i, now);
    }
    for (size_t i = 0; i < entries.size(); ++i) {
      ASSERT_GE(entries.Error(i, now), -1) << i << " at " << now;
      ASSERT_LE(entries.Error(i, now), 60) << i << " at " << now;
    }
    if (now < next) continue;
    entries.Sweep(now - static_cast<Seconds>(random() % 5), now);
    next = now + 20 + static_cast<Seconds>(random() % 20);
  }
}

// Without sweeps, however long, nothing old looks young: neither what is there
// nor what comes.
TEST(AgeTest, AgesDoNotWrapWhenNobodySweeps) {
  for (const Seconds gap :
       {61u, 100u, 126u, 130u, 252u, 3000u, 7560u, 90000u}) {
    Entries entries(80);
    for (Seconds now = 0; now < 45; ++now) entries.Use(now, now);
    entries.Sweep(45, 45);
    for (size_t i = 45; i < 60; ++i) entries.Use(i, static_cast<Seconds>(i));
    const Seconds now = 50 + gap;
    const auto check = [&](size_t end) {
      for (size_t i = 0; i < end; ++i) {
        EXPECT_GE(entries.Error(i, now), -1) << i << " gap " << gap;
        EXPECT_LE(entries.Error(i, now), 60) << i << " gap " << gap;
      }
    };
    check(60);
    for (size_t i = 60; i < 80; ++i) entries.Use(i, now);
    check(80);
    entries.Sweep(now, now);
    check(80);
  }
}

TEST(AgeTest, BucketsBeginWhereTheySay) {
  EXPECT_EQ(AgeClock::BucketOf(0), 0u);
  EXPECT_EQ(AgeClock::BucketOf(1), 1u);
  EXPECT_EQ(AgeClock::BucketOf(59), 2u);
  EXPECT_EQ(AgeClock::BucketOf(60), 3u);
  EXPECT_EQ(AgeClock::BucketOf(3599), 4u);
  EXPECT_EQ(AgeClock::BucketOf(3600), 5u);
}

TEST(AgeTest, TheHistogramCountsEveryEntryOnce) {
  Engine engine({.device_pages = 100});
  for (uint64_t slot = 0; slot < 60; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, static_cast<Content>(slot % 3)).ok());
  }
  EXPECT_EQ(engine.zswap->Shrink(10), 10u);
  ASSERT_TRUE(engine.LoadIs(0, 1));
  const ZswapStats stats = engine.zswap->Stats();
  PageCount sum = 0;
  for (const PageCount pages : stats.age_pages) sum += pages;
  EXPECT_EQ(sum, 59u);
  EXPECT_EQ(stats.age_pages[0] + stats.age_pages[1], 59u);
  EXPECT_EQ(engine.zswap->Age(100), 0u);  // no sweep is due yet
}

// Statistics are published every few faults, whatever the number of entries.
TEST(AgeTest, ManyEntriesAreNotCountedEachTimeSomebodyAsks) {
  constexpr uint64_t kMany = 100'000;
  Engine engine({.device_pages = 100});
  const auto sum = [&] {
    PageCount pages = 0;
    for (const PageCount some : engine.zswap->Stats().age_pages) pages += some;
    return pages;
  };
  for (uint64_t slot = 0; slot < kMany; ++slot) {
    ASSERT_TRUE(engine.Store(slot, 1, Content::kSame).ok());
  }
  EXPECT_EQ(sum(), kMany);
  // This thread may have been away for so long that it is time again.
  bool is_old = false;
  uint64_t stored = kMany;
  for (int tries = 0; !is_old && tries < 100; ++tries) {
    ASSERT_TRUE(engine.Store(stored, 1, Content::kSame).ok());
    is_old = sum() < ++stored;
  }
  EXPECT_TRUE(is_old);
  for (int tries = 0; sum() < stored && tries < 5000; ++tries) usleep(1000);
  EXPECT_EQ(sum(), stored);
}

}  // namespace
}  // namespace uzswap
