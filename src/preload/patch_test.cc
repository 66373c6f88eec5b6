// SPDX-License-Identifier: Apache-2.0
// Patches the libc of a forked child and lets it do what programs do. The
// entry only counts the call and executes it, so what is tested is the table,
// the stubs and the patching.
#include "preload/patch.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "preload/patch_test_support.h"
#include "preload/stub.h"

namespace uzswap::preload {
namespace {

#include "libc_sites.inc"

using testing::Calls;
using testing::InChild;
using testing::LibcText;
using testing::Mapping;
using testing::Mappings;
using testing::TextBytes;

class Patch : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "a thread of the sanitizer runs in libc";
#endif
    const pid_t child = fork();
    if (child == 0) _exit(PatchLibc().known == 0 ? 1 : 0);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0) GTEST_SKIP() << "no table for this libc";
  }
};

TEST_F(Patch, EveryKnownSiteIsPatched) {
  InChild([] {
    const PatchResult result = PatchLibc();
    EXPECT_GT(result.known, 400u);
    EXPECT_EQ(result.patched, result.known);
    EXPECT_EQ(syscall(SYS_getppid), getppid());
    EXPECT_EQ(Calls(SYS_getppid), 2u);
  });
}

TEST_F(Patch, ASecondCallChangesNothing) {
  InChild([] {
    EXPECT_GT(PatchLibc().patched, 0u);
    const std::string text = TextBytes();
    EXPECT_EQ(PatchLibc().patched, 0u);
    EXPECT_EQ(TextBytes(), text);
    EXPECT_EQ(syscall(SYS_getpid), getpid());
  });
}

TEST_F(Patch, TextIsExecutableAndNotWritableAfterwards) {
  InChild([] {
    const size_t before = LibcText().size();
    ASSERT_GT(PatchLibc().patched, 0u);
    EXPECT_EQ(LibcText().size(), before);
    bool stubs = false;
    for (const Mapping& m : Mappings()) {
      EXPECT_FALSE(m.permissions[1] == 'w' && m.permissions[2] == 'x')
          << m.path;
      if (IsStub(m.begin + kStubBytes)) {
        stubs = true;
        EXPECT_EQ(m.permissions, "r-xp");
      }
    }
    EXPECT_TRUE(stubs);
  });
}

TEST_F(Patch, AnotherBuildIdIsLeftAlone) {
  InChild([] {
    std::vector<uint8_t> id(kLibcTables[0].build_id.begin(),
                            kLibcTables[0].build_id.end());
    id.back() ^= 1;
    const SiteTable table{.build_id = id, .sites = kLibcTables[0].sites};
    const std::string text = TextBytes();
    const PatchResult result = PatchLibcUsing({&table, 1});
    EXPECT_EQ(result.known, 0u);
    EXPECT_EQ(result.patched, 0u);
    EXPECT_EQ(TextBytes(), text);
  });
}

TEST_F(Patch, ASiteWithOtherBytesIsSkipped) {
  InChild([] {
    const auto& known = kLibcTables[0].sites;
    std::vector<PatchSite> sites(known.begin(), known.end());
    sites[7].bytes[sites[7].length - 1] ^= 1;
    sites[9].offset = 0xfffffff0;  // not in libc at all
    const SiteTable table{.build_id = kLibcTables[0].build_id, .sites = sites};
    const std::string text = TextBytes();
    const PatchResult result = PatchLibcUsing({&table, 1});
    EXPECT_EQ(result.known, sites.size());
    EXPECT_EQ(result.patched, sites.size() - 2);
    // Exactly the windows of the other sites differ: put back, all is as it
    // was.
    std::string restored = TextBytes();
    const std::string first(reinterpret_cast<const char*>(sites[0].bytes),
                            sites[0].length);
    const size_t shift = sites[0].offset - text.find(first);
    for (size_t i = 0; i < sites.size(); ++i) {
      if (i == 7 || i == 9) continue;
      const size_t at = sites[i].offset - shift;
      EXPECT_EQ(static_cast<uint8_t>(restored[at]), 0xe9);
      restored.replace(at, sites[i].length,
                       reinterpret_cast<const char*>(sites[i].bytes),
                       sites[i].length);
    }
    EXPECT_EQ(restored, text);
  });
}

TEST_F(Patch, NoRoomNearLibcIsSurvived) {
  InChild([] {
    // Fills every gap from 4 GiB below libc's text to as much above it.
    const uint64_t text = LibcText().front().begin;
    const uint64_t low = text - (uint64_t{4} << 30);
    const uint64_t high = text + (uint64_t{4} << 30);
    uint64_t end = low;
    std::vector<Mapping> all = Mappings();
    all.push_back({high, high, "", ""});
    std::vector<std::pair<uint64_t, uint64_t>> gaps;
    for (const Mapping& m : all) {
      const uint64_t begin = std::min(m.begin, high);
      if (begin > end && end >= low) gaps.push_back({end, begin});
      end = std::max(end, m.end);
    }
    for (const auto& [from, to] : gaps) {
      // What the kernel refuses (the guard below the stack, the end of the
      // address space) is no room for stubs either.
      (void)mmap(
          reinterpret_cast<void*>(from), to - from, PROT_NONE,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1,
          0);
    }
    const std::string before = TextBytes();
    const PatchResult result = PatchLibc();
    EXPECT_GT(result.known, 0u);
    EXPECT_EQ(result.patched, 0u);
    EXPECT_EQ(TextBytes(), before);
    // A hole a little away from libc is found.
    void* hole = reinterpret_cast<void*>(text - (uint64_t{1} << 30));
    ASSERT_EQ(munmap(hole, 2 << 20), 0);
    EXPECT_EQ(PatchLibc().patched, result.known);
    EXPECT_EQ(syscall(SYS_getpid), getpid());
  });
}

