// SPDX-License-Identifier: Apache-2.0
// Pseudo locks (reclaim, faults, completions) and what a report says.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <regex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/lockdep.h"
#include "base/mutex.h"

namespace uzswap {
namespace {

#ifdef UZSWAP_DEBUG

// Keeps the reports of its scope, in which nobody dies.
class Caught {
 public:
  Caught() {
    summaries_.clear();
    texts_.clear();
    old_ = lockdep::SetReportHandler([](const lockdep::Report& report) {
      summaries_.emplace_back(report.summary);
      texts_.emplace_back(report.text);
    });
  }
  ~Caught() { lockdep::SetReportHandler(old_); }
  Caught(const Caught&) = delete;
  Caught& operator=(const Caught&) = delete;

  size_t size() const { return summaries_.size(); }
  std::string Only() const {
    EXPECT_EQ(summaries_.size(), 1u);
    return summaries_.empty() ? "" : summaries_.front();
  }
  std::string Text() const { return texts_.empty() ? "" : texts_.front(); }

 private:
  static inline std::vector<std::string> summaries_;
  static inline std::vector<std::string> texts_;
  lockdep::ReportHandler old_;
};

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Fresh classes for each test: the order graph lives as long as the process.
struct Locks {
  LockClass context_class{"acomp_ctx"}, compressor_class{"compressor"},
      other_class{"other"}, work_class{"(completion)item"};
  Mutex context{context_class}, compressor{compressor_class},
      other{other_class};
  RwLock rw{other_class};

