// SPDX-License-Identifier: Apache-2.0
// tree_hog MIB SECONDS KIND: fills MIB MiB with pages that compress ("text")
// or do not ("random"), touches them at random for SECONDS, checks each, and
// prints "right N" (touches) or "wrong PAGE". KIND "sleep": as text, but it
// sleeps for SECONDS before it checks every page once.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096 };

static uint64_t state;

static uint64_t Random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void Fill(unsigned char* page, uint64_t number, int random) {
  state = number * 0x9e3779b97f4a7c15u + 1;
  for (int i = 0; i < kPage; i += 8) {
    uint64_t word = Random();
    if (!random) word = word % 7 == 0 ? word : number;
    memcpy(page + i, &word, 8);
  }
}

static int Right(const unsigned char* page, uint64_t number, int random) {
  unsigned char wanted[kPage];
  const uint64_t saved = state;
  Fill(wanted, number, random);
  state = saved;
  return memcmp(page, wanted, kPage) == 0;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const uint64_t pages = strtoull(argv[1], NULL, 10) << 8;
  const double seconds = atof(argv[2]);
  const int random = strcmp(argv[3], "random") == 0;
  unsigned char* at = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return 3;
  for (uint64_t i = 0; i < pages; ++i) Fill(at + i * kPage, i, random);
  printf("filled\n");
  fflush(stdout);
  uint64_t touches = 0;
  if (strcmp(argv[3], "sleep") == 0) {
    usleep((useconds_t)(seconds * 1e6));
    for (; touches < pages; ++touches) {
      if (!Right(at + touches * kPage, touches, random)) goto wrong;
    }
  }
  state = (uint64_t)getpid() * 2654435761u + 1;
  for (const double end = Now() + seconds; Now() < end; ++touches) {
    const uint64_t i = Random() % pages;
    if (!Right(at + i * kPage, i, random)) goto wrong;
  }
  printf("right %llu\n", (unsigned long long)touches);
  return 0;
wrong:
  printf("wrong %llu\n", (unsigned long long)touches);
  return 1;
}
