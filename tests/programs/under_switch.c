// SPDX-License-Identifier: Apache-2.0
// Work for tests/run-set-attacks.sh, which switches compressors meanwhile:
//     under_switch KIND SECONDS
// Each kind checks a pattern in more memory than it is given, and does one
// thing that a thread of uzswap's in its process could spoil. Prints "KIND ok".
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "edge.h"

extern char** environ;

enum { kBytes = 40 * kMiB };

static const char* self = "/proc/self/exe";
static char* memory;
static double end;

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Pages that compress two to three times.
static uint64_t Expected(size_t page, size_t i) {
  return i % 8 < 3 ? PatternWord(page, i * 8) : page;
}
static void FillMemory(size_t bytes) {
  for (size_t at = 0; at < bytes; at += kPage) {
    uint64_t* words = (uint64_t*)(memory + at);
    for (size_t i = 0; i < kPage / 8; ++i) words[i] = Expected(at / kPage, i);
  }
}
// Every so many pages, from a random one on.
static size_t WrongPages(size_t bytes, size_t step) {
  static unsigned seed = 1;
  size_t wrong = 0;
  size_t at = (size_t)rand_r(&seed) % step * kPage;
  for (; at < bytes; at += step * kPage) {
    const uint64_t* words = (const uint64_t*)(memory + at);
    for (size_t i = 0; i < kPage / 8; i += 5) {
      if (words[i] != Expected(at / kPage, i)) {
        ++wrong;
        break;
      }
    }
  }
  return wrong;
}

static int Wait(pid_t pid) {
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void Exec(const char* kind) {
  // Becomes itself until the time is over.
  char left[32];
  snprintf(left, sizeof(left), "%f", end - Now());
  const char* words[] = {"under_switch", kind, left, NULL};
  execv(self, (char**)words);
  EXPECT(!"exec");
}

static void Fork(void) {
  const pid_t pid = fork();
  if (pid == 0) _exit(WrongPages(kBytes, 37) == 0 ? 7 : 8);
  EXPECT(Wait(pid) == 7);
}

static void Vfork(void) {
  // The child faults on our memory before it goes.
  volatile uint64_t sum = 0;
  const char* words[] = {"under_switch", "nothing", "0", NULL};
  const pid_t pid = vfork();
  if (pid == 0) {
    for (size_t at = 0; at < kBytes; at += 61 * kPage) {
      sum += *(uint64_t*)(memory + at);
    }
    execv(self, (char**)words);
    _exit(9);
  }
  EXPECT(Wait(pid) == 0);
}

static void Spawn(void) {
  const char* words[] = {"under_switch", "nothing", "0", NULL};
  pid_t pid = -1;
  EXPECT(posix_spawn(&pid, self, NULL, NULL, (char**)words, environ) == 0);
  EXPECT(Wait(pid) == 0);
}

static void Kill(void) {
  const pid_t pid = fork();
  if (pid == 0) {
    for (;;) (void)WrongPages(kBytes, 11);
  }
  const struct timespec nap = {0, 20000000 + rand() % 60000000};
  nanosleep(&nap, NULL);
  kill(pid, SIGKILL);
  EXPECT(Wait(pid) == 1000 + SIGKILL);
}

static void* Setuids(void* unused) {
  (void)unused;
  while (Now() < end) {
    EXPECT(setuid(getuid()) == 0);
    EXPECT(setgid(getgid()) == 0);
    usleep(1000);
  }
  return NULL;
}

static void* ExitSoon(void* unused) {
  (void)unused;
  EXPECT(WrongPages(kBytes, 97) == 0);
  return NULL;
}
static void Threads(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, ExitSoon, NULL);
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
}

// What works in a process of one thread only.
static void Alone(void) { EXPECT(unshare(CLONE_THREAD) == 0); }

// No more threads or processes: clone fails, by a filter or a limit.
static void DenyClone(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
  EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}
static void LimitProcesses(void) {
  const struct rlimit one = {1, 1};
  EXPECT(setrlimit(RLIMIT_NPROC, &one) == 0);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const char* kind = argv[1];
  if (strcmp(kind, "nothing") == 0) return 0;
  end = Now() + atof(argv[2]);
  memory = Map(kBytes);
  FillMemory(kBytes);
  pthread_t setter = 0;
  if (strcmp(kind, "setuid") == 0) pthread_create(&setter, NULL, Setuids, NULL);
  if (strcmp(kind, "seccomp") == 0) DenyClone();
  if (strcmp(kind, "nproc") == 0) LimitProcesses();
  int rounds = 0;
  for (; Now() < end; ++rounds) {
    EXPECT(WrongPages(kBytes, 7) == 0);
    if (strcmp(kind, "exec") == 0 && rounds > 3) Exec(kind);
    if (strcmp(kind, "fork") == 0) Fork();
    if (strcmp(kind, "vfork") == 0) Vfork();
    if (strcmp(kind, "spawn") == 0) Spawn();
    if (strcmp(kind, "kill") == 0) Kill();
    if (strcmp(kind, "threads") == 0) Threads();
    if (strcmp(kind, "alone") == 0) Alone();
  }
  if (setter != 0) pthread_join(setter, NULL);
  EXPECT(WrongPages(kBytes, 1) == 0);
  dprintf(1, "%s ok\n", kind);
  return 0;
}
