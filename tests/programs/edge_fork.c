// SPDX-License-Identifier: Apache-2.0
// fork: both sides keep their memory, evicted or not, and never see the
// other's writes; also children of children, and fork beside running threads.
#include "edge.h"

enum { kBytes = 24 * kMiB, kHalf = kBytes / 2 };

static volatile int stop;

static void* Disturb(void* argument) {
  char* memory = Map(2 * kMiB);
  for (unsigned seed = 0; !stop; ++seed) {
    Fill(memory, 2 * kMiB, seed);
    if (Wrong(memory, 2 * kMiB, seed) != 0) *(int*)argument = 1;
  }
  return NULL;
}

static int Wait(pid_t pid) {
  int status = -1;
  EXPECT(waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void Child(char* memory, uint64_t number) {
  if (Wrong(memory, kBytes, 1) != 0) _exit(1);
  Fill(memory + (number % 2) * kHalf, kHalf, number);
  const pid_t grandchild = fork();
  if (grandchild == 0) {
    const size_t wrong = Wrong(memory + (number % 2) * kHalf, kHalf, number);
    Fill(memory, kBytes, 99);
    _exit(wrong == 0 && Wrong(memory, kBytes, 99) == 0 ? 20 : 2);
  }
  if (Wait(grandchild) != 20) _exit(3);
  _exit(Wrong(memory + (number % 2) * kHalf, kHalf, number) == 0 ? 10 : 4);
}

int main(void) {
  char* memory = Map(kBytes);
  Fill(memory, kBytes, 1);
  pid_t children[3];
  for (uint64_t i = 0; i < 3; ++i) {
    children[i] = fork();
    if (children[i] == 0) Child(memory, 10 + i);
  }
  for (int i = 0; i < 3; ++i) printf("child %d: %d\n", i, Wait(children[i]));
  printf("parent: %zu wrong\n", Wrong(memory, kBytes, 1));

  int disturbed = 0;
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) {
    EXPECT(pthread_create(&threads[i], NULL, Disturb, &disturbed) == 0);
  }
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      char* block = malloc(100000);
      memset(block, i, 100000);
      const size_t where = (size_t)i * kMiB;
      uint64_t word;
      memcpy(&word, memory + where, sizeof(word));
      _exit(word == PatternWord(1, where / 8) && block[99999] == i ? 30 : 5);
    }
    good += Wait(pid) == 30;
  }
  stop = 1;
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  printf("beside threads: %d good, disturbed %d\n", good, disturbed);
  return 0;
}
