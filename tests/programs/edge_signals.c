// SPDX-License-Identifier: Apache-2.0
// What a program can find out about its own signals: handlers, masks, pending
// ones, genuine SIGSEGV and SIGBUS; and signals in a hurry.
#include <setjmp.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>

#include "edge.h"

static sigjmp_buf back;
static void* volatile address;
static volatile char* volatile low = (volatile char*)8;
static volatile sig_atomic_t code, ticks;
static uint64_t* counters;

static void Fault(int number, siginfo_t* info, void* context) {
  (void)context;
  address = info->si_addr;
  code = info->si_code;
  siglongjmp(back, number);
}

static void Tick(int number) {
  (void)number;
  ++ticks;
  ++counters[(size_t)(ticks % 64) * 512];  // one word in each of 64 pages
}

static void Queries(void) {
  struct sigaction action = {.sa_sigaction = Fault, .sa_flags = SA_SIGINFO};
  struct sigaction old;
  const int all[] = {SIGBUS, SIGSYS, SIGSEGV, SIGTERM};
  for (int i = 0; i < 4; ++i) {
    EXPECT(sigaction(all[i], NULL, &old) == 0);
    EXPECT(old.sa_handler == SIG_DFL && old.sa_flags == 0);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGBUS);
    sigaddset(&action.sa_mask, SIGUSR1);
    EXPECT(sigaction(all[i], &action, NULL) == 0);
    EXPECT(sigaction(all[i], NULL, &old) == 0);
    EXPECT(old.sa_sigaction == Fault);
    EXPECT((old.sa_flags & ~0x04000000) == SA_SIGINFO);
    EXPECT(sigismember(&old.sa_mask, SIGUSR1) == 1);
    EXPECT(sigismember(&old.sa_mask, SIGBUS) == 1);
    EXPECT(sigismember(&old.sa_mask, SIGUSR2) == 0);
  }
  EXPECT(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
  EXPECT(sigaction(99, &action, NULL) == -1 && errno == EINVAL);
  puts("queries done");
}

static void Masks(void) {
  sigset_t all, now, before;
  sigfillset(&all);
  EXPECT(sigprocmask(SIG_SETMASK, &all, &before) == 0);
  PushOut();
  EXPECT(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
  const int some[] = {SIGBUS, SIGSYS, SIGTERM, SIGSEGV};
  for (int i = 0; i < 4; ++i) {
    printf("blocked %d: %d\n", some[i], sigismember(&now, some[i]));
  }
  printf("KILL blocked: %d\n", sigismember(&now, SIGKILL));
  raise(SIGUSR1);
  sigset_t* pending = Map(kPage);
  PushOut();
  EXPECT(sigpending(pending) == 0);
  printf("USR1 pending: %d\n", sigismember(pending, SIGUSR1));
  sigset_t* one = malloc(sizeof(*one));
  siginfo_t* info = malloc(sizeof(*info));
  sigemptyset(one);
  sigaddset(one, SIGUSR1);
  const struct timespec second = {1, 0};
  PushOut();
  printf("sigtimedwait: %d\n", sigtimedwait(one, info, &second));
  const int fd = signalfd(-1, one, 0);
  struct signalfd_siginfo* read_info = malloc(sizeof(*read_info));
  raise(SIGUSR1);
  PushOut();
  printf("signalfd: %d\n",
         read(fd, read_info, sizeof(*read_info)) == sizeof(*read_info) &&
             read_info->ssi_signo == SIGUSR1);
  close(fd);
  EXPECT(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
}

static void Genuine(void) {
  char* page = Map(kPage);
  mprotect(page, kPage, PROT_NONE);
  volatile char* at = page + 123;
  int number = sigsetjmp(back, 1);
  if (number == 0) *at = 1;
  printf("SEGV: %d, at the right place %d, code %d\n", number == SIGSEGV,
         address == at, code);
  char name[] = "/tmp/edge-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  EXPECT(ftruncate(fd, kPage) == 0);
  char* file = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  at = file + kPage + 5;
  number = sigsetjmp(back, 1);
  if (number == 0) code = *at;
  printf("BUS: %d, at the right place %d, code %d\n", number == SIGBUS,
         address == at, code);
  number = sigsetjmp(back, 1);
  if (number == 0) code = *low;
  printf("null: %d, %d\n", number == SIGSEGV, address == (void*)8);
  sigset_t now;
  sigprocmask(SIG_SETMASK, NULL, &now);
  EXPECT(sigismember(&now, SIGSEGV) == 0);
}

static void Storm(void) {
  counters = Map(64 * kPage);
  struct sigaction action = {.sa_handler = Tick, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval often = {{0, 500}, {0, 500}};
  setitimer(ITIMER_REAL, &often, NULL);
  char* memory = Map(8 * kMiB);
  size_t wrong = 0;
  for (unsigned i = 0; i < 6; ++i) {
    Fill(memory, 8 * kMiB, i);
    PushOut();
    wrong += Wrong(memory, 8 * kMiB, i);
  }
  const struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, NULL);
  uint64_t sum = 0;
  for (size_t i = 0; i < 64; ++i) sum += counters[i * 512];
  printf("storm: %zu wrong, some ticks %d, all counted %d\n", wrong, ticks > 5,
         sum == (uint64_t)ticks);
}

int main(void) {
  Queries();
  Masks();
  Genuine();
  Storm();
  return 0;
}
