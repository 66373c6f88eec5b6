// SPDX-License-Identifier: Apache-2.0
// What a fork changes in the descriptors that are uzswap's is known at once:
// the parent's new file of the backing store survives "everything from 3 up is
// closed", by the parent and by a vfork child, and the number of a file that is
// not needed any more is the program's again.
#include "edge.h"

enum { kBytes = 28 * kMiB };

static uint64_t* MapNoise(uint64_t seed) {
  uint64_t* memory = Map(kBytes);
  FillNoise(memory, kBytes, seed);
  return memory;
}

static void Fork(void) {
  const pid_t pid = fork();
  if (pid == 0) _exit(50);
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 50);
}

static void CloseAll(void) {
  for (int fd = 3; fd < 1024; ++fd) close(fd);
}

// As many as there are numbers that an old file can have had.
static int UnusableFrom(int lowest) {
  enum { kCount = 64 };
  int fds[kCount];
  int unusable = 0;
  for (int i = 0; i < kCount; ++i) {
    fds[i] = fcntl(0, F_DUPFD, lowest);
    EXPECT(fds[i] >= lowest);
    unusable += fcntl(fds[i], F_GETFD) == -1;
  }
  for (int i = 0; i < kCount; ++i) unusable += close(fds[i]) != 0;
  return unusable;
}

int main(void) {
  uint64_t* first = MapNoise(1);
  Fork();
  uint64_t* second = MapNoise(2);
  // A child that shares the memory has descriptors of its own.
  volatile size_t in_child = 1;
  const pid_t pid = vfork();
  if (pid == 0) {
    CloseAll();
    in_child = WrongNoise(second, kBytes, 2);
    _exit(50);
  }
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 50);
  printf("vfork child: %zu wrong\n", in_child);
  CloseAll();
  printf("first: %zu wrong\n", WrongNoise(first, kBytes, 1));
  printf("second: %zu wrong\n", WrongNoise(second, kBytes, 2));
  Fork();
  CloseAll();
  // The files that held these are closed.
  EXPECT(munmap(first, kBytes) == 0);
  EXPECT(munmap(second, kBytes) == 0);
  uint64_t* third = MapNoise(3);
  printf("unusable: %d\n", UnusableFrom(900));
  printf("third: %zu wrong\n", WrongNoise(third, kBytes, 3));
  return 0;
}
