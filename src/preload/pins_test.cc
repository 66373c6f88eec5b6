// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::fake;
using testing::kPage;

class PinsTest : public ::testing::Test {
 protected:
  ~PinsTest() override {
    fake.Forget();
    SetPinLimit(UINT64_MAX);
  }
};

TEST_F(PinsTest, UnmanagedMemoryIsNotRecorded) {
  char buffer[64];
  Pins pins;
  pins.Add(testing::Number(buffer), sizeof(buffer));
  pins.Add(0, 100);
  pins.Add(UINT64_MAX - 5, UINT64_MAX);
  pins.Add(kAddressLimit - 1, UINT64_MAX);
  EXPECT_TRUE(pins.empty());
  EXPECT_TRUE(fake.pinned.empty());
}

TEST_F(PinsTest, WholePagesArePinnedAndExactlyThoseUnpinned) {
  const uint64_t m = fake.Manage(8 * kPage);
  Pins pins;
  pins.Add(m + kPage + 100, kPage);  // two pages
  pins.CheckInvariants();
  EXPECT_TRUE(fake.IsPinned(m + kPage, 2 * kPage));
  EXPECT_FALSE(fake.IsPinned(m));
  EXPECT_FALSE(fake.IsPinned(m + 3 * kPage));
  EXPECT_EQ(fake.TotalPins(), 2);
  pins.Release();
  EXPECT_EQ(fake.TotalPins(), 0);
  EXPECT_TRUE(pins.empty());
}

TEST_F(PinsTest, TwoCallsMayPinTheSamePage) {
  const uint64_t m = fake.Manage(kPage);
  Pins one;
  Pins two;
  one.Add(m, 8);
  two.Add(m + 8, 8);
  one.Release();
  EXPECT_TRUE(fake.IsPinned(m));
  two.Release();
  EXPECT_FALSE(fake.IsPinned(m));
}

TEST_F(PinsTest, ResidentMemoryIsPinnedWithoutTheSlowCall) {
  const uint64_t m = fake.Manage(kPage);
  Pins one;
  Pins two;
  one.Add(m, 8);
  EXPECT_EQ(fake.slow_pins, 1);
  two.Add(m, 8);
  EXPECT_EQ(fake.slow_pins, 1);
  two.Release();
  one.Release();
}

TEST_F(PinsTest, MoreRangesThanFitInlineAreKept) {
  constexpr uint64_t kRanges = 1500;  // grows twice
  const uint64_t m = fake.Manage(2 * kRanges * kPage);
  Pins pins;
  for (uint64_t i = 0; i < kRanges; ++i) {
    pins.Add(m + 2 * i * kPage, 1);
    if (i % 100 == 0) pins.CheckInvariants();
  }
  EXPECT_EQ(pins.count(), kRanges);
  EXPECT_EQ(fake.TotalPins(), static_cast<int>(kRanges));
  for (uint64_t i = 0; i < kRanges; ++i) {
    ASSERT_TRUE(fake.IsPinned(m + 2 * i * kPage)) << i;
  }
  pins.Release();
  pins.CheckInvariants();
  EXPECT_EQ(fake.TotalPins(), 0);
}

TEST_F(PinsTest, ATransferEndsAtThePinLimit) {
  SetPinLimit(4 << 20);  // a quarter: 1 MiB
  const uint64_t m = fake.Manage(4 << 20);
  Pins pins;
  const uint64_t usable = pins.AddTransfer(m + 100, (4 << 20) - 100);
  EXPECT_EQ(usable, (1 << 20) - 100);  // so that it ends at a page
  EXPECT_TRUE(fake.IsPinned(m, 1 << 20));
  EXPECT_FALSE(fake.IsPinned(m + (1 << 20)));
  EXPECT_EQ(pins.AddTransfer(m + (2 << 20), 8), 0u);
  pins.Release();
  EXPECT_EQ(fake.TotalPins(), 0);
}

TEST_F(PinsTest, OthersPinsShrinkATransferButNeverToNothing) {
  SetPinLimit(4 << 20);
  const uint64_t m = fake.Manage(4 << 20);
  Pins first;
  EXPECT_EQ(first.AddTransfer(m, 1 << 20), 1u << 20);
  Pins second;
  EXPECT_EQ(second.AddTransfer(m + (2 << 20), 1 << 20), Pins::kAlwaysBytes);
  first.Release();
  second.Release();
  Pins third;
  EXPECT_EQ(third.AddTransfer(m, 1 << 20), 1u << 20);  // all given back
  third.Release();
}

TEST_F(PinsTest, UnmanagedTransfersAreNeverCut) {
  SetPinLimit(4 << 20);
  Pins pins;
  EXPECT_EQ(pins.AddTransfer(1 << 20, uint64_t{3} << 30), uint64_t{3} << 30);
  pins.Release();
}

TEST_F(PinsTest, WhatTheKernelWroteToACopiedHeaderReachesTheProgram) {
  const uint64_t m = fake.Manage(kPage);
  mmsghdr original{};
  original.msg_hdr.msg_iovlen = 7;
  original.msg_hdr.msg_namelen = 128;
  fake.Put(m, original);
  Pins pins;
  pins.Add(m, sizeof(original));
  mmsghdr shorter = original;
  shorter.msg_hdr.msg_iovlen = 1;
  auto* copy = reinterpret_cast<mmsghdr*>(pins.ShortMessage(shorter, m, true));
  copy->msg_hdr.msg_namelen = 16;
  copy->msg_hdr.msg_controllen = 24;
  copy->msg_hdr.msg_flags = MSG_TRUNC;
  copy->msg_len = 4711;
  pins.Release();
  const auto after = fake.Get<mmsghdr>(m);
  EXPECT_EQ(after.msg_hdr.msg_iovlen, 7u);
  EXPECT_EQ(after.msg_hdr.msg_namelen, 16u);
  EXPECT_EQ(after.msg_hdr.msg_controllen, 24u);
  EXPECT_EQ(after.msg_hdr.msg_flags, MSG_TRUNC);
  EXPECT_EQ(after.msg_len, 4711u);
}

}  // namespace
}  // namespace uzswap::preload
