// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <gtest/gtest.h>

namespace uzswap {
namespace {

TEST(Status, KnowsRawSystemCallResults) {
  EXPECT_TRUE(Status::FromReturn(0).ok());
  EXPECT_TRUE(Status::FromReturn(4096).ok());
  EXPECT_EQ(Status::FromReturn(-ENOMEM).error(), ENOMEM);
  EXPECT_EQ(Status::FromReturn(-ENOMEM), Status::Error(ENOMEM));
  EXPECT_EQ(sizeof(Status), 4u);
}

Status FailsBefore(Status first, int* reached) {
  UZSWAP_RETURN_IF_ERROR(first);
  ++*reached;
  return kOk;
}

TEST(Status, ReturnIfErrorStopsAtTheFirstError) {
  int reached = 0;
  EXPECT_EQ(FailsBefore(Status::Error(EIO), &reached).error(), EIO);
  EXPECT_EQ(reached, 0);
  EXPECT_TRUE(FailsBefore(kOk, &reached).ok());
  EXPECT_EQ(reached, 1);
}

TEST(Result, HoldsAValueOrAnError) {
  const Result<int> value(42);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value.value(), 42);
  const Result<int> error = Status::Error(ENOENT);
  EXPECT_FALSE(error.ok());
  EXPECT_EQ(error.error(), ENOENT);
}

TEST(ResultDeathTest, ValueOfAnErrorDies) {
  const Result<int> error = Status::Error(ENOENT);
  EXPECT_DEATH((void)error.value(), "check failed");
}

}  // namespace
}  // namespace uzswap
