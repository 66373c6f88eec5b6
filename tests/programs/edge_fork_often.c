// SPDX-License-Identifier: Apache-2.0
// A process that forks again and again with new data that cannot be compressed:
// each fork leaves it one more file of the backing store to read from. Every
// child starts, and nothing is lost.
#include "edge.h"

enum { kTurns = 56, kBytes = kMiB };

static uint64_t SeedOf(int turn) {
  return 0x9e3779b97f4a7c15u * ((uint64_t)turn + 1);
}

int main(void) {
  uint64_t* memory[kTurns];
  for (int turn = 0; turn < kTurns; ++turn) {
    memory[turn] = Map(kBytes);
    FillNoise(memory[turn], kBytes, SeedOf(turn));
    const pid_t pid = fork();
    if (pid == 0) {
      const int old = turn / 2;
      _exit(WrongNoise(memory[old], kBytes, SeedOf(old)) == 0 ? 50 : 51);
    }
    int status = -1;
    EXPECT(waitpid(pid, &status, 0) == pid);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 50);
  }
  size_t wrong = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    wrong += WrongNoise(memory[turn], kBytes, SeedOf(turn));
  }
  printf("wrong after %d forks: %zu\n", kTurns, wrong);
  return 0;
}
