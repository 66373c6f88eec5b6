// SPDX-License-Identifier: Apache-2.0
// Every rule of the validator is broken here on purpose, in a forked child.
#include "base/lockdep.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace uzswap {
namespace {

#ifdef UZSWAP_DEBUG

// Locks of the named classes, fresh for each test (the order graph is kept for
// the whole process, so tests share no class).
struct Locks {
  LockClass a_class{"a"}, b_class{"b"}, c_class{"c"}, d_class{"d"},
      e_class{"e"};
  Mutex a{a_class}, b{b_class}, c{c_class}, d{d_class}, e{e_class};
  RwLock rw{d_class};

  static Locks& New() {
    static std::array<Locks, 32> all;
    static size_t used = 0;
    return all.at(used++);
  }
};

void LockUnlock(Mutex& first, Mutex& second) {
  ScopedLock one(first);
  ScopedLock two(second);
}

TEST(Lockdep, AcceptsAConsistentOrder) {
  Locks& l = Locks::New();
  for (int i = 0; i < 3; ++i) {
    ScopedLock a(l.a);
    ScopedLock b(l.b);
    ScopedLock c(l.c);
    EXPECT_EQ(lockdep::HeldCount(), 3);
  }
  LockUnlock(l.a, l.c);
  LockUnlock(l.b, l.c);
  EXPECT_EQ(lockdep::HeldCount(), 0);
}

TEST(Lockdep, RemembersTheMostThatAnyThreadHeld) {
  Locks& l = Locks::New();
  const int before = lockdep::MostHeld();
  std::thread([&] {
    ScopedLock a(l.a);
    ScopedLock b(l.b);
    ScopedLock c(l.c);
    ScopedLock d(l.d);
  }).join();
  EXPECT_LE(before, 4);
  EXPECT_EQ(lockdep::MostHeld(), 4);
  EXPECT_EQ(lockdep::HeldCount(), 0);
  LockUnlock(l.a, l.b);
  EXPECT_EQ(lockdep::MostHeld(), 4);
}

TEST(Lockdep, AcceptsReleaseInAnyOrder) {
  Locks& l = Locks::New();
  l.a.Lock();
  l.b.Lock();
  l.a.Unlock();
  l.c.Lock();
  l.b.Unlock();
  EXPECT_EQ(lockdep::HeldCount(), 1);
  l.c.Unlock();
  EXPECT_EQ(lockdep::HeldCount(), 0);
}

TEST(LockdepDeathTest, ReportsAnInversionOfTwo) {
  Locks& l = Locks::New();
  LockUnlock(l.a, l.b);
  EXPECT_DEATH(LockUnlock(l.b, l.a),
               "taking a under b; recorded before: a -> b; held: b");
}

TEST(LockdepDeathTest, ReportsBothChainsOfALongCycle) {
  Locks& l = Locks::New();
  LockUnlock(l.a, l.b);
  LockUnlock(l.b, l.c);
  auto invert = [&] {
    ScopedLock d(l.d);
    LockUnlock(l.c, l.a);
  };
  EXPECT_DEATH(invert(),
               "taking a under c; recorded before: a -> b -> c; held: d -> c");
}

TEST(LockdepDeathTest, PrintsTheWholeReportBeforeItDies) {
  Locks& l = Locks::New();
  LockUnlock(l.a, l.b);
  EXPECT_DEATH(LockUnlock(l.b, l.a),
               "WARNING: possible circular locking dependency detected\n");
}

TEST(LockdepDeathTest, KnowsOrdersOfOtherThreads) {
  Locks& l = Locks::New();
  std::thread([&] { LockUnlock(l.a, l.b); }).join();
  EXPECT_DEATH(LockUnlock(l.b, l.a), "lock order inversion");
}

TEST(LockdepDeathTest, ReportsAReaderInversion) {
  Locks& l = Locks::New();
  {
    ScopedSharedLock rw(l.rw);
    ScopedLock a(l.a);
  }
  auto invert = [&] {
    ScopedLock a(l.a);
    ScopedSharedLock rw(l.rw);
  };
  EXPECT_DEATH(invert(), "taking d under a; recorded before: d -> a");
}

TEST(LockdepDeathTest, ReportsTheSameLockTwice) {
  Locks& l = Locks::New();
  EXPECT_DEATH(LockUnlock(l.a, l.a), "taken again by its holder: a");
}

TEST(LockdepDeathTest, ReportsARecursiveReader) {
  Locks& l = Locks::New();
  auto recurse = [&] {
    ScopedSharedLock outer(l.rw);
    ScopedSharedLock inner(l.rw);
  };
  EXPECT_DEATH(recurse(), "taken again by its holder: d");
}

TEST(LockdepDeathTest, ReportsTwoLocksOfOneClass) {
  Locks& l = Locks::New();
  Mutex other(l.a_class);
  EXPECT_DEATH(LockUnlock(l.a, other), "two locks of one class: a");
}

TEST(LockdepDeathTest, B39_ReportsTooManyHeldLocks) {
  Locks& l = Locks::New();
  auto pile_up = [&] {
    ScopedLock a(l.a);
    ScopedLock b(l.b);
    ScopedLock c(l.c);
    ScopedLock d(l.d);
    ScopedLock e(l.e);
  };
  EXPECT_DEATH(pile_up(), "too many locks.*: e; held: a -> b -> c -> d");
}

TEST(LockdepDeathTest, ReportsAReleaseWithoutTheLock) {
  Locks& l = Locks::New();
  l.a.Lock();
  auto release = [&] { std::thread([&] { l.a.Unlock(); }).join(); };
  EXPECT_DEATH(release(), "released by a thread without it: a; held: nothing");
  l.a.Unlock();
}

TEST(LockdepDeathTest, ReportsTooManyClasses) {
  static std::array<LockClass, lockdep::kMaxClasses + 1> classes;
  auto use_all = [] {
    for (LockClass& lock_class : classes) {
      lock_class.name = "many";
      Mutex mutex(lock_class);
      ScopedLock lock(mutex);
    }
  };
  EXPECT_DEATH(use_all(), "too many lock classes: many");
}

TEST(LockdepDeathTest, HandsTheSentenceToTheDeathHook) {
  Locks& l = Locks::New();
  auto die = [&] {
    SetDeathHook([](const char* message) {
      _exit(strstr(message, "lock order inversion") != nullptr ? 7 : 1);
    });
    LockUnlock(l.a, l.b);
    LockUnlock(l.b, l.a);
  };
  EXPECT_EXIT(die(), testing::ExitedWithCode(7), "");
}

// A trylock never waits, so taking it "backwards" is no inversion …
TEST(Lockdep, TryLockMayBeTakenInAnyOrder) {
  Locks& l = Locks::New();
  LockUnlock(l.a, l.b);
  ScopedLock b(l.b);
  ASSERT_TRUE(l.a.TryLock());
  EXPECT_EQ(lockdep::HeldCount(), 2);
  l.a.Unlock();
}

// … but what is waited for while it is held is in the order.
TEST(LockdepDeathTest, TryLockIsAnOuterLockToOthers) {
  Locks& l = Locks::New();
  LockUnlock(l.a, l.b);
  auto invert = [&] {
    if (!l.b.TryLock()) return;
    l.a.Lock();
    l.a.Unlock();
    l.b.Unlock();
  };
  EXPECT_DEATH(invert(), "taking a under b");
}

TEST(Lockdep, ResetThreadForgetsWhatTheParentHeld) {
  Locks& l = Locks::New();
  l.a.Lock();
  lockdep::ResetThread();
  EXPECT_EQ(lockdep::HeldCount(), 0);
  lockdep::MightFault();
}

TEST(Lockdep, StaysConsistentUnderThreads) {
  Locks& l = Locks::New();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        LockUnlock(l.a, l.b);
        LockUnlock(l.b, l.c);
        LockUnlock(l.a, l.c);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_DEATH(LockUnlock(l.c, l.a), "taking a under c");
}

#else

TEST(Lockdep, IsAbsentFromReleaseBuilds) {
  LockClass lock_class{"a"};
  Mutex first(lock_class);
  Mutex second(lock_class);
  ScopedLock one(first);
  ScopedLock two(second);
  lockdep::MightFault();
  EXPECT_EQ(lockdep::HeldCount(), 0);
  EXPECT_EQ(lock_class.id.load(), -1);
}

#endif  // UZSWAP_DEBUG

}  // namespace
}  // namespace uzswap
