// SPDX-License-Identifier: Apache-2.0
// For the edge_*.c programs: each does one thing that is hard for a pager in
// user space, and prints lines that must be the same with and without uzswap.
// A failed EXPECT prints a line that a native run does not have.
#ifndef UZSWAP_TESTS_PROGRAMS_EDGE_H_
#define UZSWAP_TESTS_PROGRAMS_EDGE_H_

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(condition)                                                \
  do {                                                                   \
    if (!(condition)) {                                                  \
      dprintf(1, "%s:%d: not true: %s (errno %d)\n", __FILE__, __LINE__, \
              #condition, errno);                                        \
    }                                                                    \
  } while (0)

enum { kPage = 4096, kMiB = 1 << 20 };

// The word that belongs at index i of a pattern.
static inline uint64_t PatternWord(uint64_t seed, size_t i) {
  uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u + i / 8 * 0xbf58476d1ce4e5b9u;
  return x ^ x >> 29;
}

static inline void Fill(void* to, size_t bytes, uint64_t seed) {
  uint64_t* words = to;
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = PatternWord(seed, i);
}

// How many words are not as Fill left them.
static inline size_t Wrong(const void* from, size_t bytes, uint64_t seed) {
  const uint64_t* words = from;
  size_t wrong = 0;
  for (size_t i = 0; i < bytes / 8; ++i) {
    wrong += words[i] != PatternWord(seed, i);
  }
  return wrong;
}

// The next word of noise: the patterns above compress, this stays as large as
// it is and so gets to the backing store. seed is not 0.
static inline uint64_t Noise(uint64_t* seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

static inline void FillNoise(uint64_t* words, size_t bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; ++i) words[i] = Noise(&seed);
}

static inline size_t WrongNoise(const uint64_t* words, size_t bytes,
                                uint64_t seed) {
  size_t wrong = 0;
  for (size_t i = 0; i < bytes / 8; ++i) wrong += words[i] != Noise(&seed);
  return wrong;
}

static inline void* Map(size_t bytes) {
  void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return at;
}

// Writes to more memory than the 16 MiB these programs are given, so that
// everything else has been evicted when it returns.
static inline void PushOut(void) {
  enum { kBytes = 24 * kMiB };
  static char* memory;
  static unsigned char round;
  if (memory == NULL) memory = Map(kBytes);
  ++round;
  for (size_t i = 0; i < kBytes; i += kPage) {
    memory[i] = (char)round;
    memory[i + 1] = (char)(i >> 12);
    memory[i + 2] = (char)(i >> 20);
  }
}

#endif  // UZSWAP_TESTS_PROGRAMS_EDGE_H_
