// SPDX-License-Identifier: Apache-2.0
// Threads whose stacks the program allocated itself: they start, run system
// calls, take signals, wait and end on memory that can be evicted.
#include <semaphore.h>

#include "edge.h"

enum { kThreads = 4, kStack = 256 * 1024, kRounds = 8 };

static sem_t go, waiting;
static volatile sig_atomic_t signals;
static int fds[2];

static void Handler(int number) {
  char here[3000];
  memset(here, number, sizeof(here));
  __atomic_fetch_add(&signals, here[1] == number, __ATOMIC_RELAXED);
}

static void* Work(void* argument) {
  char here[100000];
  const char mark = (char)(uintptr_t)argument;
  memset(here, mark, sizeof(here));
  sem_post(&waiting);
  while (sem_wait(&go) != 0) {
  }
  size_t wrong = 0;
  for (size_t i = 0; i < sizeof(here); ++i) wrong += here[i] != mark;
  pthread_kill(pthread_self(), SIGUSR1);
  char one = mark;
  EXPECT(write(fds[1], &one, 1) == 1);
  EXPECT(read(fds[0], &one, 1) == 1);
  usleep(1000);
  return (void*)wrong;
}

int main(void) {
  sem_init(&go, 0, 0);
  sem_init(&waiting, 0, 0);
  EXPECT(pipe(fds) == 0);
  struct sigaction action = {.sa_handler = Handler};
  sigaction(SIGUSR1, &action, NULL);
  size_t wrong = 0;
  for (int round = 0; round < kRounds; ++round) {
    pthread_t threads[kThreads];
    void* stacks[kThreads];
    for (uintptr_t i = 0; i < kThreads; ++i) {
      EXPECT(posix_memalign(&stacks[i], kPage, kStack) == 0);
      pthread_attr_t attributes;
      pthread_attr_init(&attributes);
      EXPECT(pthread_attr_setstack(&attributes, stacks[i], kStack) == 0);
      EXPECT(pthread_create(&threads[i], &attributes, Work, (void*)(i + 1)) ==
             0);
    }
    for (int i = 0; i < kThreads; ++i) sem_wait(&waiting);
    PushOut();
    for (int i = 0; i < kThreads; ++i) sem_post(&go);
    for (int i = 0; i < kThreads; ++i) {
      void* result;
      EXPECT(pthread_join(threads[i], &result) == 0);
      wrong += (size_t)result;
      free(stacks[i]);
    }
  }
  printf("%zu wrong, %d signals\n", wrong, signals);
  return 0;
}
