// SPDX-License-Identifier: Apache-2.0
#include "preload/argument_table.h"

#include <asm/unistd_64.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <string>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

// Every number that the kernel's header of this machine defines.
std::map<int64_t, std::string> KernelCalls() {
  std::map<int64_t, std::string> calls;
  for (const char* path : {"/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
                           "/usr/include/asm/unistd_64.h"}) {
    std::ifstream header(path);
    std::string define, name;
    for (std::string line; std::getline(header, line);) {
      std::istringstream words(line);
      int64_t number = -1;
      if (words >> define >> name >> number && define == "#define" &&
          name.starts_with("__NR_")) {
        calls[number] = name.substr(5);
      }
    }
  }
  return calls;
}

TEST(ArgumentTable, HasARowForEveryCallOfTheKernelHeader) {
  const auto calls = KernelCalls();
  if (calls.empty()) GTEST_SKIP() << "no kernel headers";
  EXPECT_GT(calls.size(), 350u);
  for (const auto& [number, name] : calls) {
    EXPECT_NE(FindRow(number), nullptr) << number << " " << name;
  }
}

TEST(ArgumentTable, HasNoRowOutsideOfTheKernelsNumbers) {
  for (const int64_t number :
       {int64_t{-1}, int64_t{337}, int64_t{423}, int64_t{471}, int64_t{479},
        int64_t{480}, int64_t{0x40000000}, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(FindRow(number), nullptr) << number;
  }
}

TEST(ArgumentTable, NamesEachNumberOnce) {
  std::set<int> seen;
#define CALL(number, name, ...) \
  EXPECT_TRUE(seen.insert(number).second) << number;
#include "preload/argument_table.def"
#undef CALL
#undef CALL_NEW
  EXPECT_EQ(seen.size(), 337u + 47u);  // 0 to 336, 424 to 470
}

TEST(ArgumentTable, CountsAreOtherArgumentsAndScalars) {
  const std::set<Kind> counted = {
      Kind::kBytes,       Kind::kTransfer, Kind::kAtLeast,   Kind::kItems,
      Kind::kBits,        Kind::kPages,    Kind::kScanBytes, Kind::kIovec,
      Kind::kRemoteIovec, Kind::kMessages, Kind::kSockopt};
  for (int64_t number = 0; number < 480; ++number) {
    const Row* row = FindRow(number);
    if (row == nullptr) continue;
    for (int i = 0; i < 6; ++i) {
      const Argument& argument = row->argument[i];
      if (counted.count(argument.kind) == 0) continue;
      const int by = argument.by & ~kIntArgument;
      ASSERT_LT(by, 6) << number;
      EXPECT_NE(by, i) << number;
      // Some of keyctl's operations have a length where others have a name.
      if (number == __NR_keyctl) continue;
      EXPECT_EQ(row->argument[by].kind, Kind::kScalar) << number;
    }
  }
}

// The arguments behind which a managed page is pinned, as digits.
std::string PinnedArguments(long number, uint64_t count) {
  using testing::fake;
  using testing::kPage;
  const Row* row = FindRow(number);
  const uint64_t m = fake.Manage(12 * kPage);
  SyscallFrame call = testing::Call(number);
  uint64_t* registers[6] = {&call.rdi, &call.rsi, &call.rdx,
                            &call.r10, &call.r8,  &call.r9};
  for (uint64_t i = 0; i < 6; ++i) {
    *registers[i] =
        row->argument[i].kind == Kind::kScalar ? count : m + 2 * i * kPage;
  }
  // What a length or an array points to.
  for (uint64_t i = 0; i < 6; ++i) fake.Put(m + 2 * i * kPage, uint64_t{8});
  Pins pins;
  (void)PinArguments(call, pins);
  std::string result;
  for (uint64_t i = 0; i < 6; ++i) {
    if (fake.IsPinned(m + 2 * i * kPage)) result += static_cast<char>('0' + i);
  }
  pins.Release();
  EXPECT_EQ(fake.TotalPins(), 0);
  fake.Forget();
  return result;
}

// From the manual pages, not from the table.
TEST(ArgumentTable, PinsTheArgumentsThatTheManualCallsPointers) {
  const std::map<long, std::string> pointers = {
      {SYS_read, "1"},
      {SYS_open, "0"},
      {SYS_fstat, "1"},
      {SYS_stat, "01"},
      {SYS_lseek, ""},
      {SYS_mmap, ""},
      {SYS_poll, "0"},
      {SYS_select, "1234"},
      {SYS_pselect6, "12345"},
      {SYS_writev, "1"},
      {SYS_nanosleep, "01"},
      {SYS_accept4, "12"},
      {SYS_recvfrom, "145"},
      {SYS_sendto, "14"},
      {SYS_recvmsg, "1"},
      {SYS_recvmmsg, "14"},
      {SYS_getsockopt, "34"},
      {SYS_wait4, "13"},
      {SYS_waitid, "24"},
      {SYS_getdents64, "1"},
      {SYS_rename, "01"},
      {SYS_renameat2, "13"},
      {SYS_readlinkat, "12"},
      {SYS_symlinkat, "02"},
      {SYS_fgetxattr, "12"},
      {SYS_lsetxattr, "012"},
      {SYS_mount, "0124"},
      {SYS_epoll_ctl, "3"},
      {SYS_epoll_pwait, "14"},
      {SYS_epoll_pwait2, "134"},
      {SYS_statx, "14"},
      {SYS_prlimit64, "23"},
      {SYS_sendfile, "2"},
      {SYS_splice, "13"},
      {SYS_copy_file_range, "13"},
      {SYS_timerfd_settime, "23"},
      {SYS_clock_nanosleep, "23"},
      {SYS_rt_sigtimedwait, "012"},
      {SYS_getresuid, "012"},
      {SYS_mq_timedreceive, "134"},
      {SYS_move_pages, "234"},
      {SYS_get_mempolicy, "013"},
      {SYS_process_vm_readv, "13"},
      {SYS_getrandom, "0"},
      {SYS_execveat, "1"},
      {SYS_name_to_handle_at, "123"},
      {SYS_add_key, "012"},
      {SYS_semtimedop, "13"},
      {SYS_openat2, "12"},
      {SYS_sched_getaffinity, "2"},
      {SYS_futex_waitv, "03"},
      {SYS_mincore, "2"},
      {SYS_utimensat, "12"},
      {SYS_timer_create, "12"},
      {SYS_fanotify_mark, "4"},
      {SYS_ppoll, "023"},
  };
  for (const auto& [number, expected] : pointers) {
    EXPECT_EQ(PinnedArguments(number, 8), expected) << number;
  }
}

}  // namespace
}  // namespace uzswap::preload
