// SPDX-License-Identifier: Apache-2.0
// What `uzswap run` says at the end: a few aligned lines, made from the records
// that the processes left, however they ended. summary.h decides what is worth
// a line; json.h gives everything.
#ifndef UZSWAP_CLI_SUMMARY_H_
#define UZSWAP_CLI_SUMMARY_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "cli/options.h"
#include "uzswap/report.h"

namespace uzswap::cli {

// One run, as seen from outside and inside.
struct RunResult {
  Options options;
  std::string program;  // base name of what was asked for
  pid_t pid = 0;        // of the program
  int wait_status = 0;
  double seconds = 0;
  uint64_t memory_peak = 0;  // of all processes together, in bytes
  std::vector<uzswap_record> records;
  unsigned records_lost = 0;

  // The record that says uzswap could not start in the program itself, if any.
  const uzswap_record* StartFailure() const;
  // Nothing at all was reported: uzswap was never loaded.
  bool NeverLoaded() const;
};

// Sums over all processes (peaks: the highest), for the totals.
uzswap_stats Totals(const std::vector<uzswap_record>& records);

// As values of the parameter; what any of them used, in order of first use.
std::string CompressorAtEnd(const uzswap_record& record);
std::vector<std::string> CompressorsUsed(
    const std::vector<uzswap_record>& records);

// "exit status 0", "killed by signal 9 (Killed)".
std::string DescribeEnd(int wait_status);

// Lines that end in '\n'. Empty when there is nothing true to say
// (StartFailure: the process has said it).
std::string Summarize(const RunResult& run);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_SUMMARY_H_
