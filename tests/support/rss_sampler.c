// SPDX-License-Identifier: Apache-2.0
// rss_sampler OUT -- program args: runs the program and watches, from outside,
// the anonymous memory (RssAnon + RssShmem) of it and all its descendants, 200
// times a second. Ends as the program ends; OUT then holds, in KiB,
//   process N   the highest of any single process
//   tree N      the highest sum
//   samples N
// The limit of uzswap is per process; the sum is for comparison.
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kMaxProcesses = 4096, kScanEvery = 8 };

static pid_t tree[kMaxProcesses];
static int tree_size;

static long ReadSmall(const char* path, char* text, size_t capacity) {
  FILE* file = fopen(path, "re");
  if (file == NULL) return -1;
  size_t n = fread(text, 1, capacity - 1, file);
  fclose(file);
  text[n] = '\0';
  return (long)n;
}

static pid_t ParentOf(pid_t pid) {
  char path[64], text[512];
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  if (ReadSmall(path, text, sizeof(text)) <= 0) return -1;
  // The name may contain anything; the state follows the last parenthesis.
  const char* end = strrchr(text, ')');
  int parent = -1;
  if (end == NULL || sscanf(end + 1, " %*c %d", &parent) != 1) return -1;
  return parent;
}

static int InTree(pid_t pid) {
  for (int i = 0; i < tree_size; ++i) {
    if (tree[i] == pid) return 1;
  }
  return 0;
}

// Adds processes whose parent is in the tree. Pids of the tree that have died
// stay in it: their children may live.
static void Scan(void) {
  DIR* proc = opendir("/proc");
  if (proc == NULL) return;
  struct dirent* entry;
  while ((entry = readdir(proc)) != NULL && tree_size < kMaxProcesses) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    const pid_t pid = atoi(entry->d_name);
    if (!InTree(pid) && InTree(ParentOf(pid))) {
      tree[tree_size++] = pid;
    }
  }
  closedir(proc);
}

static long Field(const char* text, const char* name) {
  const char* at = strstr(text, name);
  return at == NULL ? 0 : atol(at + strlen(name));
}

static long MemoryOf(pid_t pid) {
  char path[64], text[4096];
  snprintf(path, sizeof(path), "/proc/%d/status", pid);
  if (ReadSmall(path, text, sizeof(text)) <= 0) return 0;
  return Field(text, "\nRssAnon:") + Field(text, "\nRssShmem:");
}

int main(int argc, char** argv) {
  if (argc < 4 || strcmp(argv[2], "--") != 0) {
    fprintf(stderr, "usage: rss_sampler OUT -- program [arguments]\n");
    return 125;
  }
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[3], argv + 3);
    fprintf(stderr, "rss_sampler: %s: %s\n", argv[3], strerror(errno));
    _exit(127);
  }
  // What a terminal or a script sends to the group is for the program.
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  tree[tree_size++] = child;
  long highest = 0, highest_sum = 0, samples = 0;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (samples++ % kScanEvery == 0) Scan();
    long sum = 0;
    for (int i = 0; i < tree_size; ++i) {
      const long kib = MemoryOf(tree[i]);
      if (kib > highest) highest = kib;
      sum += kib;
    }
    if (sum > highest_sum) highest_sum = sum;
    const struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
  }
  FILE* out = fopen(argv[1], "we");
  if (out == NULL) {
    perror(argv[1]);
    return 125;
  }
  fprintf(out, "process %ld\ntree %ld\nsamples %ld\n", highest, highest_sum,
          samples);
  fclose(out);
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
  }
  return WEXITSTATUS(status);
}
