// SPDX-License-Identifier: Apache-2.0
#include "cli/control_board.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

namespace uzswap::cli {
namespace {

void Terminate(uzswap_record* record) {
  record->program[sizeof(record->program) - 1] = '\0';
  record->why[sizeof(record->why) - 1] = '\0';
  record->compressors[sizeof(record->compressors) - 1] = '\0';
  for (uzswap_parameter_state& state : record->parameter) {
    state.value[sizeof(state.value) - 1] = '\0';
  }
}

// Bytes that another process may be changing; whoever reads them finds out by
// other means, which ThreadSanitizer does not know.
__attribute__((no_sanitize("thread"))) bool CopyBytes(void* to,
                                                      const void* from,
                                                      size_t bytes) {
  auto* t = static_cast<volatile char*>(to);
  const auto* f = static_cast<const volatile char*>(from);
  bool same = true;
  for (size_t i = 0; i < bytes; ++i) {
    const char c = f[i];
    same &= t[i] == c;
    t[i] = c;
  }
  return same;
}

// Its owner may be writing: two looks that agree are one moment.
uzswap_record Copy(uzswap_record& shared) {
  uzswap_record copy = {};
  for (int i = 0; i < 3; ++i) {
    copy.seen = std::atomic_ref(shared.seen).load(std::memory_order_acquire);
    const uint32_t seen = copy.seen;
    (void)CopyBytes(&copy, &shared, sizeof(copy));
    // What it says it has seen was there before we copied.
    copy.seen = seen;
    if (CopyBytes(copy.parameter, shared.parameter, sizeof(copy.parameter))) {
      break;
    }
  }
  Terminate(&copy);
  return copy;
}

}  // namespace

bool IsAlive(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text, '\0')) return false;
  // "pid (name) state": the name may hold anything.
  const size_t name_end = text.rfind(") ");
  if (name_end == std::string::npos || name_end + 2 >= text.size()) {
    return false;
  }
  const char state = text[name_end + 2];
  if (state == 'X' || state == 'x') return false;
  if (state != 'Z') return true;
  // Its main thread has ended; others may go on.
  std::error_code error;
  std::filesystem::directory_iterator threads(
      "/proc/" + std::to_string(pid) + "/task", error);
  return !error && std::distance(begin(threads), end(threads)) > 1;
}

ControlBoard::ControlBoard(uzswap_report* report,
                           std::function<bool(pid_t)> is_alive)
    : report_(report), is_alive_(std::move(is_alive)) {}

uint32_t ControlBoard::Ask(const std::vector<Assignment>& assignments) {
  for (const Assignment& assignment : assignments) {
    Request& request = requests_[assignment.parameter];
    before_[assignment.parameter] =
        std::exchange(request, {++newest_, assignment.value});
  }
  if (assignments.empty()) ++newest_;
  Publish();
  return newest_;
}

uint32_t ControlBoard::AskClasses(pid_t pid) {
  if (classes_sequence_ != 0) return 0;
  classes_pid_ = pid;
  classes_sequence_ = ++newest_;
  Publish();
  return newest_;
}

bool ControlBoard::ClassesAnswered(uint32_t sequence) const {
  return std::atomic_ref(report_->classes.sequence)
             .load(std::memory_order_acquire) == sequence;
}

void ControlBoard::EndClasses(uint32_t sequence) {
  if (sequence == 0 || sequence != classes_sequence_) return;
  classes_sequence_ = 0;
  Publish();
}

std::vector<uzswap_class> ControlBoard::Classes() const {
  const uint32_t count =
      std::min<uint32_t>(report_->classes.count, UZSWAP_CLASSES);
  std::vector<uzswap_class> rows(count);
  (void)CopyBytes(rows.data(), report_->classes.row,
                  count * sizeof(uzswap_class));
  return rows;
}

uint32_t ControlBoard::SequenceOf(unsigned parameter) const {
  return requests_[parameter].sequence;
}

const std::string& ControlBoard::Wanted(unsigned parameter) const {
  return requests_[parameter].value;
}

void ControlBoard::Withdraw(unsigned parameter, uint32_t sequence) {
  if (requests_[parameter].sequence != sequence) return;
  requests_[parameter] = before_[parameter];
  Publish();
}

void ControlBoard::Publish() {
  uzswap_control& control = report_->control;
  const std::atomic_ref version(control.version);
  // Whatever is there: only odd and even count.
  const uint32_t even = version.load(std::memory_order_relaxed) & ~1u;
  // Acquire: nothing below is seen before it.
  (void)version.exchange(even + 1, std::memory_order_acq_rel);
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    uzswap_parameter_request& to = control.request[i];
    to.sequence = requests_[i].sequence;
    std::memset(to.value, 0, sizeof(to.value));
    requests_[i].value.copy(to.value, sizeof(to.value) - 1);
  }
  control.classes_sequence = classes_sequence_;
  control.classes_pid = classes_pid_;
  version.store(even + 2, std::memory_order_release);
  std::atomic_ref(control.sequence).store(newest_, std::memory_order_release);
}

std::vector<uzswap_record> ControlBoard::Processes() const {
  const uint32_t taken =
      std::atomic_ref(report_->next).load(std::memory_order_acquire);
  std::vector<uzswap_record> all;
  std::map<int, size_t> place;  // a process that became another has two
  for (uint32_t i = 0; i < std::min<uint32_t>(taken, UZSWAP_REPORT_RECORDS);
       ++i) {
    uzswap_record& shared = report_->record[i];
    const uint32_t state =
        std::atomic_ref(shared.state).load(std::memory_order_acquire);
    if (state != UZSWAP_RECORD_LIVE) continue;
    const uzswap_record copy = Copy(shared);
    const auto [at, is_new] = place.emplace(copy.pid, all.size());
    if (is_new) {
      all.push_back(copy);
    } else {
      all[at->second] = copy;
    }
  }
  std::erase_if(all, [this](const uzswap_record& record) {
    return !is_alive_(record.pid);
  });
  return all;
}

}  // namespace uzswap::cli
