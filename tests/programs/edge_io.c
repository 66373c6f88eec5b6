// SPDX-License-Identifier: Apache-2.0
// Data goes in and out of evicted memory whole: pipes, sockets, vectors,
// datagrams, descriptors in messages, directories, polls.
#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "edge.h"

enum { kBytes = 12 * kMiB };

static int pair[2];

static void* Send(void* argument) {
  char* from = argument;
  size_t done = 0;
  while (done < kBytes) {
    const ssize_t n = write(pair[0], from + done, kBytes - done);
    if (n <= 0) break;
    done += (size_t)n;
  }
  return (void*)done;
}

static void Stream(int kind) {
  if (kind == 0) {
    int fds[2];
    EXPECT(pipe(fds) == 0);
    pair[0] = fds[1];
    pair[1] = fds[0];
  } else {
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  }
  char* from = Map(kBytes);
  char* to = Map(kBytes);
  Fill(from, kBytes, (uint64_t)kind);
  memset(to, 1, kBytes);
  PushOut();
  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, Send, from) == 0);
  size_t done = 0;
  while (done < kBytes) {
    struct iovec* vector = malloc(2 * sizeof(*vector));
    vector[0] = (struct iovec){to + done, (kBytes - done) / 2};
    vector[1] = (struct iovec){to + done + (kBytes - done) / 2,
                               kBytes - done - (kBytes - done) / 2};
    const ssize_t n = readv(pair[1], vector, 2);
    free(vector);
    if (n <= 0) break;
    done += (size_t)n;
  }
  void* sent;
  pthread_join(thread, &sent);
  printf("stream %d: %zu sent, %zu got, %zu wrong\n", kind, (size_t)sent, done,
         Wrong(to, kBytes, (uint64_t)kind));
  close(pair[0]);
  close(pair[1]);
  munmap(from, kBytes);
  munmap(to, kBytes);
}

static void Datagrams(void) {
  EXPECT(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
  char* out = Map(64 * kPage);
  char* in = Map(64 * kPage);
  int good = 0;
  for (uint64_t i = 0; i < 30; ++i) {
    const size_t bytes = 8 * (1 + i * 300);
    Fill(out, bytes, i);
    PushOut();
    EXPECT(send(pair[0], out, bytes, 0) == (ssize_t)bytes);
    PushOut();
    good += recv(pair[1], in, 64 * kPage, 0) == (ssize_t)bytes &&
            Wrong(in, bytes, i) == 0;
  }
  printf("datagrams: %d good\n", good);

  // Everything a message names has been evicted, a descriptor travels along.
  struct msghdr* message = Map(kPage);
  struct iovec* vector = Map(kPage);
  char* control = Map(kPage);
  Fill(out, 3 * kPage, 77);
  vector[0] = (struct iovec){out, kPage};
  vector[1] = (struct iovec){out + kPage, 2 * kPage};
  *message = (struct msghdr){.msg_iov = vector,
                             .msg_iovlen = 2,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(sizeof(int))};
  struct cmsghdr* header = CMSG_FIRSTHDR(message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int null = open("/dev/null", O_WRONLY);
  memcpy(CMSG_DATA(header), &null, sizeof(int));
  PushOut();
  EXPECT(sendmsg(pair[0], message, 0) == 3 * kPage);
  memset(control, 0, kPage);
  vector[0] = (struct iovec){in + 5 * kPage, 2 * kPage};
  vector[1] = (struct iovec){in + 9 * kPage, kPage};
  PushOut();
  EXPECT(recvmsg(pair[1], message, 0) == 3 * kPage);
  int got = -1;
  memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(message)), sizeof(int));
  printf("message: descriptor works %d, flags %d, data %d\n",
         write(got, "x", 1) == 1, message->msg_flags,
         memcmp(out, in + 5 * kPage, 2 * kPage) == 0 &&
             memcmp(out + 2 * kPage, in + 9 * kPage, kPage) == 0);
  struct mmsghdr* many = Map(4 * kPage);
  for (size_t i = 0; i < 20; ++i) {
    vector[i] = (struct iovec){out + i * 100, 100};
    many[i].msg_hdr = (struct msghdr){.msg_iov = &vector[i], .msg_iovlen = 1};
  }
  PushOut();
  const int sent = sendmmsg(pair[0], many, 8, 0);
  for (size_t i = 0; i < 20; ++i) vector[i].iov_base = in + i * kPage;
  PushOut();
  const int received = recvmmsg(pair[1], many, 8, 0, NULL);
  int same = 0;
  for (size_t i = 0; i < 8; ++i) {
    same += many[i].msg_len == 100 &&
            memcmp(in + i * kPage, out + i * 100, 100) == 0;
  }
  printf("many: %d sent, %d received, %d same\n", sent, received, same);
}

