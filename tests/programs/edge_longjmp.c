// SPDX-License-Identifier: Apache-2.0
// Leaving system calls, handlers and deep calls by longjmp.
#include <setjmp.h>
#include <sys/time.h>

#include "edge.h"

static sigjmp_buf back;

static void Alarm(int number) { siglongjmp(back, number); }

static int Deep(int depth, char* memory) {
  char here[2048];
  memset(here, depth, sizeof(here));
  if (depth == 0) {
    PushOut();
    memory[0] = 1;
    siglongjmp(back, 77);
  }
  return Deep(depth - 1, memory) + here[depth % 2048];
}

int main(void) {
  struct sigaction action = {.sa_handler = Alarm};
  sigaction(SIGALRM, &action, NULL);
  int fds[2];
  EXPECT(pipe(fds) == 0);
  char* memory = Map(8 * kMiB);
  Fill(memory, 8 * kMiB, 3);
  volatile int jumps = 0;
  for (volatile int i = 0; i < 20; ++i) {
    if (sigsetjmp(back, 1) == 0) {
      const struct itimerval soon = {{0, 0}, {0, 3000}};
      setitimer(ITIMER_REAL, &soon, NULL);
      // Blocks with its buffer held for the kernel until the alarm.
      const ssize_t n = read(fds[0], memory + i * 100000, 65536);
      printf("read returned %zd\n", n);
    } else {
      ++jumps;
    }
  }
  PushOut();
  printf("%d jumps, %zu wrong\n", jumps, Wrong(memory, 8 * kMiB, 3));
  for (volatile int i = 0; i < 10; ++i) {
    const int number = sigsetjmp(back, 1);
    if (number == 0) Deep(200, memory);
    EXPECT(number == 77);
  }
  // The memory that was held can still be evicted, unmapped and used.
  EXPECT(write(fds[1], "x", 1) == 1);
  EXPECT(read(fds[0], memory, 1) == 1 && memory[0] == 'x');
  EXPECT(munmap(memory, 8 * kMiB) == 0);
  puts("done");
  return 0;
}
