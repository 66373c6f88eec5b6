// SPDX-License-Identifier: Apache-2.0
// unmanaged_stack MIB: uses so much of a thread's stack, and then other memory,
// and prints a checksum. Stacks are not managed by uzswap.
#include "edge.h"

static uint64_t Deep(unsigned depth) {
  volatile char here[kPage];
  here[0] = (char)depth;
  if (depth == 0) {
    char* memory = Map(8 * kMiB);
    size_t wrong = 0;
    for (uint64_t seed = 0; seed < 2; ++seed) {
      Fill(memory, 8 * kMiB, seed);
      wrong += Wrong(memory, 8 * kMiB, seed);
    }
    return wrong;
  }
  return Deep(depth - 1) + (here[0] != (char)depth);
}

static unsigned depth_wanted;

static void* Work(void* argument) {
  *(uint64_t*)argument = Deep(depth_wanted);
  return NULL;
}

int main(int argc, char** argv) {
  const size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
  depth_wanted = (unsigned)(mib * 256);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  EXPECT(pthread_attr_setstacksize(&attributes, (2 * mib + 1) * kMiB) == 0);
  uint64_t wrong = 0;
  pthread_t thread;
  EXPECT(pthread_create(&thread, &attributes, Work, &wrong) == 0);
  EXPECT(pthread_join(thread, NULL) == 0);
  printf("%lu wrong\n", wrong);
  return 0;
}
