// SPDX-License-Identifier: Apache-2.0
#include "cli/summary.h"

#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <sstream>

#include "cli/control.h"
#include "cli/size.h"
#include "cli/stats_fields.h"

namespace uzswap::cli {
namespace {

constexpr uint64_t kPage = 4096;

std::string Percent(double part, double whole) {
  const double percent = whole > 0 ? 100 * part / whole : 0;
  return std::to_string(std::llround(percent)) + " %";
}

std::string OneDecimal(double value) {
  const long long tenths = std::llround(value * 10);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10);
}

// "12,345 pages, 48.2 MiB (9.64 MiB/s)".
std::string Pages(uint64_t pages, double seconds) {
  std::string text =
      FormatCount(pages) + " pages, " + FormatSize(pages * kPage);
  if (pages > 0 && seconds > 0) {
    const double rate = static_cast<double>(pages * kPage) / seconds;
    text += " (" + FormatSize(static_cast<uint64_t>(rate)) + "/s)";
  }
  return text;
}

class Lines {
 public:
  void Add(const std::string& label, const std::string& text) {
    text_ += "  " + label +
             std::string(label.size() < 12 ? 12 - label.size() : 1, ' ') +
             text + "\n";
  }
  std::string text_;
};

// The one the limit meant most to.
const uzswap_record& Largest(const std::vector<uzswap_record>& records) {
  return *std::max_element(records.begin(), records.end(),
                           [](const uzswap_record& a, const uzswap_record& b) {
                             return a.stats.peak_without_bytes <
                                    b.stats.peak_without_bytes;
                           });
}

std::string Memory(const uzswap_stats& stats, uint64_t limit) {
  std::string text = "peak " + FormatSize(stats.peak_bytes);
  if (limit != 0) text += " of " + FormatSize(limit) + " allowed";
  const uint64_t without = std::max(stats.peak_without_bytes, stats.peak_bytes);
  text += "; without uzswap " + FormatSize(without);
  if (without > stats.peak_bytes) {
    text +=
        ", saved " + Percent(static_cast<double>(without - stats.peak_bytes),
                             static_cast<double>(without));
  }
  return text;
}

// "zstd:3, before lz4 copy" or "zstd:3, before 5 others": the last one of the
// largest process, and what any process used besides.
std::string CompressorNames(const RunResult& run) {
  const std::string last = CompressorAtEnd(Largest(run.records));
  if (last.empty()) return run.options.compressor;
  std::vector<std::string> others = CompressorsUsed(run.records);
  std::erase(others, last);
  if (others.empty()) return last;
  if (others.size() > 3) {
    return last + ", before " + std::to_string(others.size()) + " others";
  }
  std::string text = last + ", before";
  for (const std::string& name : others) text += " " + name;
  return text;
}

std::string Compressed(const uzswap_stats& totals, const RunResult& run) {
  if (totals.pages_out == 0) return "nothing: everything fitted";
  std::string text = CompressorNames(run);
  if (totals.compressed_bytes_out > 0) {
    text += ", ratio " +
            OneDecimal(static_cast<double>(totals.compressed_bytes_in) /
                       static_cast<double>(totals.compressed_bytes_out));
  }
  if (totals.zswpout > 0) {
    const auto all = static_cast<double>(totals.zswpout);
    text += "; " + Percent(static_cast<double>(totals.same_filled_pages), all) +
            " of the pages same-filled, " +
            Percent(static_cast<double>(totals.reject_compress_poor), all) +
            " incompressible";
  }
  return text;
}

std::string Disk(const uzswap_stats& totals, const Options& options) {
  if (options.backing.empty()) return "none (--backing none)";
  if (totals.zswpwb == 0) return "nothing was written";
  return FormatSize(totals.device_written_bytes) + " written, " +
         FormatCount(totals.device_written_bytes / totals.zswpwb) +
         " bytes a page; " + FormatSize(totals.device_in * kPage) +
         " of pages read back, in " + options.backing +
         (totals.device_alignment > 1 ? " (O_DIRECT)" : "");
}

size_t ProcessCount(const std::vector<uzswap_record>& records) {
  std::set<int> pids;
  for (const uzswap_record& record : records) pids.insert(record.pid);
  return pids.size();
}

void AddTraffic(const RunResult& run, const uzswap_stats& totals,
                Lines* lines) {
  lines->Add("pages out", Pages(totals.pages_out, run.seconds));
  lines->Add("pages in", Pages(totals.pages_in, run.seconds));
  const double fault_seconds = static_cast<double>(totals.fault_ns) * 1e-9;
  // Threads and processes fault at the same time. What the threads of a process
  // spend together counts once; processes, between which nobody looks, add up.
  const double stalled = static_cast<double>(totals.stall_ns) * 1e-9;
  lines->Add("faults",
             FormatCount(totals.faults) + " in " +
                 FormatSeconds(fault_seconds) + ", " +
                 Percent(std::min(stalled, run.seconds), run.seconds) +
                 " of the run time");
  if (totals.recompressed_pages + totals.recompress_poor > 0) {
    lines->Add("dense tier", FormatCount(totals.recompressed_pages) +
                                 " pages compressed again, " +
                                 FormatCount(totals.recompress_poor) +
                                 " would not get smaller");
  }
  lines->Add("disk", Disk(totals, run.options));
}

void AddWarnings(const RunResult& run, const uzswap_stats& totals,
                 Lines* lines) {
  const auto warn = [lines](const std::string& text) {
    lines->Add("warning", text);
  };
  if (totals.limit_exceeded > 0) {
    warn("the limit had to be exceeded " + FormatCount(totals.limit_exceeded) +
         (totals.limit_exceeded == 1 ? " time" : " times") +
         "; give more --memory" +
         (run.options.backing.empty() ? " or --backing" : ""));
  }
  for (const uzswap_record& record : run.records) {
    // Not only the largest: a smaller one may have been harder to keep small.
    if (record.stats.peak_bytes / 21 > record.stats.memory_limit / 20) {
      warn(std::string(record.program) + " (" + std::to_string(record.pid) +
           ") took up to " + FormatSize(record.stats.peak_bytes));
    }
  }
  if (totals.device_write_fail + totals.device_read_fail > 0) {
    warn("the backing store failed: " + FormatCount(totals.device_write_fail) +
         " writes, " + FormatCount(totals.device_read_fail) + " reads");
  }
  uint64_t unlisted = 0;
  bool unknown_libc = false;
  for (const uzswap_record& record : run.records) {
    unlisted += record.calls_unlisted;
    unknown_libc |=
        record.sites_known == 0 && record.state != UZSWAP_RECORD_FAILED;
    if (record.state == UZSWAP_RECORD_FAILED) {
      warn(std::string(record.program) + " (" + std::to_string(record.pid) +
           ") ran unmanaged or not at all: " + record.why);
    }
  }
  if (unknown_libc && run.options.syscalls != "dispatch") {
    warn("libc build not known: system calls are slower");
  }
  if (unlisted > 0) {
    warn(FormatCount(unlisted) + " system calls that uzswap has no row for");
  }
  if (run.records_lost > 0) {
    warn(FormatCount(run.records_lost) +
         " processes found no room in the report and are not counted");
  }
}

}  // namespace

