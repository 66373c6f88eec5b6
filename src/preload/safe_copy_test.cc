// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::fake;
using testing::kPage;
using testing::Number;

class SafeCopyTest : public ::testing::Test {
 protected:
  ~SafeCopyTest() override { fake.Forget(); }
};

void CopyAroundBadPointers() {
  char from[32] = "twenty-one characters";
  char to[32] = "";
  EXPECT_EQ(SafeRead(Number(from), to, sizeof(to)), sizeof(to));
  EXPECT_STREQ(to, from);
  char back[32] = "";
  EXPECT_EQ(SafeWrite(Number(back), from, sizeof(from)), sizeof(from));
  EXPECT_STREQ(back, from);
  for (const uint64_t bad : {uint64_t{0}, uint64_t{2}, uint64_t{1} << 46,
                             kAddressLimit - 3, UINT64_MAX - 100}) {
    EXPECT_EQ(SafeRead(bad, to, sizeof(to)), 0u) << bad;
    EXPECT_EQ(SafeWrite(bad, to, sizeof(to)), 0u) << bad;
  }
  EXPECT_EQ(SafeRead(Number(from), to, 0), 0u);
  // A string constant's page can be read but not written.
  EXPECT_EQ(SafeRead(Number("constant"), to, 9), 9u);
  EXPECT_EQ(SafeWrite(Number("constant"), to, 9), 0u);
}

TEST_F(SafeCopyTest, BadPointersCopyNothing) { CopyAroundBadPointers(); }

TEST_F(SafeCopyTest, AbsentPagesAreBroughtInAndReleased) {
  const uint64_t m = fake.Manage(2 * kPage);
  const uint64_t across = m + kPage - 4;
  uint64_t value = 0x123456789abcdef0;
  EXPECT_EQ(SafeWrite(across, &value, sizeof(value)), sizeof(value));
  EXPECT_EQ(fake.Get<uint64_t>(across), value);
  uint64_t read = 0;
  EXPECT_EQ(SafeRead(across, &read, sizeof(read)), sizeof(read));
  EXPECT_EQ(read, value);
  EXPECT_EQ(fake.TotalPins(), 0);
}

TEST_F(SafeCopyTest, ACopyStopsWhereMemoryEnds) {
  const uint64_t m = fake.Manage(kPage);
  char bytes[100];
  EXPECT_EQ(SafeRead(m + kPage - 60, bytes, sizeof(bytes)), 60u);
}

// In a child, because a filter cannot be taken off again.
TEST_F(SafeCopyTest, BadPointersCopyNothingUnderASeccompFilterEither) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
        {BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SYS_process_vm_readv},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_process_vm_writev},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    sock_fprog program{5, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      _exit(2);
    }
    CopyAroundBadPointers();
    const uint64_t m = fake.Manage(kPage);
    char bytes[100];
    EXPECT_EQ(SafeRead(m + kPage - 60, bytes, sizeof(bytes)), 60u);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace uzswap::preload
