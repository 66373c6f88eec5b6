// SPDX-License-Identifier: Apache-2.0
// Signal handlers on an alternate stack that is evicted, on the normal stack,
// nested, and with the addresses and flags that the program asked for.
#include "edge.h"

enum { kStack = 64 * 1024 };

static char* stack;
static volatile sig_atomic_t on_stack[3], count, depth;

static void Handler(int number, siginfo_t* info, void* context) {
  char here[2000];
  memset(here, number, sizeof(here));
  const int inside = (char*)here >= stack && (char*)here < stack + kStack;
  stack_t now;
  EXPECT(sigaltstack(NULL, &now) == 0);
  EXPECT(((now.ss_flags & SS_ONSTACK) != 0) == inside);
  EXPECT(info->si_signo == number && context != NULL);
  on_stack[number == SIGUSR1 ? 0 : number == SIGUSR2 ? 1 : 2] = inside;
  ++count;
  if (number == SIGUSR1 && depth++ < 3) {
    PushOut();
    raise(SIGUSR2);  // nested, on whatever it is registered for
    // One cannot be changed while it is in use.
    EXPECT(sigaltstack(&now, NULL) == -1 && errno == EPERM);
  }
  for (size_t i = 0; i < sizeof(here); ++i) EXPECT(here[i] == number);
}

int main(void) {
  stack = malloc(kStack);
  const stack_t ours = {.ss_sp = stack, .ss_size = kStack};
  stack_t old;
  EXPECT(sigaltstack(&ours, &old) == 0);
  printf("before: %s\n", old.ss_flags & SS_DISABLE ? "none" : "one");
  EXPECT(sigaltstack(NULL, &old) == 0);
  EXPECT(old.ss_sp == stack && old.ss_size == kStack && old.ss_flags == 0);
  struct sigaction action = {.sa_sigaction = Handler,
                             .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigaction(SIGUSR1, &action, NULL);
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR2, &action, NULL);
  for (int i = 0; i < 5; ++i) {
    PushOut();
    raise(SIGUSR1);
    printf("USR1 %d, nested USR2 %d\n", on_stack[0], on_stack[1]);
    PushOut();
    raise(SIGUSR2);
    printf("USR2 alone %d\n", on_stack[1]);
  }
  printf("%d handled\n", count);
  const stack_t tiny = {.ss_sp = stack, .ss_size = 100};
  EXPECT(sigaltstack(&tiny, NULL) == -1 && errno == ENOMEM);
  const stack_t off = {.ss_flags = SS_DISABLE};
  EXPECT(sigaltstack(&off, NULL) == 0);
  free(stack);
  raise(SIGUSR1);
  printf("without one: %d\n", on_stack[0]);
  return 0;
}
