// SPDX-License-Identifier: Apache-2.0
// Requests, and a report in which processes are only records.
#ifndef UZSWAP_CLI_CONTROL_TEST_SUPPORT_H_
#define UZSWAP_CLI_CONTROL_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>

#include "cli/control.h"
#include "uzswap/report.h"

namespace uzswap::cli {

inline ControlRequest SetRequest(unsigned wait_ms,
                                 const std::string& assignments) {
  ControlRequest request;
  std::string why;
  EXPECT_TRUE(ParseRequest("set " + std::to_string(wait_ms) + " " + assignments,
                           &request, &why))
      << why;
  return request;
}

inline ControlRequest GetRequest(unsigned wait_ms) {
  ControlRequest request;
  request.wait_ms = wait_ms;
  return request;
}

// A report in which processes can be made to exist and to answer.
class FakeRun {
 public:
  uzswap_record& Add(int pid) {
    uzswap_record& record = report->record[report->next++];
    record.pid = pid;
    std::strcpy(record.program, "fake");
    std::strcpy(record.compressors, "lz4 zstd");
    record.state = UZSWAP_RECORD_LIVE;
    return record;
  }
  // What a process does at a safe point: refuses "bad". It reads what `uzswap
  // run` may be writing, without the version that tells a process so.
  __attribute__((no_sanitize("thread"))) void Take(uzswap_record& record) {
    const uint32_t newest = std::atomic_ref(report->control.sequence).load();
    for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
      const uzswap_parameter_request request = report->control.request[i];
      if (request.sequence <= record.parameter[i].sequence) continue;
      const bool bad = std::strcmp(request.value, "bad") == 0;
      record.parameter[i].error = bad ? EINVAL : 0;
      if (!bad) std::strcpy(record.parameter[i].value, request.value);
      std::atomic_ref(record.parameter[i].sequence).store(request.sequence);
    }
    std::atomic_ref(record.seen).store(newest);
  }

  // What a process does that is asked for its classes: it has one, of which the
  // size is its number.
  __attribute__((no_sanitize("thread"))) void AnswerClasses(int pid) {
    const std::atomic_ref version(report->control.version);
    const uint32_t before = version.load();
    const uint32_t sequence = report->control.classes_sequence;
    const bool is_asked = report->control.classes_pid == pid && sequence != 0;
    if (before % 2 != 0 || version.load() != before || !is_asked) return;
    const std::atomic_ref answered(report->classes.sequence);
    if (answered.load() == sequence) return;
    report->classes.row[0].size = static_cast<uint16_t>(pid);
    report->classes.count = 1;
    answered.store(sequence);
  }

  std::unique_ptr<uzswap_report> report = std::make_unique<uzswap_report>();
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CONTROL_TEST_SUPPORT_H_
