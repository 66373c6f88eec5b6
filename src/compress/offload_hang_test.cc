// SPDX-License-Identifier: Apache-2.0
// Devices that hang, write late, vanish, cannot be stopped, or belong to the
// parent: no page is lost, and nothing of ours is written.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"
#include "compress/offload_fixture_test_support.h"

namespace uzswap {
namespace {

using testing::codec_calls;
using testing::EmulatedDevice;
using testing::Fault;
using testing::kMax;
using testing::kShort;
using testing::OffloadTest;

// ---- devices that hang

TEST_F(OffloadTest, ALateWriterMeetsNothingOfOurs) {
  config_.timeout_ns = kShort;
  for (unsigned bad = 0; bad < kMax; ++bad) {
    codec_calls = 0;
    settings_.plan = [bad](uint64_t number, const OffloadJob&) {
      return number == bad ? Fault{Fault::kHang, 0} : Fault{};
    };
    Start();
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    acomp_.Submit(batch).Ignore();
    device_->RunAllJobs();
    acomp_.Wait(batch);
    ExpectPages(batch);
    EXPECT_EQ(1u, codec_calls) << "the one that hung";
    EXPECT_EQ(1u, acomp_.Stats().hung);
    EXPECT_EQ(1u, acomp_.Stats().in_quarantine);
    EXPECT_EQ(1u, device_->owned());
    acomp_.CheckInvariants(/*idle=*/true);

    // While it hangs, nobody asks it for anything.
    Batch next(AcompOp::kCompress, codec());
    Add(next, 2);
    EXPECT_TRUE(acomp_.Submit(next).ok());
    EXPECT_EQ(2u, acomp_.Stats().suspended);
    EXPECT_EQ(uint64_t{kMax}, device_->submissions());

    // It comes back, writing all over its slot.
    EXPECT_EQ(1u, device_->ReleaseHung());
    ExpectPages(batch);
    ExpectPages(next);
    EXPECT_EQ(1u, acomp_.Stats().in_quarantine) << "nobody looked yet";
    Batch look(AcompOp::kCompress, codec());
    Add(look, 1);
    acomp_.Run(look);
    EXPECT_EQ(0u, acomp_.Stats().in_quarantine);
    EXPECT_EQ(0u, device_->owned());
    TearDown();
  }
}

TEST_F(OffloadTest, ADeviceThatHungRestsAndIsUsedAgain) {
  config_.timeout_ns = kShort;
  config_.rest_ns = 20 * kShort;
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number == 0 ? Fault{Fault::kHang, 0} : Fault{};
  };
  settings_.engines = 1;
  Start();
  const uint64_t begin = os::MonotonicNs();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch, 1);
  acomp_.Run(batch);
  ExpectPages(batch);
  device_->ReleaseHung();
  while (acomp_.Stats().completed == 0) {
    Batch again(AcompOp::kCompress, codec());
    Add(again, 1);
    acomp_.Run(again);
    ExpectPages(again);
  }
  EXPECT_GE(os::MonotonicNs() - begin, kShort + config_.rest_ns);
  EXPECT_GT(acomp_.Stats().suspended, 0u);
  EXPECT_EQ(0u, acomp_.Stats().in_quarantine);
}

TEST_F(OffloadTest, AHungSlotIsNeverGivenAway) {
  settings_.slots = 2;
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number == 0 ? Fault{Fault::kHang, 0} : Fault{};
  };
  Start();
  {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch, 1);
    acomp_.Submit(batch).Ignore();
    device_->RunAllJobs();
    // Cancelled, not late: the device is not suspected, its slot is blocked.
  }
  EXPECT_EQ(1u, acomp_.Stats().in_quarantine);
  for (int round = 0; round < 20; ++round) {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch, 3);
    EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
    EXPECT_EQ(2u, device_->owned()) << "one slot is left";
    while (!acomp_.Poll(batch).ok()) device_->RunJob();
    ExpectPages(batch);
  }
  EXPECT_EQ(0u, codec_calls);
  device_->ReleaseHung();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch, 3);
  acomp_.Submit(batch).Ignore();
  EXPECT_EQ(0u, acomp_.Stats().in_quarantine);
  EXPECT_EQ(2u, device_->owned());
  batch.Cancel();
}

TEST_F(OffloadTest, AQueuedJobThatIsTooLateIsTakenBack) {
  config_.timeout_ns = kShort;
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch);
  acomp_.Submit(batch).Ignore();
  acomp_.Wait(batch);  // the device never begins
  ExpectPages(batch);
  EXPECT_EQ(kMax, acomp_.Stats().hung);
  EXPECT_EQ(0u, acomp_.Stats().in_quarantine);
  EXPECT_EQ(0u, device_->owned());
}