static void Files(void) {
  char name[] = "/tmp/edge-XXXXXX";
  const int fd = mkstemp(name);
  unlink(name);
  char* out = Map(kBytes);
  char* in = Map(kBytes);
  Fill(out, kBytes, 5);
  PushOut();
  EXPECT(pwrite(fd, out, kBytes, 0) == kBytes);
  PushOut();
  EXPECT(pread(fd, in, kBytes, 0) == kBytes);
  printf("file: %zu wrong\n", Wrong(in, kBytes, 5));
  struct iovec* vector = Map(kPage);
  for (size_t i = 0; i < 100; ++i) {
    vector[i] = (struct iovec){in + i * 2 * kPage, kPage};
  }
  PushOut();
  EXPECT(preadv(fd, vector, 100, 8) == 100 * kPage);
  int same = 0;
  for (size_t i = 0; i < 100; ++i) {
    same += memcmp(in + i * 2 * kPage, out + i * kPage + 8, kPage) == 0;
  }
  printf("vector: %d same\n", same);
  struct stat* status = Map(kPage);
  PushOut();
  EXPECT(fstat(fd, status) == 0 && status->st_size == kBytes);
  int pipes[2];
  EXPECT(pipe(pipes) == 0);
  off_t* offset = Map(kPage);
  *offset = 4096;
  PushOut();
  EXPECT(sendfile(pipes[1], fd, offset, 5000) == 5000 && *offset == 9096);
  EXPECT(read(pipes[0], in, 5000) == 5000 && memcmp(in, out + 4096, 5000) == 0);
  DIR* folder = opendir("/proc/sys/kernel");
  int entries = 0, named = 0;
  for (struct dirent* entry; (entry = readdir(folder)) != NULL; ++entries) {
    named += strcmp(entry->d_name, "hostname") == 0;
    if (entries % 16 == 0) PushOut();
  }
  closedir(folder);
  printf("directory: some %d, hostname %d\n", entries > 20, named);
}

static void Polls(void) {
  int fds[2];
  EXPECT(pipe(fds) == 0 && write(fds[1], "x", 1) == 1);
  struct pollfd* polled = Map(kPage);
  polled[0] = (struct pollfd){.fd = fds[0], .events = POLLIN};
  polled[1] = (struct pollfd){.fd = fds[1], .events = POLLOUT};
  PushOut();
  printf("poll: %d", poll(polled, 2, 1000));
  printf(" %d %d\n", polled[0].revents, polled[1].revents);
  fd_set* sets = Map(kPage);
  struct timeval* second = (struct timeval*)(sets + 2);
  *second = (struct timeval){1, 0};
  FD_SET(fds[0], &sets[0]);
  FD_SET(fds[1], &sets[1]);
  PushOut();
  printf("select: %d", select(fds[1] + 1, &sets[0], &sets[1], NULL, second));
  printf(" %d %d\n", FD_ISSET(fds[0], &sets[0]), FD_ISSET(fds[1], &sets[1]));
  const int epoll = epoll_create1(0);
  struct epoll_event* events = Map(kPage);
  events[0] = (struct epoll_event){.events = EPOLLIN, .data.u64 = 42};
  PushOut();
  EXPECT(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], events) == 0);
  PushOut();
  const int ready = epoll_wait(epoll, events + 1, 10, 1000);
  printf("epoll: %d %lu\n", ready, events[1].data.u64);
}

int main(void) {
  setvbuf(stdout, malloc(8192), _IOFBF, 8192);
  Stream(0);
  Stream(1);
  Datagrams();
  Files();
  Polls();
  return 0;
}
