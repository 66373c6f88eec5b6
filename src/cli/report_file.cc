// SPDX-License-Identifier: Apache-2.0
#include "cli/report_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "cli/size.h"

namespace uzswap::cli {

ReportFile::~ReportFile() {
  if (report_ != nullptr) munmap(report_, sizeof(*report_));
  if (fd_ >= 0) close(fd_);
}

Check ReportFile::Create() {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
      limit.rlim_cur < sizeof(uzswap_report)) {
    return Failure{"ulimit -f is " + FormatSize(limit.rlim_cur) +
                   ", but the report needs " +
                   FormatSize(sizeof(uzswap_report)) + "; raise the limit"};
  }
  fd_ = memfd_create("uzswap-report", MFD_CLOEXEC);
  if (fd_ < 0 || ftruncate(fd_, sizeof(uzswap_report)) != 0) {
    return Failure{std::string("no memory for the report: ") +
                   std::strerror(errno)};
  }
  void* const at = mmap(nullptr, sizeof(uzswap_report), PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd_, 0);
  if (at == MAP_FAILED) {
    return Failure{std::string("cannot map the report: ") +
                   std::strerror(errno)};
  }
  report_ = static_cast<uzswap_report*>(at);
  report_->record_bytes = sizeof(uzswap_record);
  report_->records = UZSWAP_REPORT_RECORDS;
  report_->magic = UZSWAP_REPORT_MAGIC;
  return {};
}

std::string ReportFile::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_);
}

std::vector<uzswap_record> ReportFile::Records(unsigned* lost) const {
  const uint32_t taken =
      std::atomic_ref(report_->next).load(std::memory_order_acquire);
  const uint32_t held = std::min<uint32_t>(taken, UZSWAP_REPORT_RECORDS);
  *lost = taken - held;
  std::vector<uzswap_record> records;
  for (uint32_t i = 0; i < held; ++i) {
    uzswap_record& shared = report_->record[i];
    // The state is written last: what it promises is there.
    const uint32_t state =
        std::atomic_ref(shared.state).load(std::memory_order_acquire);
    if (state == UZSWAP_RECORD_FREE) continue;
    uzswap_record copy = shared;
    copy.state = state;
    // Written by programs we do not control.
    copy.program[sizeof(copy.program) - 1] = '\0';
    copy.why[sizeof(copy.why) - 1] = '\0';
    records.push_back(copy);
  }
  return records;
}

}  // namespace uzswap::cli
