// SPDX-License-Identifier: Apache-2.0
#include "preload/control.h"

#include <uzswap/report.h>
#include <uzswap/uzswap.h>

#include <cstring>

#include "base/os.h"
#include "preload/report.h"
#include "preload/vectors.h"

namespace uzswap::preload {
namespace {

constexpr const char* kNames[] = {
#define UZSWAP_PARAMETER(name) #name,
    UZSWAP_PARAMETER_LIST(UZSWAP_PARAMETER)
#undef UZSWAP_PARAMETER
};

constinit const std::atomic<uint32_t> nothing{0};
// One thread at a time works on what follows; nobody waits.
constinit std::atomic<bool> busy{false};
constinit uint32_t taken[UZSWAP_PARAMETERS] = {};

// False: `uzswap run` is writing at this moment.
bool ReadRequest(unsigned index, uzswap_parameter_request* copy) {
  uzswap_control& control = SharedReport()->control;
  const uint32_t before =
      std::atomic_ref(control.version).load(std::memory_order_acquire);
  if (before % 2 != 0) return false;
  memcpy(copy, &control.request[index], sizeof(*copy));
  std::atomic_thread_fence(std::memory_order_acquire);
  copy->value[sizeof(copy->value) - 1] = '\0';
  return std::atomic_ref(control.version).load(std::memory_order_relaxed) ==
         before;
}

void Acknowledge(unsigned index, uint32_t sequence, int error) {
  uzswap_record* record = OwnRecord();
  if (record == nullptr) return;
  record->parameter[index].error = error;
  std::atomic_ref(record->parameter[index].sequence)
      .store(sequence, std::memory_order_release);
}

bool HasWord(const char* words, const char* word) {
  const size_t bytes = strlen(word);
  for (const char* at = words; *at != '\0';) {
    size_t n = 0;
    while (at[n] != ' ' && at[n] != '\0') ++n;
    if (n == bytes && memcmp(at, word, n) == 0) return true;
    at += at[n] == ' ' ? n + 1 : n;
  }
  return false;
}

// After every change, since two can come at once. What does not fit is left
// out.
void NoteCompressor() {
  uzswap_record* record = OwnRecord();
  char value[UZSWAP_PARAMETER_BYTES];
  if (record == nullptr ||
      uzswap_get_parameter("compressor", value, sizeof(value)) != 0 ||
      HasWord(record->used, value)) {
    return;
  }
  const size_t used = strlen(record->used);
  const size_t bytes = strlen(value);
  const size_t at = used == 0 ? 0 : used + 1;
  if (at + bytes >= sizeof(record->used)) return;
  // Terminated at every moment: it is read while it is written.
  memcpy(record->used + at, value, bytes);
  if (used != 0) record->used[used] = ' ';
}

void PublishValues() {
  NoteCompressor();
  uzswap_record* record = OwnRecord();
  if (record == nullptr) return;
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    char value[UZSWAP_PARAMETER_BYTES];
    if (uzswap_get_parameter(kNames[i], value, sizeof(value)) != 0) continue;
    memcpy(record->parameter[i].value, value, sizeof(value));
  }
}

// If this process was asked. A question that comes while it is written bumps
// the sequence, so there is a next time.
void PublishClasses() {
  uzswap_report* const report = SharedReport();
  const uzswap_control& control = report->control;
  const uint32_t before =
      std::atomic_ref(report->control.version).load(std::memory_order_acquire);
  const uint32_t sequence = control.classes_sequence;
  const int pid = control.classes_pid;
  std::atomic_thread_fence(std::memory_order_acquire);
  if (before % 2 != 0 || sequence == 0 || pid != os::ProcessId() ||
      std::atomic_ref(report->control.version)
              .load(std::memory_order_relaxed) != before) {
    return;
  }
  uzswap_class_table& table = report->classes;
  const std::atomic_ref answered(table.sequence);
  if (answered.load(std::memory_order_relaxed) == sequence) return;
  const int count = uzswap_get_classes(table.row, UZSWAP_CLASSES);
  table.count = count < 0 ? 0 : static_cast<uint32_t>(count);
  answered.store(sequence, std::memory_order_release);
}

void ListCompressors() {
  uzswap_record* record = OwnRecord();
  if (record == nullptr) return;
  uzswap_list_compressors(record->compressors, sizeof(record->compressors));
}

// In the order in which they were asked for. False: come back later.
bool TakeAll(uint32_t newest) {
  for (;;) {
    unsigned next = UZSWAP_PARAMETERS;
    uzswap_parameter_request request{};
    for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
      uzswap_parameter_request candidate;
      if (!ReadRequest(i, &candidate)) return false;
      if (candidate.sequence <= taken[i] || candidate.sequence > newest) {
        continue;
      }
      if (next != UZSWAP_PARAMETERS && candidate.sequence > request.sequence) {
        continue;
      }
      next = i;
      request = candidate;
    }
    if (next == UZSWAP_PARAMETERS) return true;
    const int error = uzswap_set_parameter(kNames[next], request.value);
    NoteCompressor();
    taken[next] = request.sequence;
    Acknowledge(next, request.sequence, -error);
  }
}

// Signals are blocked: a handler of the program may leave by longjmp.
void TakeOwned() {
  const uint32_t newest = control_newest->load(std::memory_order_acquire);
  if (!TakeAll(newest)) return;
  // Where no thread can be made, pools drain here or nowhere.
  uzswap_run_work();
  PublishValues();
  PublishClasses();
  PublishReport(UZSWAP_RECORD_LIVE);
  uzswap_record* record = OwnRecord();
  if (record != nullptr) {
    std::atomic_ref(record->seen).store(newest, std::memory_order_release);
  }
  control_seen.store(newest, std::memory_order_relaxed);
}

int64_t Take(void*) {
  TakeControl();
  return 0;
}

}  // namespace

constinit const std::atomic<uint32_t>* control_newest = &nothing;
constinit std::atomic<uint32_t> control_seen{0};

void TakeControl() {
  // A vfork child runs on its parent's memory: the parent will see to it.
  if (!OwnsReport()) return;
  const uint64_t mask = os::BlockSignals();
  if (!busy.exchange(true, std::memory_order_acquire)) {
    TakeOwned();
    busy.store(false, std::memory_order_release);
  }
  os::RestoreSignals(mask);
}

void TakeControlSavingVectors() {
  (void)uzswap_call_saving_vectors(&Take, nullptr);
}

void StartControl() {
  if (SharedReport() == nullptr) return;
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  control_newest = reinterpret_cast<const std::atomic<uint32_t>*>(
      &SharedReport()->control.sequence);
  ListCompressors();
  TakeControl();
}

void ForkControl() {
  busy.store(false, std::memory_order_relaxed);
  if (OwnRecord() == nullptr) return;
  for (unsigned i = 0; i < UZSWAP_PARAMETERS; ++i) {
    Acknowledge(i, taken[i], 0);
  }
  ListCompressors();
  PublishValues();
  std::atomic_ref(OwnRecord()->seen)
      .store(control_seen.load(), std::memory_order_release);
}

}  // namespace uzswap::preload
