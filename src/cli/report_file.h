// SPDX-License-Identifier: Apache-2.0
// The memory that this command and the processes under it share, seen from
// here (include/uzswap/report.h). A memfd: nothing is left of it in any file
// system, whatever dies in whatever way.
#ifndef UZSWAP_CLI_REPORT_FILE_H_
#define UZSWAP_CLI_REPORT_FILE_H_

#include <string>
#include <vector>

#include "cli/fail.h"
#include "uzswap/report.h"

namespace uzswap::cli {

class ReportFile {
 public:
  ReportFile() = default;
  ~ReportFile();
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;

  Check Create();
  int fd() const { return fd_; }
  // For the channel; valid after Create.
  uzswap_report* shared() const { return report_; }
  // What a process under us opens: valid as long as we live.
  std::string path() const;

  // Copies of the records in use, in the order they were taken. *lost: how
  // many found no room.
  std::vector<uzswap_record> Records(unsigned* lost) const;

 private:
  int fd_ = -1;
  uzswap_report* report_ = nullptr;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_REPORT_FILE_H_
