// SPDX-License-Identifier: Apache-2.0
// deny_uffd NAME -- program args: runs the program under a seccomp filter that
// answers EPERM to userfaultfd, or EINVAL to the prctl that arms Syscall User
// Dispatch, as container profiles and old kernels do.
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kSetSyscallUserDispatch = 59 };

#define LOAD(member) \
  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define SKIP_UNLESS(value, skip) \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)

int main(int argc, char** argv) {
  if (argc < 4 || strcmp(argv[2], "--") != 0) return 125;
  struct sock_filter userfaultfd[] = {
      LOAD(nr),
      SKIP_UNLESS(SYS_userfaultfd, 1),
      ANSWER(SECCOMP_RET_ERRNO | EPERM),
      ANSWER(SECCOMP_RET_ALLOW),
  };
  struct sock_filter dispatch[] = {
      LOAD(nr),
      SKIP_UNLESS(SYS_prctl, 3),
      LOAD(args[0]),
      SKIP_UNLESS(kSetSyscallUserDispatch, 1),
      ANSWER(SECCOMP_RET_ERRNO | EINVAL),
      ANSWER(SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {4, userfaultfd};
  if (strcmp(argv[1], "dispatch") == 0) {
    program.len = 6;
    program.filter = dispatch;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
    perror("seccomp");
    return 125;
  }
  execvp(argv[3], argv + 3);
  perror(argv[3]);
  return 127;
}
