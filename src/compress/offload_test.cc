// SPDX-License-Identifier: Apache-2.0
// Batches done by a device: results, failures of single pages, back-pressure.
// Devices that hang: offload_hang_test.cc.
#include "compress/offload.h"

#include <gtest/gtest.h>

#include <utility>

#include "compress/offload_fixture_test_support.h"

namespace uzswap {
namespace {

using testing::codec_calls;
using testing::Fault;
using testing::kMax;
using testing::kShort;
using testing::OffloadTest;
using testing::PageBytes;
using testing::Random;

TEST_F(OffloadTest, B33_TheDeviceDoesBatchesOfEverySize) {
  Start();
  for (unsigned n = 1; n <= kMax; ++n) {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch, n);
    EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
    batch.CheckInvariants();
    EXPECT_EQ(n, device_->queued());
    EXPECT_EQ(EINPROGRESS, acomp_.Poll(batch).error());
    device_->RunAllJobs();
    EXPECT_TRUE(acomp_.Poll(batch).ok());
    ExpectPages(batch);

    Batch back(AcompOp::kDecompress, codec());
    PageBytes loaded[kMax];
    for (unsigned i = 0; i < n; ++i) {
      back.Add(batch.result(i), MutablePage(loaded[i]));
    }
    EXPECT_EQ(EINPROGRESS, acomp_.Submit(back).error());
    device_->RunAllJobs();
    acomp_.Wait(back);
    EXPECT_EQ(0, back.first_error());
    for (unsigned i = 0; i < n; ++i) EXPECT_EQ(pages_[i], loaded[i]);
  }
  EXPECT_EQ(0u, codec_calls);
  EXPECT_EQ(72u, acomp_.Stats().completed);
  EXPECT_EQ(72u, device_->submissions()) << "each unit is done exactly once";
  EXPECT_EQ(0u, device_->owned());
}

TEST_F(OffloadTest, B32_ResultsAreTakenInAnyOrder) {
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch);
  EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
  for (unsigned last = kMax; last-- > 0;) {
    ASSERT_TRUE(device_->RunJob(last));
    EXPECT_EQ(last == 0 ? 0 : EINPROGRESS, acomp_.Poll(batch).error());
    for (unsigned i = 0; i < kMax; ++i) {
      EXPECT_EQ(i >= last, batch.done(i));
      EXPECT_EQ(i < last, Untouched(i)) << "written before it was done";
    }
  }
  ExpectPages(batch);
}

// ---- partial failures

TEST_F(OffloadTest, TheCodecDoesWhatTheDeviceFailsAt) {
  const Fault faults[] = {
      {Fault::kError, EIO},           {Fault::kError, EFAULT},
      {Fault::kRefuse, EFAULT},       {Fault::kRefuse, EOPNOTSUPP},
      {Fault::kWrongLength, 0},       {Fault::kWrongLength, 4097},
      {Fault::kWrongLength, 1 << 30},
  };
  uint64_t bad = 0;
  Fault fault;
  settings_.plan = [&](uint64_t number, const OffloadJob&) {
    return number % kMax == bad ? fault : Fault{};
  };
  Start();
  unsigned runs = 0;
  for (const Fault& f : faults) {
    for (bad = 0; bad < kMax; ++bad) {
      fault = f;
      codec_calls = 0;
      Batch batch(AcompOp::kCompress, codec());
      Add(batch);
      EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
      device_->RunAllJobs();
      EXPECT_TRUE(acomp_.Poll(batch).ok());
      ExpectPages(batch);
      EXPECT_EQ(1u, codec_calls);
      ++runs;
    }
  }
  const OffloadStats stats = acomp_.Stats();
  EXPECT_EQ(runs * (kMax - 1), stats.completed);
  EXPECT_EQ(2 * kMax, stats.refused);
  EXPECT_EQ(5 * kMax, stats.failed);
  EXPECT_EQ(stats.submitted, stats.completed + stats.failed);
}

TEST_F(OffloadTest, PagesThatDoNotCompressAreNotTriedAgain) {
  Start();
  Random random(5);
  for (unsigned bad = 0; bad < kMax; ++bad) {
    const PageBytes good =
        std::exchange(pages_[bad], testing::RandomPage(random));
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    acomp_.Submit(batch).Ignore();
    device_->RunAllJobs();
    EXPECT_TRUE(acomp_.Poll(batch).ok());
    for (unsigned i = 0; i < kMax; ++i) {
      EXPECT_EQ(i == bad ? ENOSPC : 0, batch.error(i));
    }
    EXPECT_FALSE(JudgeGroup(batch, /*raw_allowed=*/false).keep);
    EXPECT_EQ(1u, JudgeGroup(batch, true).incompressible);
    EXPECT_EQ(pages_[bad].data(),
              ContentToKeep(batch, bad, ConstPage(pages_[bad])).data());
    pages_[bad] = good;
  }
  EXPECT_EQ(0u, codec_calls);
}

