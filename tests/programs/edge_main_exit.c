// SPDX-License-Identifier: Apache-2.0
// After the main thread has left, the others work on: signals, memory, exec.
#include "edge.h"

static void OnSignal(int signal) { (void)signal; }

static void* Rest(void* unused) {
  (void)unused;
  usleep(100000);
  const struct sigaction action = {.sa_handler = OnSignal};
  printf("sigaction: %d\n", sigaction(SIGUSR1, &action, NULL));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  printf("mask: %d\n", pthread_sigmask(SIG_BLOCK, &mask, NULL));
  char* memory = malloc(24 * kMiB);
  Fill(memory, 24 * kMiB, 3);
  printf("memory: %zu wrong\n", Wrong(memory, 24 * kMiB, 3));
  fflush(stdout);
  char* arguments[] = {"echo", "exec works", NULL};
  char* environment[] = {NULL};
  execve("/bin/echo", arguments, environment);
  printf("exec: error %d\n", errno);
  _exit(1);
}

int main(void) {
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, Rest, NULL) == 0);
  pthread_exit(NULL);
}