TEST_F(OffloadTest, ADeviceThatDisappearsIsNotAskedAgain) {
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number == 2 ? Fault{Fault::kRefuse, ENODEV} : Fault{};
  };
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch, 3);
  EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
  device_->RunAllJobs();
  EXPECT_TRUE(acomp_.Poll(batch).ok()) << "what it took it still finishes";
  ExpectPages(batch);
  Batch next(AcompOp::kCompress, codec());
  Add(next);
  EXPECT_TRUE(acomp_.Submit(next).ok());
  ExpectPages(next);
  EXPECT_EQ(3u, device_->submissions());
  EXPECT_EQ(kMax, acomp_.Stats().suspended);
}

TEST_F(OffloadTest, ADeviceThatCannotUseTheMemoryIsLeftOut) {
  settings_.attach_error = EFAULT;
  device_ = std::make_unique<EmulatedDevice>(settings_);
  config_.device = device_.get();
  EXPECT_EQ(EFAULT, acomp_.Init(config_).error());
  EXPECT_FALSE(acomp_.has_device());
  Batch batch(AcompOp::kCompress, codec());
  Add(batch);
  EXPECT_TRUE(acomp_.Submit(batch).ok());
  ExpectPages(batch);
}

// ---- cancelling, destruction, fork

TEST_F(OffloadTest, CancelledUnitsAreNotWritten) {
  settings_.descriptors = 4;
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number == 1 ? Fault{Fault::kHang, 0} : Fault{};
  };
  Start();
  {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    acomp_.Submit(batch).Ignore();
    EXPECT_TRUE(device_->RunJob());  // 0 is done, nobody looked
    EXPECT_TRUE(device_->RunJob());  // 1 hangs
    batch.Cancel();
    batch.CheckInvariants();
    for (unsigned i = 0; i < kMax; ++i) {
      EXPECT_EQ(ECANCELED, batch.error(i));
    }
  }
  EXPECT_EQ(1u, device_->owned()) << "queued and finished jobs were let go";
  EXPECT_EQ(1u, acomp_.Stats().in_quarantine);
  EXPECT_EQ(4u, acomp_.Stats().cancelled);
  device_->ReleaseHung();
  for (unsigned i = 0; i < kMax; ++i) EXPECT_TRUE(Untouched(i));
  EXPECT_EQ(0u, codec_calls);
}

TEST_F(OffloadTest, ADeviceIsStoppedWithJobsUnderWay) {
  settings_.engines = 2;
  settings_.latency = std::chrono::milliseconds(2);
  Start();
  {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    acomp_.Submit(batch).Ignore();
  }
  EXPECT_TRUE(acomp_.Release().ok());
  for (unsigned i = 0; i < kMax; ++i) EXPECT_TRUE(Untouched(i));
}

TEST_F(OffloadTest, MemoryOfADeviceThatCannotBeStoppedIsLeftToIt) {
  for (const bool can_stop : {true, false}) {
    settings_.can_stop = can_stop;
    settings_.plan = [](uint64_t, const OffloadJob&) {
      return Fault{Fault::kHang, 0};
    };
    Start();
    {
      Batch batch(AcompOp::kCompress, codec());
      Add(batch);
      acomp_.Submit(batch).Ignore();
      device_->RunAllJobs();
    }
    EXPECT_EQ(kMax, acomp_.Stats().in_quarantine);
    EXPECT_EQ(can_stop ? 0 : ETIMEDOUT, acomp_.Release().error());
    // Eight late writes; were the memory gone, they would kill us.
    EXPECT_EQ(can_stop ? 0 : kMax, device_->ReleaseHung());
  }
}

TEST_F(OffloadTest, AForkedChildUsesItsCodec) {
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number < 4 ? Fault{Fault::kHang, 0} : Fault{};
  };
  Start();
  Batch parents(AcompOp::kCompress, codec());
  Add(parents);
  acomp_.Submit(parents).Ignore();
  device_->RunAllJobs();
  const pid_t child = fork();
  if (child == 0) {
    acomp_.ResetInChild();
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    bool ok = acomp_.Submit(batch).ok() && codec_calls == kMax;
    ok = ok && device_->submissions() == kMax;
    acomp_.CheckInvariants(/*idle=*/true);
    ok = ok && acomp_.Release().ok();
    _exit(ok ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  parents.Cancel();
}

}  // namespace
}  // namespace uzswap
