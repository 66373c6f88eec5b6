// SPDX-License-Identifier: Apache-2.0
// The requests in the shared memory, and what the processes made of them, seen
// from `uzswap run`. It writes the requests and never reads them back: the
// processes can write to that memory, too.
#ifndef UZSWAP_CLI_CONTROL_BOARD_H_
#define UZSWAP_CLI_CONTROL_BOARD_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/control.h"
#include "uzswap/report.h"

namespace uzswap::cli {

// Whether a process exists and has not ended.
bool IsAlive(pid_t pid);

class ControlBoard {
 public:
  // The report outlives the board.
  explicit ControlBoard(uzswap_report* report,
                        std::function<bool(pid_t)> is_alive = IsAlive);

  // Asks all processes, those to come included. Returns the sequence number
  // that a process has seen when it is done. No assignment: they only bring
  // their figures up to date.
  uint32_t Ask(const std::vector<Assignment>& assignments);
  // Number of the newest request for a parameter; 0: none.
  uint32_t SequenceOf(unsigned parameter) const;
  // If `sequence` is still the newest request for it: the one before stands
  // again, for processes to come.
  void Withdraw(unsigned parameter, uint32_t sequence);
  // What was asked for; empty: nothing.
  const std::string& Wanted(unsigned parameter) const;

  // Asks one process for its size classes; 0: somebody else's question has not
  // ended. Returns the number of the question.
  uint32_t AskClasses(pid_t pid);
  bool ClassesAnswered(uint32_t sequence) const;
  // REQUIRES: answered, and not ended.
  std::vector<uzswap_class> Classes() const;
  // With or without an answer. No effect for a question that is not the last.
  void EndClasses(uint32_t sequence);

  // The managed processes that run, in the order in which they began.
  std::vector<uzswap_record> Processes() const;

 private:
  struct Request {
    uint32_t sequence = 0;
    std::string value;
  };
  // Shows requests_ to the processes.
  void Publish();

  uzswap_report* const report_;
  const std::function<bool(pid_t)> is_alive_;
  uint32_t newest_ = 0;
  uint32_t classes_sequence_ = 0;  // of the open question; 0: none
  pid_t classes_pid_ = 0;
  Request requests_[UZSWAP_PARAMETERS];
  Request before_[UZSWAP_PARAMETERS];
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_BOARD_H_
