// SPDX-License-Identifier: Apache-2.0
// O_DIRECT: the disk itself writes to memory; a page that went away under it
// would be silent corruption. In the directory TMPDIR.
#include "edge.h"

enum { kBytes = 4 * kMiB };

static volatile int stop;

static void* Press(void* argument) {
  (void)argument;
  while (!stop) PushOut();
  return NULL;
}

int main(void) {
  char name[1000];
  const char* folder = getenv("TMPDIR");
  snprintf(name, sizeof(name), "%s/edge-XXXXXX",
           folder != NULL ? folder : "/var/tmp");
  const int plain = mkstemp(name);
  EXPECT(plain >= 0);
  const int fd = open(name, O_RDWR | O_DIRECT);
  unlink(name);
  if (fd < 0) {
    puts("no O_DIRECT here");
    return 0;
  }
  void* out = NULL;
  void* in = NULL;
  EXPECT(posix_memalign(&out, kPage, kBytes) == 0);
  EXPECT(posix_memalign(&in, kPage, kBytes) == 0);
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, Press, NULL) == 0);
  int good = 0;
  for (uint64_t i = 0; i < 8; ++i) {
    Fill(out, kBytes, i);
    EXPECT(pwrite(fd, out, kBytes, 0) == kBytes);
    memset(in, 0xee, kBytes);
    EXPECT(pread(fd, in, kBytes, 0) == kBytes);
    good += Wrong(in, kBytes, i) == 0 && Wrong(out, kBytes, i) == 0;
  }
  stop = 1;
  pthread_join(thread, NULL);
  printf("%d good\n", good);
  return 0;
}