TEST_F(Patch, FilesAndPipesWork) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const uint64_t reads = Calls(SYS_read);
    const uint64_t writes = Calls(SYS_write);
    for (int i = 0; i < 1000; ++i) {
      int got = -1;
      ASSERT_EQ(write(ends[1], &i, sizeof(i)), sizeof(i));
      ASSERT_EQ(read(ends[0], &got, sizeof(got)), sizeof(got));
      ASSERT_EQ(got, i);
    }
    EXPECT_EQ(Calls(SYS_read) - reads, 1000u);
    EXPECT_EQ(Calls(SYS_write) - writes, 1000u);
    errno = 0;
    EXPECT_EQ(read(-1, ends, 1), -1);
    EXPECT_EQ(errno, EBADF);

    FILE* file = tmpfile();
    ASSERT_NE(file, nullptr);
    for (int i = 0; i < 20000; ++i) fprintf(file, "%d\n", i);
    rewind(file);
    int64_t sum = 0;
    for (int value; fscanf(file, "%d", &value) == 1;) sum += value;
    EXPECT_EQ(sum, 19999ll * 20000 / 2);
    fclose(file);

    DIR* directory = opendir("/proc/self/fd");
    ASSERT_NE(directory, nullptr);
    int entries = 0;
    while (readdir(directory) != nullptr) ++entries;
    closedir(directory);
    EXPECT_GE(entries, 5);
    EXPECT_GT(Calls(SYS_getdents64), 0u);
  });
}

TEST_F(Patch, MemoryAndTimeWork) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    std::vector<std::string> kept;
    for (size_t i = 0; i < 200; ++i) kept.emplace_back(i * 4096, 'x');
    for (size_t i = 0; i < 200; ++i) {
      EXPECT_EQ(kept[i].find_first_not_of('x'), std::string::npos);
    }
    kept.clear();
    // Directly: a sanitizer's malloc does not ask libc for memory.
    auto* grown = static_cast<char*>(sbrk(1 << 20));
    ASSERT_NE(grown, reinterpret_cast<char*>(-1));
    grown[(1 << 20) - 1] = 'x';
    EXPECT_GT(Calls(SYS_brk), 0u);
    timespec before{}, after{};
    clock_gettime(CLOCK_MONOTONIC, &before);
    const timespec pause{.tv_sec = 0, .tv_nsec = 20000000};
    EXPECT_EQ(nanosleep(&pause, nullptr), 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    EXPECT_GE((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec -
                  before.tv_nsec,
              20000000);
  });
}

TEST_F(Patch, ThreadsWork) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    for (int round = 0; round < 20; ++round) {
      pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
      pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
      int turn = 0;
      auto play = [&](int me) {
        for (int i = 0; i < 50; ++i) {
          pthread_mutex_lock(&mutex);
          while (turn != me) pthread_cond_wait(&condition, &mutex);
          turn = (me + 1) % 4;
          pthread_cond_broadcast(&condition);
          pthread_mutex_unlock(&mutex);
        }
      };
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) threads.emplace_back(play, i);
      for (std::thread& thread : threads) thread.join();
      EXPECT_EQ(turn, 0);
    }
    EXPECT_EQ(Calls(SYS_clone), 80u);
    EXPECT_GT(Calls(SYS_futex), 0u);
  });
}

TEST_F(Patch, ProcessesWork) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    for (int code = 0; code < 20; ++code) {
      int status = 0;
      pid_t child = fork();
      if (child == 0) _exit(code);
      ASSERT_EQ(waitpid(child, &status, 0), child);
      EXPECT_EQ(WEXITSTATUS(status), code);
      child = vfork();
      if (child == 0) _exit(code);
      ASSERT_EQ(waitpid(child, &status, 0), child);
      EXPECT_EQ(WEXITSTATUS(status), code);
    }
    EXPECT_EQ(Calls(SYS_vfork), 20u);
    char shell[] = "sh", option[] = "-c", script[] = "exit 7";
    char* arguments[] = {shell, option, script, nullptr};
    pid_t child = -1;
    int status = 0;
    ASSERT_EQ(posix_spawnp(&child, "sh", nullptr, nullptr, arguments, environ),
              0);
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 7);
    EXPECT_EQ(posix_spawnp(&child, "/does/not/exist", nullptr, nullptr,
                           arguments, environ),
              ENOENT);
    FILE* pipe = popen("echo hello; cat /dev/null", "r");
    ASSERT_NE(pipe, nullptr);
    char text[16] = {};
    EXPECT_NE(fgets(text, sizeof(text), pipe), nullptr);
    EXPECT_STREQ(text, "hello\n");
    EXPECT_EQ(pclose(pipe), 0);
    EXPECT_EQ(WEXITSTATUS(system("exit 3")), 3);
  });
}

