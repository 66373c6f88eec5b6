// SPDX-License-Identifier: Apache-2.0
// The answers of the channel (control.h), one line of JSON:
//
//   supervisor  process id of `uzswap run`
//   program     what it was asked to run
//   limits      {NAME: VALUE} of those of all processes together
//   memory_used, memory_peak   of all processes together, in bytes
//   times_full  that no room could be made
//   requested   {NAME: VALUE} of what was set since the start
//   processes   [{pid, program, asleep, compressors, parameters: {NAME: VALUE},
//               stats: {...}}], the managed ones; asleep: the figures are those
//               of its last report
//   results     (set) [{name, value, withdrawn, processes: [{pid, program,
//               state: "taken", "failed" or "asleep", error, value}]}]; error
//               is an errno value; withdrawn: nobody could take it, so that
//               processes to come are not asked to
// To a question for classes:
//   pid, program, zpool
//   classes     [{class, size, zspages: [up to 10 %, ... 99 %, 100 % full],
//               obj_allocated, obj_used, pages_used, pages_per_zspage,
//               freeable}]; empty: the zpool has none
//
//   error       (instead of all that) why the request was not carried out
#ifndef UZSWAP_CLI_CONTROL_REPLY_H_
#define UZSWAP_CLI_CONTROL_REPLY_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/control.h"
#include "cli/control_board.h"
#include "cli/tree_limits.h"

namespace uzswap::cli {

// What the channel tells about the run.
struct ControlInfo {
  pid_t supervisor = 0;
  std::string program;
};

std::string ErrorReply(const std::string& why);

// How the processes stand to a request that was asked as number `sequence`
// (each assignment as the number in `sequences`). Withdraws from the board what
// nobody could take.
std::string MakeReply(const ControlInfo& info, const ControlRequest& request,
                      uint32_t sequence, const std::vector<uint32_t>& sequences,
                      ControlBoard* board, const TreeLimits& limits);

// Which process is meant by `pid`: that one, or, if it is not a managed
// process, the only one there is. Otherwise *why says what to do.
std::optional<pid_t> ChooseProcess(const ControlInfo& info, pid_t pid,
                                   const ControlBoard& board, std::string* why);
// What the board holds of that process, if it has answered.
std::string MakeClassesReply(pid_t pid, bool answered,
                             const ControlBoard& board);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_REPLY_H_