  static Locks& New() {
    static std::array<Locks, 40> all;
    static size_t used = 0;
    return all.at(used++);
  }
};

void LockUnlock(Mutex& first, Mutex& second) {
  ScopedLock one(first);
  ScopedLock two(second);
}

// ---- the three sequences that together are a deadlock ----------------------

void FreeCompressorUnderContext(Locks& l) {
  ScopedLock context(l.context);
  ScopedLock compressor(l.compressor);
}

void AllocateUnderCompressor(Locks& l) {
  ScopedLock compressor(l.compressor);
  lockdep::MightReclaim();
}

void CompressInReclaim(Locks& l) {
  lockdep::ReclaimBegin();
  { ScopedLock context(l.context); }
  lockdep::ReclaimEnd();
}

TEST(LockdepReclaim, B9_FindsTheDeadlockOfThreeSequencesInAnyOrder) {
  using Sequence = void (*)(Locks&);
  std::array<Sequence, 3> sequences = {
      FreeCompressorUnderContext, AllocateUnderCompressor, CompressInReclaim};
  std::array<int, 3> order = {0, 1, 2};
  do {
    Locks& l = Locks::New();
    const Caught caught;
    sequences[order[0]](l);
    sequences[order[1]](l);
    EXPECT_EQ(caught.size(), 0u);
    sequences[order[2]](l);
    const std::string summary = caught.Only();
    EXPECT_TRUE(Has(summary, "lock order inversion")) << summary;
    EXPECT_TRUE(Has(caught.Text(), "-> #2 (")) << caught.Text();
    for (const char* name : {"acomp_ctx", "compressor", "reclaim"}) {
      EXPECT_TRUE(Has(caught.Text(), std::string("(") + name + "){"));
    }
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(LockdepReclaim, B9_IsSilentAboutTheShippedOrder) {
  Locks& l = Locks::New();
  const Caught caught;
  for (int i = 0; i < 2; ++i) {
    lockdep::MightReclaim();
    {
      // The compressor is freed after the context was let go.
      ScopedLock context(l.context);
    }
    { ScopedLock compressor(l.compressor); }
    CompressInReclaim(l);
    {
      // Allocating under a lock that reclaim does not take.
      ScopedLock other(l.other);
      lockdep::MightReclaim();
    }
  }
  EXPECT_EQ(caught.size(), 0u) << caught.Text();
}

TEST(LockdepReclaim, ReclaimThatAllocatesDoesNotWaitForItself) {
  Locks& l = Locks::New();
  const Caught caught;
  lockdep::ReclaimBegin();
  EXPECT_TRUE(lockdep::InReclaim());
  {
    ScopedLock context(l.context);
    lockdep::MightReclaim();
  }
  lockdep::ReclaimEnd();
  EXPECT_FALSE(lockdep::InReclaim());
  EXPECT_EQ(caught.size(), 0u);
}

TEST(LockdepReclaim, ReclaimInReclaimIsReported) {
  const Caught caught;
  lockdep::ReclaimBegin();
  lockdep::ReclaimBegin();
  EXPECT_TRUE(Has(caught.Only(), "waiting for itself: reclaim"));
  lockdep::ReclaimEnd();
  lockdep::ReclaimEnd();
}

// ---- faults -----------------------------------------------------------------

void TakeInFault(Mutex& mutex) {
  lockdep::FaultBegin();
  { ScopedLock lock(mutex); }
  lockdep::FaultEnd();
}

void FaultUnder(Mutex& mutex) {
  ScopedLock lock(mutex);
  lockdep::MightFault();
}

TEST(LockdepFault, LockOfFaultsMayNotBeHeldAtAFault) {
  Locks& l = Locks::New();
  const Caught caught;
  lockdep::MightFault();
  TakeInFault(l.context);
  EXPECT_EQ(caught.size(), 0u);
  FaultUnder(l.context);
  EXPECT_TRUE(Has(caught.Only(), "taking fault under acomp_ctx"));
  EXPECT_TRUE(
      Has(caught.Text(),
          "WARNING: possible fault lock inversion dependency detected"));
  EXPECT_TRUE(Has(caught.Text(), "(acomp_ctx){-.}")) << caught.Text();
}

TEST(LockdepFault, LockHeldAtAFaultMayNotBeTakenInOne) {
  Locks& l = Locks::New();
  const Caught caught;
  FaultUnder(l.context);
  EXPECT_EQ(caught.size(), 0u);
  TakeInFault(l.context);
  EXPECT_TRUE(Has(caught.Only(), "taking acomp_ctx under fault"));
  EXPECT_TRUE(Has(caught.Text(), "(acomp_ctx){+.}")) << caught.Text();
}

// other is not used in faults, but whoever serves one may wait for it.
TEST(LockdepFault, LockThatAFaultLockWaitsForMayNotBeHeldAtAFault) {
  Locks& l = Locks::New();
  const Caught caught;
  TakeInFault(l.context);
  LockUnlock(l.context, l.other);
  EXPECT_EQ(caught.size(), 0u);
  FaultUnder(l.other);
  EXPECT_TRUE(Has(caught.Only(), "fault -> acomp_ctx -> other"));
}

TEST(LockdepFault, FaultInAFaultIsReported) {
  const Caught caught;
  lockdep::FaultBegin();
  lockdep::MightFault();
  EXPECT_TRUE(Has(caught.Only(), "waiting for itself: fault"));
  lockdep::FaultEnd();
}

TEST(LockdepFault, LocksOfEitherKindAloneAreSilent) {
  Locks& l = Locks::New();
  const Caught caught;
  for (int i = 0; i < 2; ++i) {
    TakeInFault(l.context);
    FaultUnder(l.other);
    LockUnlock(l.other, l.context);
  }
  EXPECT_EQ(caught.size(), 0u) << caught.Text();
}

// ---- completions and the hotplug lock ---------------------------------------

void RunWorkThatTakes(Locks& l, Mutex& mutex) {
  lockdep::WorkBegin(l.work_class);
  { ScopedLock lock(mutex); }
  lockdep::WorkEnd(l.work_class);
}

TEST(LockdepCompletion, WaitingUnderALockThatTheWorkTakesIsReported) {
  Locks& l = Locks::New();
  const Caught caught;
  RunWorkThatTakes(l, l.context);
  {
    ScopedLock context(l.context);
    lockdep::CompletionWait(l.work_class);
  }
  EXPECT_TRUE(Has(caught.Only(), "taking (completion)item under acomp_ctx"));
}

TEST(LockdepCompletion, TheSameIsFoundWhenTheWaitCameFirst) {
  Locks& l = Locks::New();
  const Caught caught;
  {
    ScopedLock context(l.context);
    lockdep::CompletionWait(l.work_class);
  }
  EXPECT_EQ(caught.size(), 0u);
  RunWorkThatTakes(l, l.context);
  EXPECT_TRUE(Has(caught.Only(), "taking acomp_ctx under (completion)item"));
}

TEST(LockdepCompletion, WorkThatWaitsForItselfIsReported) {
  Locks& l = Locks::New();
  const Caught caught;
  lockdep::WorkBegin(l.work_class);
  lockdep::CompletionWait(l.work_class);
  EXPECT_TRUE(Has(caught.Only(), "waiting for itself: (completion)item"));
  lockdep::WorkEnd(l.work_class);
}

// A module is loaded by a helper, which waits for other work, which needs the
// hotplug lock, under which the module is wanted.
TEST(LockdepCompletion, B36_LoadingAModuleUnderTheHotplugLockIsReported) {
  static LockClass module_load{"(completion)module"};
  static LockClass scan{"(completion)scan"};
  static RwLock hotplug{cpu_hotplug_class};
  const Caught caught;
  lockdep::WorkBegin(scan);
  { ScopedExclusiveLock lock(hotplug); }
  lockdep::WorkEnd(scan);
  lockdep::WorkBegin(module_load);
  lockdep::CompletionWait(scan);
  lockdep::WorkEnd(module_load);
  EXPECT_EQ(caught.size(), 0u);
  {
    ScopedSharedLock lock(hotplug);
    lockdep::CompletionWait(module_load);
  }
  EXPECT_TRUE(
      Has(caught.Only(),
          "(completion)module -> (completion)scan -> cpu_hotplug_lock; held:"));
}

TEST(LockdepPseudo, PseudoLocksDoNotCountAsHeld) {
  Locks& l = Locks::New();
  static LockClass more_class{"more"};
  static Mutex more{more_class};
  const Caught caught;
  lockdep::FaultBegin();
  lockdep::ReclaimBegin();
  lockdep::WorkBegin(l.work_class);
  {
    ScopedLock one(l.context);
    ScopedLock two(l.compressor);
    ScopedLock three(l.other);
    ScopedLock four(more);
    EXPECT_EQ(lockdep::HeldCount(), 4);
  }
  lockdep::WorkEnd(l.work_class);
  lockdep::ReclaimEnd();
  lockdep::FaultEnd();
  EXPECT_EQ(caught.size(), 0u) << caught.Text();
  EXPECT_EQ(lockdep::HeldCount(), 0);
}

TEST(LockdepPseudo, EndWithoutBeginIsReported) {
  const Caught caught;
  lockdep::ReclaimEnd();
  EXPECT_TRUE(Has(caught.Only(), "released by a thread without it: reclaim"));
  EXPECT_TRUE(Has(caught.Text(), "WARNING: bad unlock balance detected"));
}

// ---- what a report says -----------------------------------------------------

__attribute__((noinline)) void SeenFirst(Locks& l) {
  LockUnlock(l.context, l.compressor);
}

// Of the report of the next test.
std::regex KernelLayout() {
  const std::string here =
      R"(.*lockdep_context_test\.cc:\d+ TestBody, called from \+0x[0-9a-f]+)";
  const std::string lock_unlock =
      R"(.*lockdep_context_test\.cc:\d+ LockUnlock, called from )"
      R"(\+0x[0-9a-f]+)";
  const std::string context = R"(0x[0-9a-f]+ \(acomp_ctx\)\{\.\.\}, at: )";
  const std::string other_lock = R"(0x[0-9a-f]+ \(other\)\{\.\.\}, at: )";
  return std::regex(
      R"(=+
WARNING: possible circular locking dependency detected
-+
thread \d+ is trying to acquire lock:
)" + context +
      here + R"(

but it is already holding lock:
)" + other_lock +
      here + R"(

which lock already depends on the new lock\.

the existing dependency chain \(in reverse order\) is:

-> #2 \(other\)\{\.\.\}:
       )" +
      lock_unlock + R"(
       under \(compressor\), taken at )" +
      lock_unlock + R"(

-> #1 \(compressor\)\{\.\.\}:
       )" +
      lock_unlock + R"(
       under \(acomp_ctx\), taken at )" +
      lock_unlock + R"(

