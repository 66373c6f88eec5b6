// SPDX-License-Identifier: Apache-2.0
// This process's record in the report that `uzswap run` reads.
#ifndef UZSWAP_PRELOAD_REPORT_H_
#define UZSWAP_PRELOAD_REPORT_H_

#include <uzswap/report.h>

#include <cstdint>

namespace uzswap::preload {

// Maps the report (nullptr or unusable: the process goes unreported) and takes
// a record.
void OpenReport(const char* path, const char* program);
// In the child of a fork: a record of its own.
void ForkReport();

// Copies the statistics into the record and sets its state.
void PublishReport(uzswap_record_state state);
// The same at most every few hundred calls, for the hot paths.
void PublishNowAndThen();
void ReportFailure(const char* why);
void ReportSites(uint32_t known, uint32_t patched);

// Counted without a lock: exact with one thread, close with more.
void CountCall(bool dispatched);
void CountUnlisted();
// The process that owns the record: false in a vfork child.
bool OwnsReport();
// What is mapped, for control.h; nullptr: nothing.
uzswap_report* SharedReport();
uzswap_record* OwnRecord();

}  // namespace uzswap::preload

#endif  // UZSWAP_PRELOAD_REPORT_H_
