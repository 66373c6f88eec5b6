// SPDX-License-Identifier: Apache-2.0
// rss_sampler [--tree] OUT -- program args: runs the program and watches, from
// outside, the anonymous memory (RssAnon + RssShmem) of it and all its
// descendants, 200 times a second. Ends as the program ends; OUT then holds, in
// KiB,
//   process N   the highest of any single process
//   tree N      the highest sum; a page that a fork shares counts each time
//   samples N
// With --tree, less often, what counts for a limit of the whole tree, as well:
//   pss N       the highest sum of Pss_Anon + Pss_Shmem, a page counted once;
//               the least of three looks
//   look N      the highest of a single look
//   processes N most at a time
// Processes named "uzswap" do not count there: that is who keeps the limit.
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

static void RemoveDead(void) {
  int kept = 0;
  for (int i = 0; i < tree_size; ++i) {
    // A child of somebody who has died has another parent already.
    if (kill(tree[i], 0) == 0) tree[kept++] = tree[i];
  }
  tree_size = kept;
}

static int InTree(pid_t pid) {
  for (int i = 0; i < tree_size; ++i) {
    if (tree[i] == pid) return 1;
  }
  return 0;
}

// Adds processes whose parent is in the tree.
static void Scan(void) {
  RemoveDead();
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

// -1: it is not there, or does not count. While smaps_rollup walks the page
// tables pages come and go, some behind it, some before it, so it can count
// more than there ever was; the kernel's own count cannot.
static long ShareOf(pid_t pid) {
  char path[64], text[4096];
  const long before = MemoryOf(pid);
  snprintf(path, sizeof(path), "/proc/%d/comm", pid);
  if (ReadSmall(path, text, sizeof(text)) <= 0 || !strcmp(text, "uzswap\n")) {
    return -1;
  }
  snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
  if (ReadSmall(path, text, sizeof(text)) <= 0) return -1;
  const long share = Field(text, "\nPss_Anon:") + Field(text, "\nPss_Shmem:");
  const long after = MemoryOf(pid);
  const long most = before > after ? before : after;
  return share < most ? share : most;
}

static long highest, highest_sum, samples;
static long highest_share, highest_look, most_processes;

static long SumOfShares(void) {
  long sum = 0, processes = 0;
  for (int i = 0; i < tree_size; ++i) {
    const long kib = ShareOf(tree[i]);
    if (kib < 0) continue;
    sum += kib;
    ++processes;
  }
  if (processes > most_processes) most_processes = processes;
  return sum;
}

// Processes are looked at one after the other: what one gives up meanwhile, or
// shares with a child, may count twice. So what would be the highest is looked
// at three times.
static void SampleShares(void) {
  long sum = SumOfShares();
  if (sum > highest_look) highest_look = sum;
  for (int i = 0; i < 2 && sum > highest_share; ++i) {
    const long again = SumOfShares();
    if (again < sum) sum = again;
  }
  if (sum > highest_share) highest_share = sum;
}

static void Sample(int of_tree) {
  const int scan_every = of_tree ? 2 : kScanEvery;
  if (samples++ % scan_every == 0) Scan();
  long sum = 0;
  for (int i = 0; i < tree_size; ++i) {
    const long kib = MemoryOf(tree[i]);
    if (kib > highest) highest = kib;
    sum += kib;
  }
  if (sum > highest_sum) highest_sum = sum;
  if (of_tree && samples % 2 == 0) SampleShares();
}

static int Report(const char* path, int of_tree) {
  FILE* out = fopen(path, "we");
  if (out == NULL) {
    perror(path);
    return 125;
  }
  fprintf(out, "process %ld\ntree %ld\nsamples %ld\n", highest, highest_sum,
          samples);
  if (of_tree) {
    fprintf(out, "pss %ld\nlook %ld\nprocesses %ld\n", highest_share,
            highest_look, most_processes);
  }
  fclose(out);
  return 0;
}

int main(int argc, char** argv) {
  const int of_tree = argc > 1 && strcmp(argv[1], "--tree") == 0;
  argc -= of_tree;
  argv += of_tree;
  if (argc < 4 || strcmp(argv[2], "--") != 0) {
    fprintf(stderr, "usage: rss_sampler [--tree] OUT -- program [arguments]\n");
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
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    Sample(of_tree);
    const struct timespec pause = {0, 5000000};
    nanosleep(&pause, NULL);
  }
  if (Report(argv[1], of_tree) != 0) return 125;
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
  }
  return WEXITSTATUS(status);
}