-> #0 \(acomp_ctx\)\{\.\.\}:
       )" +
      here + R"(
       under \(other\), taken at )" +
      here + R"(

other info that might help us debug this:

Chain exists of:
  acomp_ctx --> compressor --> other

 Possible unsafe locking scenario:

       thread 0                thread 1
       --------                --------
  lock\(other\);
                               lock\(compressor\);
                               lock\(other\);
  lock\(acomp_ctx\);

 \*\*\* DEADLOCK \*\*\*

1 lock held by thread \d+:
 #0: )" +
      other_lock + here + R"(

stack backtrace:
 )" + here +
      "\n");
}

TEST(LockdepReport, IsLaidOutAsTheKernels) {
  Locks& l = Locks::New();
  const Caught caught;
  SeenFirst(l);
  LockUnlock(l.compressor, l.other);
  ScopedLock held(l.other);
  ScopedLock wanted(l.context);
  EXPECT_TRUE(std::regex_match(caught.Text(), KernelLayout())) << caught.Text();
}

TEST(LockdepReport, NamesTheLinesWhereAnEdgeWasFirstSeen) {
  Locks& l = Locks::New();
  const Caught caught;
  int first_line = 0;
  for (int i = 0; i < 2; ++i) {
    ScopedLock context(l.context);
    if (i == 0) {
      first_line = __LINE__ + 1;
      ScopedLock compressor(l.compressor);
    } else {
      ScopedLock compressor(l.compressor);
    }
  }
  LockUnlock(l.compressor, l.context);
  const std::string line = ":" + std::to_string(first_line) + " TestBody";
  EXPECT_TRUE(Has(caught.Text(), line)) << caught.Text();
  EXPECT_FALSE(Has(caught.Text(), ":" + std::to_string(first_line + 2) + " "))
      << caught.Text();
}

