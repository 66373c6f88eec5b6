// SPDX-License-Identifier: Apache-2.0
// mmap, munmap, mprotect, mremap, madvise and brk mean what they always meant,
// also where the pages are evicted.
#include <setjmp.h>

#include "edge.h"

enum { kBytes = 4 * kMiB };

static sigjmp_buf back;

static void Fault(int number) { siglongjmp(back, number); }

static int Writable(volatile char* at) {
  if (sigsetjmp(back, 1) != 0) return 0;
  *at = *at;
  return 1;
}

static int Readable(volatile char* at) {
  if (sigsetjmp(back, 1) != 0) return 0;
  (void)*at;
  return 1;
}

static size_t NotZero(const char* at, size_t bytes) {
  size_t count = 0;
  for (size_t i = 0; i < bytes; ++i) count += at[i] != 0;
  return count;
}

static void Remap(void) {
  char* a = Map(kBytes);
  Fill(a, kBytes, 1);
  PushOut();
  a = mremap(a, kBytes, 4 * kBytes, MREMAP_MAYMOVE);
  EXPECT(a != MAP_FAILED);
  printf("grown: %zu wrong, %zu not zero\n", Wrong(a, kBytes, 1),
         NotZero(a + kBytes, 3 * kBytes));
  Fill(a, 4 * kBytes, 2);
  PushOut();
  char* place = Map(8 * kBytes);
  Fill(place, 8 * kBytes, 9);
  char* b = mremap(a, 4 * kBytes, 4 * kBytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                   place + kBytes);
  EXPECT(b == place + kBytes);
  printf("moved: %zu wrong, before %zu\n", Wrong(b, 4 * kBytes, 2),
         Wrong(place, kBytes, 9));
  EXPECT(!Readable(a));
  b = mremap(b, 4 * kBytes, kBytes, 0);
  EXPECT(b == place + kBytes && !Readable(b + kBytes));
  printf("shrunk: %zu wrong\n", Wrong(b, kBytes, 2));
  char* c = mremap(b, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
  EXPECT(c != MAP_FAILED && c != b);
  PushOut();
  printf("left behind: %zu wrong, %zu not zero\n", Wrong(c, kBytes, 2),
         NotZero(b, kBytes));
  EXPECT(munmap(place, 8 * kBytes) == 0);
}

static void Advise(void) {
  char* a = Map(kBytes);
  Fill(a, kBytes, 3);
  PushOut();
  EXPECT(madvise(a + kMiB, kMiB, MADV_DONTNEED) == 0);
  printf("dropped: %zu not zero, %zu wrong around\n", NotZero(a + kMiB, kMiB),
         Wrong(a, kMiB, 3));
  uint64_t word;
  memcpy(&word, a + 2 * kMiB, sizeof(word));
  EXPECT(word == PatternWord(3, 2 * kMiB / 8));
  EXPECT(madvise(a, kMiB, MADV_FREE) == 0);
  Fill(a, kMiB, 4);
  PushOut();
  printf("written after MADV_FREE: %zu wrong\n", Wrong(a, kMiB, 4));
  const int harmless[] = {MADV_NORMAL,   MADV_RANDOM,   MADV_SEQUENTIAL,
                          MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
                          MADV_DONTDUMP, MADV_COLD,     MADV_PAGEOUT,
                          MADV_DODUMP,   MADV_DOFORK};
  for (int i = 0; i < 11; ++i) {
    const int result = madvise(a, kMiB, harmless[i]);
    // Some kernels are built without huge pages.
    EXPECT(result == 0 || harmless[i] == MADV_HUGEPAGE ||
           harmless[i] == MADV_NOHUGEPAGE);
  }
  printf("after advice: %zu wrong\n", Wrong(a, kMiB, 4));
  EXPECT(madvise(a + 1, kPage, MADV_DONTNEED) == -1 && errno == EINVAL);
  EXPECT(madvise(a, kMiB, 9999) == -1 && errno == EINVAL);
  munmap(a, kBytes);
  EXPECT(madvise(a, kMiB, MADV_DONTNEED) == -1 && errno == ENOMEM);
}

static void Protect(void) {
  char* a = Map(kBytes);
  Fill(a, kBytes, 5);
  PushOut();
  EXPECT(mprotect(a, kMiB, PROT_READ) == 0);
  EXPECT(mprotect(a + kMiB, kMiB, PROT_NONE) == 0);
  printf("read-only %d %d, none %d %d, rest %d\n", Readable(a), Writable(a),
         Readable(a + kMiB), Writable(a + kMiB), Writable(a + 2 * kMiB));
  PushOut();
  EXPECT(mprotect(a, 2 * kMiB, PROT_READ | PROT_WRITE) == 0);
  printf("back: %zu wrong\n", Wrong(a, kBytes, 5));
  // Reserved first, used later, in pieces, as garbage collectors do.
  char* r = mmap(NULL, 64 * kMiB, PROT_NONE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  size_t wrong = 0;
  for (uint64_t i = 0; i < 16; ++i) {
    char* piece = r + i * 4 * kMiB;
    EXPECT(!Readable(piece));
    EXPECT(mprotect(piece, kMiB, PROT_READ | PROT_WRITE) == 0);
    Fill(piece, kMiB, i);
  }
  for (uint64_t i = 0; i < 16; ++i) wrong += Wrong(r + i * 4 * kMiB, kMiB, i);
  printf("pieces: %zu wrong\n", wrong);
  EXPECT(munmap(r, 64 * kMiB) == 0);
  munmap(a, kBytes);
}

static void Holes(void) {
  char* a = Map(kBytes);
  Fill(a, kBytes, 6);
  PushOut();
  for (size_t i = 0; i < kBytes; i += 4 * kPage) {
    EXPECT(munmap(a + i, kPage) == 0);
  }
  EXPECT(!Readable(a) && Readable(a + kPage));
  char* again = mmap(a, kBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  EXPECT(again == a);
  printf("mapped over: %zu not zero\n", NotZero(a, kBytes));
  Fill(a, kBytes, 7);
  PushOut();
  // A file over the middle of it.
  char name[] = "/tmp/edge-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  char page[kPage];
  memset(page, 'f', sizeof(page));
  EXPECT(write(fd, page, kPage) == kPage);
  EXPECT(mmap(a + kMiB, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
              fd, 0) == a + kMiB);
  EXPECT(a[kMiB] == 'f' && a[kMiB + kPage - 1] == 'f');
  a[kMiB] = 'g';  // private: the file keeps its content
  PushOut();
  EXPECT(pread(fd, page, 1, 0) == 1 && page[0] == 'f');
  printf("around a file: %zu wrong\n", Wrong(a, kMiB, 7));
  EXPECT(mmap(a, kPage, PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
              0) == MAP_FAILED &&
         errno == EEXIST);
  EXPECT(munmap(a, kBytes) == 0);
  EXPECT(munmap(a + 1, kPage) == -1 && errno == EINVAL);
  EXPECT(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
             MAP_FAILED &&
         errno == EINVAL);
}

static void Break(void) {
  char* start = sbrk(0);
  EXPECT(sbrk(kBytes) == start);
  Fill(start, kBytes / 8 * 8, 8);
  PushOut();
  const size_t wrong = Wrong(start, kBytes, 8);
  EXPECT(sbrk(-kBytes) == start + kBytes);
  EXPECT(sbrk(kBytes) == start);
  printf("brk: %zu wrong, then %zu not zero\n", wrong,
         NotZero(start + kPage, kBytes - kPage));
  // Shared memory is left alone and stays shared.
  char* shared = mmap(NULL, kMiB, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  const pid_t pid = fork();
  if (pid == 0) {
    Fill(shared, kMiB, 10);
    _exit(0);
  }
  waitpid(pid, NULL, 0);
  PushOut();
  printf("shared: %zu wrong\n", Wrong(shared, kMiB, 10));
  char* locked = Map(64 * kPage);
  Fill(locked, 64 * kPage, 11);
  PushOut();
  EXPECT(mlock(locked, 16 * kPage) == 0);
  PushOut();
  EXPECT(munlock(locked, 16 * kPage) == 0);
  PushOut();
  printf("locked: %zu wrong\n", Wrong(locked, 64 * kPage, 11));
}

int main(void) {
  struct sigaction action = {.sa_handler = Fault};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  Remap();
  Advise();
  Protect();
  Holes();
  Break();
  return 0;
}
