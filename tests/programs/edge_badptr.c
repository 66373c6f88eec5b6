// SPDX-License-Identifier: Apache-2.0
// Wrong pointers stay EFAULT, half right ones stay half right, and nothing is
// killed by them.
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#include "edge.h"

#define FAULTS(call)                                                \
  do {                                                              \
    errno = 0;                                                      \
    const long result = (long)(call);                               \
    printf("%s: %ld, EFAULT %d\n", #call, result, errno == EFAULT); \
  } while (0)

// The compiler knows that these functions want a valid pointer.
static void* volatile bad_pointers[4];

int main(void) {
  char* none = Map(3 * kPage);
  mprotect(none, kPage, PROT_NONE);
  mprotect(none + kPage, kPage, PROT_READ);
  char* gone = Map(kPage);
  munmap(gone, kPage);
  bad_pointers[0] = none;
  bad_pointers[1] = gone;
  bad_pointers[2] = (void*)-4096;
  bad_pointers[3] = (void*)0x8000000000000000;
  int fds[2];
  EXPECT(pipe(fds) == 0);
  for (int i = 0; i < 4; ++i) {
    PushOut();
    void* bad = bad_pointers[i];
    FAULTS(write(fds[1], bad, 10));
    EXPECT(write(fds[1], "0123456789", 10) == 10);
    FAULTS(read(fds[0], bad, 10));
    char rest[10];
    EXPECT(read(fds[0], rest, 10) == 10);
    struct iovec* vector = malloc(3 * sizeof(*vector));
    vector[0] = (struct iovec){"abc", 3};
    vector[1] = (struct iovec){bad, 5};
    vector[2] = (struct iovec){"def", 3};
    PushOut();
    FAULTS(writev(fds[1], vector, 3));
    FAULTS(writev(fds[1], bad, 2));
    FAULTS(open(bad, O_RDONLY));
    FAULTS(stat(bad, (struct stat*)rest));
    FAULTS(stat("/", bad));
    FAULTS(uname(bad));
    FAULTS(nanosleep(bad, NULL));
    FAULTS(poll(bad, 2, 0));
    FAULTS(pipe(bad));
    FAULTS(getsockname(0, bad, bad) == -1 ? -1 : 0);
    FAULTS(syscall(SYS_rt_sigaction, SIGUSR1, bad, NULL, 8));
    FAULTS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad, NULL, 8));
    FAULTS(syscall(SYS_clock_gettime, CLOCK_REALTIME, bad));
    FAULTS(getcwd(bad, 100) == NULL ? -1 : 0);
    FAULTS(mincore(none, kPage, bad));
    free(vector);
    // What is in the pipe now is what the writes above said.
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    char drained[100];
    printf("drained %zd\n", read(fds[0], drained, sizeof(drained)));
    fcntl(fds[0], F_SETFL, 0);
  }
  // Read-only memory can be written from, not read into; the first byte of a
  // transfer may be good and the rest not.
  FAULTS(write(fds[1], none + kPage, 8));
  FAULTS(read(fds[0], none + kPage, 8));
  char* last = Map(2 * kPage);
  munmap(last + kPage, kPage);
  Fill(last, kPage, 2);
  PushOut();
  FAULTS(write(fds[1], last + kPage - 100, 200) > 0 ? 1 : 0);
  return 0;
}
