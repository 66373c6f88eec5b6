// SPDX-License-Identifier: Apache-2.0
#include "cli/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

namespace uzswap::cli {
namespace {

// Everything but what the kernel raises for a mistake of our own.
sigset_t AllSignals() {
  sigset_t set;
  sigfillset(&set);
  for (const int own :
       {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS}) {
    sigdelset(&set, own);
  }
  return set;
}

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const std::string& word : words) {
    all.push_back(const_cast<char*>(word.c_str()));
  }
  all.push_back(nullptr);
  return all;
}

// Of two time-outs of poll; -1 is none.
int Sooner(int a, int b) {
  if (a < 0 || b < 0) return std::max(a, b);
  return std::min(a, b);
}

Check ExecFailure(const Job& job, int error) {
  return Failure{"cannot run '" + job.path + "': " + std::strerror(error),
                 error == ENOENT ? kExitNotFound : kExitCannotRun};
}

}  // namespace

Check Supervisor::Start(const Job& job) {
  int error_pipe[2];
  if (pipe2(error_pipe, O_CLOEXEC) != 0) {
    return Failure{std::string("cannot make a pipe: ") + std::strerror(errno)};
  }
  // An inherited "ignore" would make the kernel reap the program for us.
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &standard, &original_sigchld_);
  const sigset_t all = AllSignals();
  sigprocmask(SIG_BLOCK, &all, &original_mask_);

  const pid_t self = getpid();
  pid_ = fork();
  if (pid_ == 0) RunChild(job, self, error_pipe[1]);
  const int fork_error = errno;
  close(error_pipe[1]);
  int error = 0;
  ssize_t bytes = 0;
  if (pid_ > 0) {
    do {
      bytes = read(error_pipe[0], &error, sizeof(error));
    } while (bytes < 0 && errno == EINTR);
  }
  close(error_pipe[0]);
  if (pid_ < 0) {
    return Failure{std::string("cannot start a process: ") +
                   std::strerror(fork_error)};
  }
  if (bytes == sizeof(error)) {
    waitpid(pid_, nullptr, 0);
    return ExecFailure(job, error);
  }
  return {};
}

void Supervisor::RunChild(const Job& job, pid_t parent, int error_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != parent) _exit(kExitUzswap);  // it died before the prctl
  for (const auto& [name, value] : job.environment) {
    setenv(name.c_str(), value.c_str(), 1);
  }
  setenv("UZSWAP_ROOT", std::to_string(getpid()).c_str(), 1);
  for (const std::string& name : job.removed) unsetenv(name.c_str());

  std::vector<std::string> words = job.argv;
  std::string path = job.path;
  if (job.shell) {
    words[0] = path;
    words.insert(words.begin(), "sh");
    path = "/bin/sh";
  }
  std::vector<char*> argv = Pointers(words);
  sigaction(SIGCHLD, &original_sigchld_, nullptr);
  sigprocmask(SIG_SETMASK, &original_mask_, nullptr);
  execv(path.c_str(), argv.data());
  const int error = errno;
  const ssize_t ignored = write(error_fd, &error, sizeof(error));
  _exit(ignored == sizeof(error) ? kExitCannotRun : kExitUzswap);
}

void Supervisor::DropDescriptors(std::vector<int> keep) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
  }
  keep.push_back(STDERR_FILENO);
  std::sort(keep.begin(), keep.end());
  int from = STDERR_FILENO + 1;
  for (const int fd : keep) {
    if (fd > from) syscall(SYS_close_range, from, fd - 1, 0);
    from = std::max(from, fd + 1);
  }
  syscall(SYS_close_range, from, INT_MAX, 0);
}

void Supervisor::Forward(const siginfo_t& info) {
  const bool from_kernel = info.si_code > 0;
  switch (info.si_signo) {
    case SIGCHLD:
      return;
    case SIGINT:
    case SIGQUIT:
    case SIGTSTP:
    case SIGHUP:
    case SIGWINCH:
    case SIGCONT:
      // The terminal sends these to its whole foreground group, the program
      // included; somebody else sent them to us alone.
      if (from_kernel) return;
      break;
    default:
      break;
  }
  // A write of ours to a closed pipe is nothing to the program.
  if (info.si_signo == SIGPIPE && info.si_pid == getpid()) return;
  kill(pid_, info.si_signo);
}

bool Supervisor::Reap(int* status) {
  for (;;) {
    const pid_t got = waitpid(pid_, status, WNOHANG | WUNTRACED);
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      *status = kExitUzswap << 8;  // somebody else reaped it
      return true;
    }
    if (!WIFSTOPPED(*status)) return true;
    // Our own caller waits for us, not for the program: stop with it, go on
    // with it.
    raise(SIGSTOP);
    kill(pid_, SIGCONT);
  }
}

void Supervisor::WaitForEvent(int signals, ControlServer* control,
                              Watch* watch) {
  const sigset_t all = AllSignals();
  siginfo_t info = {};
  if (signals < 0) {  // no descriptor was left: the program alone matters
    const timespec step{.tv_sec = 0, .tv_nsec = 200000000};
    if (sigtimedwait(&all, &info, &step) > 0) Forward(info);
    control->Step();
    watch->Step();
    return;
  }
  pollfd events[] = {{signals, POLLIN, 0}, {control->fd(), POLLIN, 0}};
  poll(events, std::size(events),
       Sooner(control->timeout_ms(), watch->timeout_ms()));
  signalfd_siginfo arrived;
  while (read(signals, &arrived, sizeof(arrived)) == sizeof(arrived)) {
    info.si_signo = static_cast<int>(arrived.ssi_signo);
    info.si_code = arrived.ssi_code;
    info.si_pid = static_cast<pid_t>(arrived.ssi_pid);
    Forward(info);
  }
  control->Step();
  watch->Step();
}

int Supervisor::Wait(ControlServer* control, Watch* watch) {
  const sigset_t all = AllSignals();
  const int signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
  int status = 0;
  while (!Reap(&status)) WaitForEvent(signals, control, watch);
  if (signals >= 0) close(signals);
  return status;
}

void Supervisor::EndLike(int status) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    signal(number, SIG_DFL);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    sigprocmask(SIG_UNBLOCK, &one, nullptr);
    raise(number);
    _exit(128 + number);
  }
  _exit(WEXITSTATUS(status));
}

}  // namespace uzswap::cli
