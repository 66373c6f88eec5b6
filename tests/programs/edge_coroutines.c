// SPDX-License-Identifier: Apache-2.0
// Coroutines on stacks from malloc, which are evicted while they wait; system
// calls and signals arrive while one of them runs.
#include <ucontext.h>

#include "edge.h"

enum { kCoroutines = 40, kRounds = 6, kStack = 64 * 1024 };

static ucontext_t home, contexts[kCoroutines];
static volatile sig_atomic_t signals;
static uint64_t sums[kCoroutines];
static int fds[2];

static void Handler(int number) {
  char here[3000];
  memset(here, number, sizeof(here));
  signals += here[2999] == number;
}

static void Body(int number) {
  char here[20000];
  for (int round = 0; round < kRounds; ++round) {
    memset(here, number + round, sizeof(here));
    swapcontext(&contexts[number], &home);
    for (size_t i = 0; i < sizeof(here); i += 97) {
      sums[number] += (unsigned char)here[i] == (unsigned char)(number + round);
    }
    raise(SIGUSR1);
    char back[64];
    EXPECT(write(fds[1], here, sizeof(back)) == sizeof(back));
    EXPECT(read(fds[0], back, sizeof(back)) == sizeof(back));
    EXPECT(memcmp(back, here, sizeof(back)) == 0);
    if (number % 8 == 0) {
      const pid_t pid = fork();
      if (pid == 0) _exit(here[0] == (char)(number + round) ? 5 : 6);
      int status;
      EXPECT(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
    }
  }
}

int main(void) {
  EXPECT(pipe(fds) == 0);
  struct sigaction action = {.sa_handler = Handler};
  sigaction(SIGUSR1, &action, NULL);
  for (int i = 0; i < kCoroutines; ++i) {
    getcontext(&contexts[i]);
    contexts[i].uc_stack.ss_sp = malloc(kStack);
    contexts[i].uc_stack.ss_size = kStack;
    contexts[i].uc_link = &home;
    makecontext(&contexts[i], (void (*)(void))Body, 1, i);
  }
  for (int round = 0; round <= kRounds; ++round) {
    PushOut();
    for (int i = 0; i < kCoroutines; ++i) swapcontext(&home, &contexts[i]);
  }
  uint64_t sum = 0;
  for (int i = 0; i < kCoroutines; ++i) sum += sums[i];
  printf("sum %lu, signals %d\n", sum, signals);
  return 0;
}
