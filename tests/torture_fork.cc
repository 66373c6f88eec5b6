// SPDX-License-Identifier: Apache-2.0
// Forks at any moment at which the contract allows one: no call is in flight,
// but the worker may be in the middle of a migration and CPUs come and go. The
// child finds the content of the moment of the fork and can go on working.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <mutex>

#include "base/lockdep.h"
#include "torture_run.h"

namespace uzswap::torture {
namespace {

constexpr int kWrongContent = 3;

// Dies if the child does not end well, and soon.
void WaitFor(pid_t child) {
  constexpr int kTries = 60000;
  for (int i = 0; i < kTries; ++i) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended < 0) Fail("waitpid: %s", strerror(errno));
    if (ended == child) {
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
      Fail("a forked child ended with status %x", status);
    }
    Watchdog::Step();
    usleep(1000);
  }
  kill(child, SIGABRT);
  Fail("a forked child hangs");
}

}  // namespace

void Run::Forker(Random random) {
  while (!Stopped()) {
    for (uint64_t i = 20 + random.Below(200); i > 0 && !Stopped(); --i) {
      usleep(1000);
    }
    const WatchdogScope watched("fork");
    ForkOnce(random.Next());
  }
}

void Run::ForkOnce(uint64_t seed) {
  gate_.Close();
  zswap_->PrepareFork();
  std::unique_lock<std::mutex> cpus = cpus_->Hold();
  const pid_t child = fork();
  cpus.unlock();
  if (child == 0) Child(seed);
  zswap_->ParentAfterFork();
  gate_.Open();
  if (child < 0) Fail("fork: %s", strerror(errno));
  ++tally_->forks;
  WaitFor(child);
}

// Allocates nothing: other threads of the parent may have held the allocator's
// locks under a sanitizer.
void Run::Child(uint64_t seed) {
  alarm(60);
  lockdep::ResetThread();
  Watchdog::ChildAfterFork();
  Heal();
  Random random(seed);
  if (kSanitized) {
    Worker::SetStarter(
        [](RawThread::Entry, void*) { return Status::Error(EAGAIN); });
  }
  TORTURE_CHECK(zswap_->ChildAfterFork().ok());
  const bool right = ChildIsRight(random);
  zswap_->FlushWork();
  zswap_->CheckInvariants();
  _exit(right ? 0 : kWrongContent);
}

bool Run::ChildIsRight(Random& random) {
  constexpr unsigned kOneIn = 4;
  PageBuffer page;
  PageBuffer expected;
  bool right = true;
  model_->ForEach([&](Cell& cell) {
    if (random.Below(kOneIn) != 0) return;
    const Keep keep = static_cast<Keep>(random.Below(3));
    const Result<bool> kept = zswap_->Load(cell.slot, page, keep);
    if (cell.content == 0) {
      right &= kept.error() == ENOENT;
      return;
    }
    MakePage(cell.content, expected);
    right &= kept.ok() && page == expected;
    // It is the child's own copy.
    MakePage(~cell.content, page);
    right &= zswap_->Store(cell.slot, page).ok();
    cell.content = ~cell.content;
  });
  (void)zswap_->Shrink(20);
  model_->ForEach([&](Cell& cell) {
    if (cell.content >> 63 == 0) return;
    MakePage(cell.content, expected);
    right &= zswap_->Load(cell.slot, page).ok() && page == expected;
  });
  return right;
}

}  // namespace uzswap::torture