const uzswap_record* RunResult::StartFailure() const {
  // Only the first record of the program is about its start; later ones with
  // the same pid follow an exec that did work once.
  for (const uzswap_record& record : records) {
    if (record.pid != pid) continue;
    return record.state == UZSWAP_RECORD_FAILED ? &record : nullptr;
  }
  return nullptr;
}

bool RunResult::NeverLoaded() const {
  return records.empty() && records_lost == 0;
}

uzswap_stats Totals(const std::vector<uzswap_record>& records) {
  uzswap_stats totals = {};
  for (const uzswap_record& record : records) {
    for (const StatsField& field : StatsFields()) {
      uint64_t& to = totals.*field.member;
      const uint64_t value = record.stats.*field.member;
      to = field.adds_up ? to + value : std::max(to, value);
    }
  }
  return totals;
}

std::string CompressorAtEnd(const uzswap_record& record) {
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    if (std::strcmp(kParameterNames[i], "compressor") != 0) continue;
    const char* const value = record.parameter[i].value;
    return std::string(value, strnlen(value, UZSWAP_PARAMETER_BYTES));
  }
  return {};
}

std::vector<std::string> CompressorsUsed(
    const std::vector<uzswap_record>& records) {
  std::vector<std::string> all;
  for (const uzswap_record& record : records) {
    std::istringstream words(
        std::string(record.used, strnlen(record.used, sizeof(record.used))));
    for (std::string word; words >> word;) {
      if (std::find(all.begin(), all.end(), word) == all.end()) {
        all.push_back(word);
      }
    }
  }
  return all;
}

std::string DescribeEnd(int wait_status) {
  if (!WIFSIGNALED(wait_status)) {
    return "exit status " + std::to_string(WEXITSTATUS(wait_status));
  }
  const int number = WTERMSIG(wait_status);
  const char* name = sigdescr_np(number);
  return "killed by signal " + std::to_string(number) + " (" +
         (name != nullptr ? name : "unknown") + ")";
}

std::string Summarize(const RunResult& run) {
  if (run.StartFailure() != nullptr) return {};
  if (run.NeverLoaded()) {
    // Killed before it could say anything is no reason for a warning.
    if (WIFSIGNALED(run.wait_status)) return {};
    return "uzswap: warning: '" + run.program +
           "' ran without uzswap: it did not load the preload library\n";
  }
  const uzswap_stats totals = Totals(run.records);
  const uzswap_record& largest = Largest(run.records);
  const size_t processes = ProcessCount(run.records);
  Lines lines;
  lines.text_ = "uzswap: " + run.program + ", " + FormatSeconds(run.seconds) +
                ", " + DescribeEnd(run.wait_status) + "\n";
  if (processes > 1) {
    lines.Add("processes", FormatCount(processes) + ", largest " +
                               largest.program + " (" +
                               std::to_string(largest.pid) + ")");
  }
  if (processes > 1) {
    lines.Add("memory", "peak " + FormatSize(run.memory_peak) + " of " +
                            FormatSize(totals.memory_limit) + " allowed");
    lines.Add("its memory", Memory(largest.stats, 0));
  } else {
    lines.Add("memory", Memory(largest.stats, totals.memory_limit));
  }
  lines.Add("compressed", Compressed(totals, run));
  if (totals.pages_out > 0) AddTraffic(run, totals, &lines);
  AddWarnings(run, totals, &lines);
  return lines.text_;
}

}  // namespace uzswap::cli