TEST_F(OffloadTest, VerificationFindsDamagedResults) {
  config_.verify = true;
  uint64_t bad = 0;
  settings_.plan = [&](uint64_t number, const OffloadJob&) {
    return number % kMax == bad ? Fault{Fault::kDamage, 0} : Fault{};
  };
  Start();
  for (bad = 0; bad < kMax; ++bad) {
    Batch batch(AcompOp::kCompress, codec());
    Add(batch);
    acomp_.Submit(batch).Ignore();
    device_->RunAllJobs();
    EXPECT_TRUE(acomp_.Poll(batch).ok());
    ExpectPages(batch);
  }
  EXPECT_EQ(kMax, acomp_.Stats().verify_failed);
  EXPECT_EQ(kMax, acomp_.Stats().failed);
}

TEST_F(OffloadTest, AFailedDecompressionIsDoneAgain) {
  Batch made(AcompOp::kCompress, codec());
  Add(made);
  Acomp none;
  ASSERT_TRUE(none.Init({}).ok());
  none.Run(made);
  settings_.plan = [](uint64_t number, const OffloadJob&) {
    return number == 0   ? Fault{Fault::kError, EIO}
           : number == 1 ? Fault{Fault::kWrongLength, 4095}
                         : Fault{};
  };
  Start();
  PageBytes loaded[kMax];
  Batch back(AcompOp::kDecompress, codec());
  for (unsigned i = 0; i < 3; ++i) {
    back.Add(made.result(i), MutablePage(loaded[i]));
  }
  const std::byte rubbish[3] = {};
  back.Add(std::span<const std::byte>(rubbish), MutablePage(loaded[3]));
  back.Add(std::span<const std::byte>(), MutablePage(loaded[4]));
  acomp_.Submit(back).Ignore();
  device_->RunAllJobs();
  EXPECT_TRUE(acomp_.Poll(back).ok());
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(0, back.error(i));
    EXPECT_EQ(pages_[i], loaded[i]);
  }
  EXPECT_EQ(EIO, back.error(3)) << "the codec could not either";
  EXPECT_EQ(EIO, back.error(4));
  EXPECT_EQ(4u, device_->submissions()) << "no empty job";
}

// ---- back-pressure

TEST_F(OffloadTest, AFullDeviceTakesTheRestLater) {
  settings_.descriptors = 3;
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch);
  EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
  EXPECT_EQ(3u, device_->owned());
  Batch other(AcompOp::kCompress, codec());
  other.Add(ConstPage(pages_[0]), std::span<std::byte>(buffers_[0]));
  EXPECT_EQ(EBUSY, acomp_.Submit(other).error());
  EXPECT_EQ(EBUSY, acomp_.Submit(other).error()) << "may be repeated";
  other.CheckInvariants();
  EXPECT_FALSE(other.done(0));
  other.Cancel();
  for (unsigned done = 1; done <= kMax; ++done) {
    EXPECT_TRUE(device_->RunJob());
    EXPECT_EQ(done < kMax ? EINPROGRESS : 0, acomp_.Poll(batch).error());
    EXPECT_EQ(std::min(3u, kMax - done), device_->owned());
  }
  ExpectPages(batch);
  EXPECT_EQ(0u, codec_calls);
}

TEST_F(OffloadTest, SlotsRunOutBeforeDescriptorsDo) {
  settings_.slots = 2;
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch, 3);
  EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
  EXPECT_EQ(2u, device_->owned());
  while (!acomp_.Poll(batch).ok()) device_->RunJob();
  ExpectPages(batch);
}

TEST_F(OffloadTest, TheCodecHelpsWhenThereIsNoRoomForTooLong) {
  settings_.descriptors = 3;
  config_.busy_ns = kShort;
  Start();
  Batch batch(AcompOp::kCompress, codec());
  Add(batch);
  EXPECT_EQ(EINPROGRESS, acomp_.Submit(batch).error());
  while (codec_calls == 0) {
    EXPECT_EQ(EINPROGRESS, acomp_.Poll(batch).error());
  }
  EXPECT_EQ(5u, codec_calls);
  EXPECT_EQ(5u, acomp_.Stats().busy);
  device_->RunAllJobs();
  EXPECT_TRUE(acomp_.Poll(batch).ok());
  ExpectPages(batch);
}

}  // namespace
}  // namespace uzswap
