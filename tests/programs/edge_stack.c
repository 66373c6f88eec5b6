// SPDX-License-Identifier: Apache-2.0
// Deep recursion on the main stack and on a large thread stack.
#include "edge.h"

static uint64_t Deep(unsigned depth, uint64_t sum) {
  volatile uint64_t here[500];
  for (int i = 0; i < 500; ++i) here[i] = sum + depth + (uint64_t)i;
  if (depth == 0) PushOut();
  const uint64_t below = depth == 0 ? 0 : Deep(depth - 1, sum * 31 + depth);
  uint64_t check = 0;
  for (int i = 0; i < 500; ++i) {
    check += here[i] != sum + depth + (uint64_t)i;
  }
  return below + check * 1000000 + 1;
}

static void* Work(void* argument) {
  uint64_t* result = argument;
  *result = Deep(1000, 7);
  return NULL;
}

int main(void) {
  for (int i = 0; i < 3; ++i) printf("main: %lu\n", Deep(1000, 3));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  EXPECT(pthread_attr_setstacksize(&attributes, 48 * kMiB) == 0);
  for (int i = 0; i < 2; ++i) {
    uint64_t result = 0;
    pthread_t thread;
    EXPECT(pthread_create(&thread, &attributes, Work, &result) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    printf("thread: %lu\n", result);
  }
  return 0;
}
