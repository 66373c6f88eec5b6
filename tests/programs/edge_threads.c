// SPDX-License-Identifier: Apache-2.0
// Threads that fault, allocate and wait for each other at the same time.
#include "edge.h"

enum { kThreads = 6, kRounds = 3, kBytes = 4 * kMiB };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static uint64_t* shared;  // one page, counted up under the mutex
static int turn;

static void* Work(void* argument) {
  const uintptr_t number = (uintptr_t)argument;
  char* memory = Map(kBytes);
  size_t wrong = 0;
  for (uintptr_t round = 0; round < kRounds; ++round) {
    Fill(memory, kBytes, number * 100 + round);
    for (int i = 0; i < 200; ++i) {
      char* block = malloc(1000 + (size_t)i * 37);
      memset(block, i, 1000 + (size_t)i * 37);
      wrong += block[999] != (char)i;
      free(block);
      pthread_mutex_lock(&mutex);
      ++*shared;
      pthread_mutex_unlock(&mutex);
    }
    wrong += Wrong(memory, kBytes, number * 100 + round);
    pthread_mutex_lock(&mutex);
    while ((uintptr_t)turn % kThreads != number) {
      pthread_cond_wait(&turn_changed, &mutex);
    }
    ++turn;
    pthread_cond_broadcast(&turn_changed);
    pthread_mutex_unlock(&mutex);
  }
  munmap(memory, kBytes);
  return (void*)wrong;
}

int main(void) {
  shared = Map(kPage);
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) {
    EXPECT(pthread_create(&threads[i], NULL, Work, (void*)i) == 0);
  }
  for (int i = 0; i < kThreads; ++i) {
    void* wrong;
    EXPECT(pthread_join(threads[i], &wrong) == 0);
    printf("thread %d: %zu wrong\n", i, (size_t)wrong);
  }
  printf("counted %lu, turns %d\n", *shared, turn);
  // Many short ones: their stacks come and go.
  for (int i = 0; i < 100; ++i) {
    pthread_t thread;
    turn = 0;
    EXPECT(pthread_create(&thread, NULL, (void* (*)(void*))(void*)getppid,
                          NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
  }
  return 0;
}