TEST(LockdepReport, TellsSharedAndTriedLocksApart) {
  Locks& l = Locks::New();
  const Caught caught;
  {
    ScopedSharedLock rw(l.rw);
    ScopedLock context(l.context);
  }
  ASSERT_TRUE(l.context.TryLock());
  { ScopedSharedLock rw(l.rw); }
  l.context.Unlock();
  EXPECT_TRUE(Has(caught.Text(), "  trylock(acomp_ctx);\n")) << caught.Text();
  EXPECT_TRUE(Has(caught.Text(), " rlock(other);\n"));
  EXPECT_TRUE(Has(caught.Text(), "(other){..} shared, at: "));
  EXPECT_TRUE(Has(caught.Text(), "(acomp_ctx){..} by trylock, at: "));
}

TEST(LockdepReport, AHandlerThatReturnsLeavesTheGraphWithoutTheBadEdge) {
  Locks& l = Locks::New();
  const Caught caught;
  LockUnlock(l.context, l.compressor);
  LockUnlock(l.compressor, l.context);
  EXPECT_EQ(caught.size(), 1u);
  LockUnlock(l.context, l.compressor);
  EXPECT_EQ(caught.size(), 1u);
  LockUnlock(l.compressor, l.context);
  EXPECT_EQ(caught.size(), 2u);
}

TEST(LockdepReport, AHandlerMayTakeLocks) {
  Locks& l = Locks::New();
  static Locks& others = Locks::New();
  static int reports = 0;
  const auto old = lockdep::SetReportHandler([](const lockdep::Report&) {
    ++reports;
    // An inversion itself.
    LockUnlock(others.context, others.compressor);
    LockUnlock(others.compressor, others.context);
  });
  LockUnlock(l.context, l.compressor);
  LockUnlock(l.compressor, l.context);
  lockdep::SetReportHandler(old);
  EXPECT_EQ(reports, 1);
}

TEST(LockdepReport, AssertHeldIsAboutThisThread) {
  Locks& l = Locks::New();
  const Caught caught;
  ScopedLock context(l.context);
  l.context.AssertHeld();
  EXPECT_EQ(caught.size(), 0u);
  std::thread([&] { l.context.AssertHeld(); }).join();
  EXPECT_TRUE(Has(caught.Only(), "not held by this thread: acomp_ctx"));
}

TEST(LockdepReport, ThreadsReportOneAfterTheOther) {
  Locks& l = Locks::New();
  const Caught caught;
  LockUnlock(l.context, l.compressor);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 50; ++j) LockUnlock(l.compressor, l.context);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(caught.size(), 200u);
}

#else

TEST(LockdepContext, CostsNothingInReleaseBuilds) {
  EXPECT_TRUE(std::is_empty_v<lockdep::Site>);
  lockdep::ReclaimBegin();
  lockdep::MightReclaim();
  EXPECT_FALSE(lockdep::InReclaim());
  lockdep::FaultBegin();
  lockdep::MightFault();
}

#endif  // UZSWAP_DEBUG

}  // namespace
}  // namespace uzswap
