// SPDX-License-Identifier: Apache-2.0
// What a vfork or posix_spawn child does to its signal handlers stays its own,
// and signals that arrive around vfork find a stack.
#include <sys/time.h>

#include "edge.h"

static volatile int seen;
static void OnSignal(int signal) {
  (void)signal;
  ++seen;
}

static void* Forever(void* unused) {
  (void)unused;
  for (;;) pause();
  return NULL;
}

int main(void) {
  struct sigaction action = {.sa_handler = OnSignal, .sa_flags = SA_RESTART};
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, Forever, NULL) == 0);
  EXPECT(system("true") == 0);
  struct sigaction now;
  EXPECT(sigaction(SIGUSR1, NULL, &now) == 0);
  printf("handler kept: %d\n", now.sa_handler == OnSignal);
  raise(SIGUSR1);
  printf("signals: %d\n", seen);
  // glibc's own signal for this went through the child's hands, too.
  EXPECT(pthread_cancel(thread) == 0);
  void* result;
  EXPECT(pthread_join(thread, &result) == 0);
  printf("cancelled: %d\n", result == PTHREAD_CANCELED);

  EXPECT(sigaction(SIGALRM, &action, NULL) == 0);
  const struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
  EXPECT(setitimer(ITIMER_REAL, &often, NULL) == 0);
  int good = 0;
  for (int i = 0; i < 3000; ++i) {
    const pid_t pid = vfork();
    if (pid == 0) _exit(7);
    int status;
    while (waitpid(pid, &status, 0) < 0) {
    }
    good += WIFEXITED(status) && WEXITSTATUS(status) == 7;
  }
  EXPECT(setitimer(ITIMER_REAL, &never, NULL) == 0);
  printf("vforks: %d\n", good);
  return 0;
}
