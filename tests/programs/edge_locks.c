// SPDX-License-Identifier: Apache-2.0
// Locks in memory that is evicted: robust mutexes of threads that die, process
// shared ones, cancelled waits, futexes with time-outs.
#include <time.h>

#include "edge.h"

static pthread_mutex_t* mutex;
static pthread_cond_t* condition;
static volatile int cleaned;
static int fds[2];

static void* DieHolding(void* argument) {
  (void)argument;
  EXPECT(pthread_mutex_lock(mutex) == 0);
  PushOut();
  return NULL;
}

static void Robust(void) {
  int owner_died = 0, again = 0;
  for (int i = 0; i < 10; ++i) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, DieHolding, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    PushOut();
    const int result = pthread_mutex_lock(mutex);
    owner_died += result == EOWNERDEAD;
    if (result == EOWNERDEAD) again += pthread_mutex_consistent(mutex) == 0;
    EXPECT(pthread_mutex_unlock(mutex) == 0);
  }
  printf("robust: %d owners died, %d made consistent\n", owner_died, again);
}

static void Clean(void* argument) {
  (void)argument;
  ++cleaned;
}

static void* WaitFor(void* argument) {
  char buffer[5000];
  pthread_cleanup_push(Clean, NULL);
  switch ((uintptr_t)argument % 3) {
    case 0:
      EXPECT(read(fds[0], buffer, sizeof(buffer)) == -2);
      break;
    case 1:
      pause();
      break;
    default:
      pthread_mutex_lock(mutex);
      pthread_cleanup_push((void (*)(void*))(void*)pthread_mutex_unlock, mutex);
      for (;;) pthread_cond_wait(condition, mutex);
      pthread_cleanup_pop(1);
  }
  pthread_cleanup_pop(0);
  return NULL;
}

static void Cancel(void) {
  int cancelled = 0;
  for (uintptr_t i = 0; i < 15; ++i) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, WaitFor, (void*)i) == 0);
    usleep(i % 2 ? 10000 : 0);
    EXPECT(pthread_cancel(thread) == 0);
    void* result;
    EXPECT(pthread_join(thread, &result) == 0);
    cancelled += result == PTHREAD_CANCELED;
  }
  printf("cancelled %d\n", cancelled);
}

static void TimeOut(void) {
  struct timespec* when = Map(kPage);
  clock_gettime(CLOCK_REALTIME, when);
  when->tv_nsec += 20000000;
  if (when->tv_nsec >= 1000000000) {
    when->tv_nsec -= 1000000000;
    ++when->tv_sec;
  }
  pthread_mutex_lock(mutex);
  PushOut();
  printf("timed wait: %d\n",
         pthread_cond_timedwait(condition, mutex, when) == ETIMEDOUT);
  pthread_mutex_unlock(mutex);
}

int main(void) {
  char* memory = Map(2 * kPage);
  mutex = (pthread_mutex_t*)memory;
  condition = (pthread_cond_t*)(memory + kPage);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attributes);
  pthread_cond_init(condition, NULL);
  EXPECT(pipe(fds) == 0);
  Robust();
  Cancel();
  TimeOut();
  // In shared memory, between processes; the child dies with the lock.
  pthread_mutex_t* shared = mmap(NULL, kPage, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(shared, &attributes);
  const pid_t pid = fork();
  if (pid == 0) {
    pthread_mutex_lock(shared);
    _exit(0);
  }
  waitpid(pid, NULL, 0);
  printf("shared: %d\n", pthread_mutex_lock(shared) == EOWNERDEAD);
  return 0;
}
