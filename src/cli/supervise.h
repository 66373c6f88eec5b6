// SPDX-License-Identifier: Apache-2.0
// Starts the program and stays beside it, so that to a caller `uzswap run`
// looks like the program: same signals in, same stop and continue, same way to
// end out. Only one program at a time, from the main thread.
#ifndef UZSWAP_CLI_SUPERVISE_H_
#define UZSWAP_CLI_SUPERVISE_H_

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "cli/control_server.h"
#include "cli/fail.h"
#include "cli/watch.h"

namespace uzswap::cli {

struct Job {
  std::string path;               // of the program, found already
  std::vector<std::string> argv;  // argv[0] as the user wrote it
  bool shell = false;             // to be run by /bin/sh, as execvp does
  // Set in the program's environment; UZSWAP_ROOT is added to it.
  std::vector<std::pair<std::string, std::string>> environment;
  std::vector<std::string> removed;  // taken out of it
};

class Supervisor {
 public:
  // From here on every signal is kept for the program. Starts it; fails with
  // 126 or 127 if exec does. The program is killed if this process dies.
  Check Start(const Job& job);

  // Gives up everything inherited that the program might want to be the only
  // holder of (pipes, locks): standard input and output and every descriptor
  // but 2 and those in `keep`.
  static void DropDescriptors(std::vector<int> keep);

  // Passes signals on, serves the channel and lets `watch` look around, until
  // the program has ended; its status as of waitpid.
  int Wait(ControlServer* control, Watch* watch);

  pid_t pid() const { return pid_; }

  // Ends this process as the program ended: same code or same signal, without
  // a core of ours.
  [[noreturn]] void EndLike(int status);

 private:
  [[noreturn]] void RunChild(const Job& job, pid_t parent, int error_fd);
  void Forward(const siginfo_t& info);
  void WaitForEvent(int signals, ControlServer* control, Watch* watch);
  // True when the program has ended.
  bool Reap(int* status);

  pid_t pid_ = -1;
  sigset_t original_mask_;
  struct sigaction original_sigchld_;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_SUPERVISE_H_
