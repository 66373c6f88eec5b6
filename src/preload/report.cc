// SPDX-License-Identifier: Apache-2.0
#include "preload/report.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/lockdep.h"
#include "base/os.h"
#include "preload/arguments.h"

namespace uzswap::preload {
namespace {

constinit uzswap_report* report = nullptr;
constinit uzswap_record* record = nullptr;
constinit std::atomic<uint32_t> events{0};
constinit std::atomic<uint64_t> patched{0}, dispatched_calls{0}, unlisted{0};
constinit int owner = 0;

constexpr uint32_t kEventsBetween = 256;
// About 50 ms: what a process has is known when it is killed, or waits.
constexpr uint64_t kCyclesBetween = 150'000'000;
constinit std::atomic<uint64_t> published{0};  // cycles

void Copy(char* to, size_t capacity, const char* from) {
  size_t n = 0;
  for (; n + 1 < capacity && from[n] != '\0'; ++n) to[n] = from[n];
  to[n] = '\0';
}

void Take(bool forked) {
  record = nullptr;
  owner = os::ProcessId();
  if (report == nullptr) return;
  const uint32_t index =
      std::atomic_ref(report->next).fetch_add(1, std::memory_order_relaxed);
  if (index >= UZSWAP_REPORT_RECORDS) return;
  record = &report->record[index];
  record->pid = owner;
  record->parent = static_cast<int32_t>(os::Syscall(SYS_getppid));
  record->forked = forked ? 1 : 0;
  std::atomic_ref(record->state)
      .store(UZSWAP_RECORD_LIVE, std::memory_order_release);
}

}  // namespace

void OpenReport(const char* path, const char* program) {
  if (path != nullptr) {
    const Result<int> fd = os::Open(path, O_RDWR, 0);
    if (fd.ok()) {
      const int64_t r =
          os::Syscall(SYS_mmap, 0, PageCeil(sizeof(uzswap_report)),
                      PROT_READ | PROT_WRITE, MAP_SHARED, fd.value(), 0);
      os::Close(fd.value());
      if (r > 0) report = reinterpret_cast<uzswap_report*>(r);
    } else if (fd.status().error() == EACCES || fd.status().error() == EPERM) {
      Line line;
      line
          << program << " (" << os::ProcessId()
          << ") may not reach the run that it belongs to, since it has another "
             "user or user namespace: it has a limit of its own, as large, and "
             "is in no summary";
      Log(line);
    }
    if (report != nullptr && (report->magic != UZSWAP_REPORT_MAGIC ||
                              report->record_bytes != sizeof(uzswap_record))) {
      report = nullptr;
    }
  }
  Take(/*forked=*/false);
  if (record != nullptr) {
    Copy(record->program, sizeof(record->program), program);
  }
}

void ForkReport() {
  const uzswap_record* parent = record;
  const uint32_t sites[2] = {parent != nullptr ? parent->sites_known : 0,
                             parent != nullptr ? parent->sites_patched : 0};
  patched = dispatched_calls = unlisted = 0;
  Take(/*forked=*/true);
  if (record == nullptr) return;
  if (parent != nullptr) {
    Copy(record->program, sizeof(record->program), parent->program);
  }
  ReportSites(sites[0], sites[1]);
}

uzswap_report* SharedReport() { return report; }
uzswap_record* OwnRecord() { return record; }

bool OwnsReport() { return os::ProcessId() == owner; }

void PublishReport(uzswap_record_state state) {
  if (record == nullptr) return;
  uzswap_get_stats(&record->stats);
  record->calls_patched = patched.load(std::memory_order_relaxed);
  record->calls_dispatched = dispatched_calls.load(std::memory_order_relaxed);
  record->calls_unlisted = unlisted.load(std::memory_order_relaxed);
  record->most_locks = static_cast<uint32_t>(lockdep::MostHeld());
  std::atomic_ref(record->state).store(state, std::memory_order_release);
}

void PublishNowAndThen() {
  const uint64_t now = os::Cycles();
  if (events.fetch_add(1, std::memory_order_relaxed) % kEventsBetween == 0 ||
      now - published.load(std::memory_order_relaxed) > kCyclesBetween) {
    published.store(now, std::memory_order_relaxed);
    PublishReport(UZSWAP_RECORD_LIVE);
    uzswap_run_work();
    SetPinLimit(uzswap_memory_granted());
  }
}

void ReportFailure(const char* why) {
  if (record == nullptr) return;
  Copy(record->why, sizeof(record->why), why);
  std::atomic_ref(record->state)
      .store(UZSWAP_RECORD_FAILED, std::memory_order_release);
}

void ReportSites(uint32_t known, uint32_t patched_sites) {
  if (record == nullptr) return;
  record->sites_known = known;
  record->sites_patched = patched_sites;
}

void CountCall(bool dispatched) {
  auto& counter = dispatched ? dispatched_calls : patched;
  counter.store(counter.load(std::memory_order_relaxed) + 1,
                std::memory_order_relaxed);
}

void CountUnlisted() { unlisted.fetch_add(1, std::memory_order_relaxed); }

}  // namespace uzswap::preload