std::atomic<int> signals_seen;

TEST_F(Patch, SignalsInterruptAndRestart) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    struct sigaction action {};
    action.sa_handler = [](int) { ++signals_seen; };
    sigaction(SIGUSR1, &action, nullptr);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, nullptr);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pthread_t reader = pthread_self();
    std::thread sender([&] {
      usleep(50000);
      pthread_kill(reader, SIGUSR1);
      usleep(50000);
      pthread_kill(reader, SIGUSR2);
      usleep(50000);
      EXPECT_EQ(write(ends[1], "x", 1), 1);
    });
    char byte = 0;
    errno = 0;
    EXPECT_EQ(read(ends[0], &byte, 1), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(read(ends[0], &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
    sender.join();
    EXPECT_EQ(signals_seen, 2);
  });
}

TEST_F(Patch, CancellationUnwindsThroughAStub) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    static int ends[2];
    static std::atomic<int> destroyed;
    ASSERT_EQ(pipe(ends), 0);
    for (int i = 1; i <= 20; ++i) {
      pthread_t thread{};
      auto body = [](void*) -> void* {
        struct Counter {
          ~Counter() { ++destroyed; }
        } counter;
        char byte = 0;
        // The result does not matter: the read never returns.
        if (read(ends[0], &byte, 1) == 1) destroyed = -1000;
        return nullptr;
      };
      ASSERT_EQ(pthread_create(&thread, nullptr, body, nullptr), 0);
      usleep(10000);
      ASSERT_EQ(pthread_cancel(thread), 0);
      void* result = nullptr;
      ASSERT_EQ(pthread_join(thread, &result), 0);
      EXPECT_EQ(result, PTHREAD_CANCELED);
      EXPECT_EQ(destroyed, i);
    }
  });
}

// Single-steps calls of libc; what was at each step is looked at afterwards.
struct Step {
  uint64_t rip, rsp;
};
Step steps[4096];
size_t step_count;

void OnStep(int, siginfo_t*, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (step_count == std::size(steps)) return;
  steps[step_count++] = {.rip = static_cast<uint64_t>(registers[REG_RIP]),
                         .rsp = static_cast<uint64_t>(registers[REG_RSP])};
}

void SetTrapFlag(bool on) {
  // The pushes must not meet the red zone.
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\t"
      "pushfq\n\t"
      "andq $~0x100, (%%rsp)\n\t"
      "orq %0, (%%rsp)\n\t"
      "popfq\n\t"
      "lea 128(%%rsp), %%rsp" ::"r"(on ? 0x100ul : 0ul)
      : "memory", "cc");
}

// Follows one run through a stub, from the jump in libc at steps[at], and
// returns the index of the step at which libc goes on.
size_t FollowStub(size_t at) {
  const Step from = steps[at];
  EXPECT_EQ(ProgramAddress(steps[at + 1].rip), from.rip);
  uint64_t program = from.rip;
  bool entered = false;
  for (++at; at < step_count; ++at) {
    const Step& step = steps[at];
    if (IsStub(step.rip)) {
      // Addresses only grow, and the program sees one stack pointer.
      EXPECT_GE(ProgramAddress(step.rip), program);
      EXPECT_EQ(ProgramStack(step.rip, step.rsp), from.rsp);
      EXPECT_LE(ProgramAddress(step.rip), from.rip + kWindowBytesMax);
      program = ProgramAddress(step.rip);
    } else if (step.rip > from.rip && step.rip <= from.rip + kWindowBytesMax) {
      EXPECT_EQ(step.rip, program);
      EXPECT_EQ(step.rsp, from.rsp);
      break;
    } else {
      EXPECT_EQ(ProgramAddress(step.rip), step.rip);
      EXPECT_EQ(ProgramStack(step.rip, step.rsp), step.rsp);
      entered = true;
    }
  }
  EXPECT_TRUE(entered);
  return at;
}

TEST_F(Patch, EveryStepInAStubHasItsPlaceInLibc) {
  InChild([] {
    ASSERT_GT(PatchLibc().patched, 0u);
    struct sigaction action {};
    action.sa_sigaction = OnStep;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, nullptr);
    char byte = 0;
    SetTrapFlag(true);
    const pid_t parent = getppid();
    const ssize_t got = read(-1, &byte, 1);
    const int error = errno;
    SetTrapFlag(false);
    EXPECT_EQ(parent, getppid());
    EXPECT_EQ(got, -1);
    EXPECT_EQ(error, EBADF);
    int stubs = 0;
    for (size_t i = 0; i + 1 < step_count; ++i) {
      if (!IsStub(steps[i].rip) && IsStub(steps[i + 1].rip)) {
        i = FollowStub(i);
        ++stubs;
      }
    }
    EXPECT_EQ(stubs, 2);
  });
}

}  // namespace
}  // namespace uzswap::preload
