// SPDX-License-Identifier: Apache-2.0
// Stacks of the program's that are small, managed, or left by longjmp again
// and again: system calls on them must not need more than there is.
#include <setjmp.h>
#include <sys/syscall.h>

#include "edge.h"

enum { kJumps = 200, kTries = 220, kSmall = 8192 };

static char area[1 << 17] __attribute__((aligned(4096)));
static char* memory;
static int zero;
static sigjmp_buf back;
static volatile int round_number, ready, done;

static void OnSmallStack(int signal) {
  (void)signal;
  for (size_t i = 0; i < 16 * kMiB; i += 64 * 1024) {
    syscall(SYS_pread64, zero, memory + i, 4096, 0);
  }
}

static void OnJump(int signal) {
  (void)signal;
  if (round_number < kJumps) siglongjmp(back, 1);
  volatile char deep[200000];
  memset((char*)deep, 1, sizeof deep);
  getppid();
}

static void* Jumper(void* unused) {
  (void)unused;
  for (round_number = 0; round_number < kTries; ++round_number) {
    if (sigsetjmp(back, 1) == 0) {
      ready = 1;
      pause();
    }
  }
  done = 1;
  return NULL;
}

int main(void) {
  zero = open("/dev/zero", O_RDONLY);
  memory = mmap(NULL, 24 * kMiB, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Fill(memory, 24 * kMiB, 1);
  const stack_t small = {.ss_sp = area + 65536, .ss_size = kSmall};
  EXPECT(sigaltstack(&small, NULL) == 0);
  struct sigaction action = {.sa_handler = OnSmallStack,
                             .sa_flags = SA_ONSTACK};
  EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
  memset(area, 0x5a, 65536);
  raise(SIGUSR1);
  int touched = 0;
  for (int i = 0; i < 65536; ++i) touched += area[i] != 0x5a;
  printf("bytes written below an alternate stack: %d\n", touched);

  action = (struct sigaction){.sa_handler = OnJump};
  EXPECT(sigaction(SIGUSR2, &action, NULL) == 0);
  void* stack = mmap(NULL, kMiB, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  EXPECT(pthread_attr_setstack(&attributes, stack, kMiB) == 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, &attributes, Jumper, NULL) == 0);
  while (!done) {
    if (ready) {
      ready = 0;
      usleep(300);
      pthread_kill(thread, SIGUSR2);
    }
    usleep(20);
  }
  EXPECT(pthread_join(thread, NULL) == 0);
  puts("jumped");
  return 0;
}
