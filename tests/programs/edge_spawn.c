// SPDX-License-Identifier: Apache-2.0
// vfork, posix_spawn, popen, system; arguments and environment that have been
// evicted when exec reads them.
#include <spawn.h>

#include "edge.h"

static int Wait(pid_t pid) {
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// What the large execs below start: this program itself.
static void PrintWords(int argc, char** argv) {
  uint64_t sum = 0;
  for (int i = 1; i < argc; ++i) {
    for (const char* c = argv[i]; *c != 0; ++c) {
      sum = sum * 31 + (unsigned char)*c;
    }
  }
  const char* big = getenv("BIG");
  printf("%d arguments, sum %lu, BIG %zu\n", argc, sum,
         big != NULL ? strlen(big) : 0);
}

int main(int argc, char** argv) {
  if (argc > 1) {
    PrintWords(argc, argv);
    return 0;
  }
  setvbuf(stdout, NULL, _IONBF, 0);
  char** words = Map(2001 * sizeof(char*));
  words[0] = "self";
  for (int i = 1; i < 2000; ++i) {
    words[i] = malloc(400);
    snprintf(words[i], 400, "argument %d %0*d", i, i % 300, i);
  }
  char* big = malloc(110000);
  memset(big, 'b', 109999);
  memcpy(big, "BIG=", 4);
  big[109999] = 0;
  putenv(big);
  PushOut();
  pid_t pid = fork();
  if (pid == 0) {
    execv("/proc/self/exe", words);
    _exit(9);
  }
  printf("exec: %d\n", Wait(pid));

  PushOut();
  pid = vfork();
  if (pid == 0) {
    execv("/proc/self/exe", words);
    _exit(9);
  }
  printf("vfork: %d\n", Wait(pid));
  pid = vfork();
  if (pid == 0) {
    execl("/no/such/program", "x", (char*)NULL);
    _exit(errno == ENOENT ? 33 : 34);
  }
  printf("vfork, no program: %d\n", Wait(pid));

  PushOut();
  char* const some[] = {"sh", "-c", "exit $1", "-", "44", NULL};
  EXPECT(posix_spawn(&pid, "/bin/sh", NULL, NULL, some, environ) == 0);
  printf("spawn: %d\n", Wait(pid));
  printf("spawn, no program: %d\n",
         posix_spawnp(&pid, "no-such-program", NULL, NULL, some, environ));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  char* const shout[] = {"sh", "-c", "echo out; echo err >&2; cat", NULL};
  EXPECT(posix_spawnp(&pid, "sh", &actions, NULL, shout, environ) == 0);
  printf("spawn with actions: %d\n", Wait(pid));

  for (int i = 0; i < 5; ++i) {
    PushOut();
    FILE* pipe = popen("seq 1 20000", "r");
    long sum = 0, number;
    while (fscanf(pipe, "%ld", &number) == 1) sum += number;
    printf("popen: %ld, %d\n", sum, pclose(pipe));
  }
  printf("system: %d\n", WEXITSTATUS(system("exit 7")));
  return 0;
}
