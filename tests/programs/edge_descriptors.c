// SPDX-License-Identifier: Apache-2.0
// A program that closes, counts and overwrites every descriptor does not meet
// uzswap's own, and its memory survives.
#include <dirent.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "edge.h"

enum { kBytes = 8 * kMiB };

static int CountOpen(void) {
  int count = 0;
  for (int fd = 3; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) != -1;
  return count;
}

static int CountListed(void) {
  DIR* folder = opendir("/proc/self/fd");
  int count = 0;
  for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
    count += atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(folder);
  }
  closedir(folder);
  return count;
}

static void Check(const char* what, char* memory, uint64_t seed) {
  PushOut();
  printf("%s: %zu wrong\n", what, Wrong(memory, kBytes, seed));
  Fill(memory, kBytes, seed + 1);
}

int main(void) {
  char* memory = Map(kBytes);
  Fill(memory, kBytes, 0);
  PushOut();
  syscall(SYS_close_range, 3, 20, 0);  // what the caller may have left open
  printf("open: %d\n", CountOpen());
  const int lowest = open("/dev/null", O_RDONLY);
  printf("next: %d\n", lowest);
  close(lowest);
  int bad = 0;
  for (int fd = 3; fd < 1024; ++fd) bad += close(fd) == -1 && errno == EBADF;
  printf("closed none of %d\n", bad);
  Check("close", memory, 0);
  printf("close_range: %ld\n", syscall(SYS_close_range, 3, ~0u, 0));
  Check("close_range", memory, 1);
  closefrom(3);
  Check("closefrom", memory, 2);
  const int null = open("/dev/null", O_WRONLY);
  int same = 0;
  // From 900 up some numbers are uzswap's, and dup2 to those is EBADF.
  for (int fd = 3; fd < 900; ++fd) same += fd == null || dup2(null, fd) == fd;
  printf("dup2 to %d\n", same);
  Check("dup2", memory, 3);
  printf("open: %d\n", CountOpen());
  int good = 0;
  for (int fd = 3; fd < 1024; ++fd) good += write(fd, "x", 1) == 1;
  printf("written to %d\n", good);
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  Check("close again", memory, 4);
  const int high = fcntl(0, F_DUPFD, 900);
  printf("F_DUPFD works: %d\n", high >= 900);
  close(high);
  struct rlimit limit = {100, 100};
  EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  Check("RLIMIT_NOFILE", memory, 5);
  const pid_t pid = fork();
  if (pid == 0) {
    PushOut();
    _exit(Wrong(memory, kBytes, 6) == 0 ? 50 : 51);
  }
  int status;
  EXPECT(waitpid(pid, &status, 0) == pid);
  printf("child: %d\n", WEXITSTATUS(status));
  EXPECT(CountListed() >= 0);
  return 0;
}
