// SPDX-License-Identifier: Apache-2.0
#include "pager/keeper.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "base/os.h"

namespace uzswap {
namespace {

constinit std::atomic<int> steps{0};
constinit std::atomic<int> last{0};  // steps after which it ends
alignas(4) uint32_t wake = 0;

bool Step(void*) { return ++steps != last.load(); }

class KeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's run-time library must know every thread";
#endif
  }
  KeeperTest() {
    steps = 0;
    last = -1;
    keeper.BindToProcess();
  }
  ~KeeperTest() override {
    keeper.Stop();
    keeper.Release();
  }
  // True if there have been that many within a while.
  static bool Steps(int wanted) {
    for (int i = 0; i < 500 && steps < wanted; ++i) usleep(1000);
    return steps >= wanted;
  }
  static void Wake() {
    __atomic_fetch_add(&wake, 1, __ATOMIC_RELEASE);
    os::FutexWakeShared(&wake, 1);
  }

  Keeper keeper;
};

TEST_F(KeeperTest, StepsAtOnceAndWhenItIsWoken) {
  keeper.Ensure(Step, nullptr, &wake);
  EXPECT_TRUE(keeper.running());
  EXPECT_TRUE(Steps(1));
  for (int i = 2; i < 10; ++i) {
    Wake();
    EXPECT_TRUE(Steps(i));
  }
}

TEST_F(KeeperTest, ThereIsOneAndItCanBeStoppedAndMadeAgain) {
  for (int i = 0; i < 20; ++i) {
    keeper.Ensure(Step, nullptr, &wake);
    keeper.Ensure(Step, nullptr, &wake);
    keeper.Stop();
    EXPECT_FALSE(keeper.running());
  }
  const int before = steps;
  usleep(5000);
  EXPECT_EQ(steps, before);
}

TEST_F(KeeperTest, EndsWhenAStepSaysSo) {
  last = 3;
  keeper.Ensure(Step, nullptr, &wake);
  EXPECT_TRUE(Steps(1));
  Wake();
  EXPECT_TRUE(Steps(2));
  Wake();
  EXPECT_TRUE(Steps(3));
  for (int i = 0; i < 500 && keeper.running(); ++i) usleep(1000);
  EXPECT_FALSE(keeper.running());
}

TEST_F(KeeperTest, IsNeverMadeOnceForbidden) {
  keeper.Ensure(Step, nullptr, &wake);
  keeper.Forbid();
  EXPECT_FALSE(keeper.running());
  keeper.Ensure(Step, nullptr, &wake);
  EXPECT_FALSE(keeper.running());
}

TEST_F(KeeperTest, AForkedChildHasNoneUntilItMakesOne) {
  keeper.Ensure(Step, nullptr, &wake);
  ASSERT_TRUE(Steps(1));
  const pid_t child = fork();
  if (child == 0) {
    keeper.Ensure(Step, nullptr, &wake);  // not ours yet
    keeper.ResetInChild();
    bool right = !keeper.running();
    steps = 0;
    keeper.Ensure(Step, nullptr, &wake);
    right = right && keeper.running() && Steps(1);
    keeper.Stop();
    _exit(right && !keeper.running() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace uzswap
