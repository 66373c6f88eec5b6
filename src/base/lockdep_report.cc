// SPDX-License-Identifier: Apache-2.0
// Reports, laid out so that whoever reads lockdep's in the kernel can read
// ours. They are built in one static buffer, by one thread at a time.
#include <string.h>

#include "base/lockdep_graph.h"

#ifdef UZSWAP_DEBUG

#include "base/os.h"

namespace uzswap::lockdep {
namespace {

constexpr size_t kTextSize = 32 * 1024;
constexpr char kRule[] =
    "======================================================";
constexpr char kThinRule[] =
    "------------------------------------------------------";

constinit std::atomic<bool> report_lock{false};
constinit __thread bool reporting = false;
constinit std::atomic<ReportHandler> report_handler{nullptr};
// Guarded by report_lock. text always ends in a null byte.
constinit char text[kTextSize] = {};
constinit size_t text_size = 0;

void Put(Line& line) {
  const size_t room = kTextSize - 2 - text_size;
  const size_t size = line.size() < room ? line.size() : room;
  memcpy(text + text_size, line.c_str(), size);
  text_size += size;
  if (room > 0) text[text_size++] = '\n';
  text[text_size] = '\0';
}

void Put(const char* words = "") { Put(Line() << words); }

// From the first line of a report to the return of its handler.
class ReportScope {
 public:
  explicit ReportScope(const char* title) {
    while (report_lock.exchange(true, std::memory_order_acquire)) os::Yield();
    reporting = true;
    text_size = 0;
    Put(kRule);
    Put(title);
    Put(kThinRule);
  }
  ~ReportScope() {
    reporting = false;
    report_lock.store(false, std::memory_order_release);
  }
  ReportScope(const ReportScope&) = delete;
  ReportScope& operator=(const ReportScope&) = delete;

  void Deliver(Line& summary) {
    const Report report{.summary = summary.c_str(), .text = text};
    const ReportHandler handler =
        report_handler.load(std::memory_order_acquire);
    if (handler != nullptr) return handler(report);
    os::WriteAll(2, text, text_size);
    Die(summary);
  }
};

char Mark(const LockClass& context, const LockClass& lock_class) {
  if (graph::Find(context, lock_class, nullptr)) return '-';
  return graph::Find(lock_class, context, nullptr) ? '+' : '.';
}

void AppendClass(Line& line, const LockClass& lock_class) {
  const char marks[] = {'{', Mark(fault_class, lock_class),
                        Mark(reclaim_class, lock_class), '}', '\0'};
  line << "(" << lock_class.name << ")" << marks;
}

void AppendSite(Line& line, const Site& site) {
  line << site.file << ":" << site.line << " " << site.function
       << ", called from +";
  line.Hex(CodeOffset(site.caller));
}

// What would be called to take it: the verb of a scenario.
const char* Verb(const HeldLock& held) {
  switch (held.mode) {
    case Mode::kShared:
      return "rlock(";
    case Mode::kTry:
      return "trylock(";
    case Mode::kExclusive:
    case Mode::kPseudo:
      break;
  }
  return "lock(";
}

void PutHeld(const HeldLocks& held) {
  const int n = held.Count();
  Put(Line() << n << (n == 1 ? " lock" : " locks") << " held by thread "
             << os::ThreadId() << ":");
  for (int i = 0; i < n; ++i) {
    Line line;
    line << " #" << i << ": ";
    Describe(line, held.entries[i].Get());
    Put(line);
  }
}

// " -> "-separated names of what this thread holds.
void AppendHeld(Line& line, const HeldLocks& held) {
  line << "; held: ";
  if (held.Count() == 0) line << "nothing";
  for (int i = 0; i < held.Count(); ++i) {
    if (i > 0) line << " -> ";
    line << held.entries[i].Get().lock_class->name;
  }
}

void PutWanted(Line& words, const HeldLock& wanted) {
  Put(words);
  Line line;
  Describe(line, wanted);
  Put(line);
  Put();
}

// One step of a chain: `inner` was taken while `outer` was held.
void PutStep(int number, const HeldLock& outer, const HeldLock& inner) {
  Line head;
  head << "-> #" << number << " ";
  AppendClass(head, *inner.lock_class);
  Put(head << ":");
  Line at;
  AppendSite(at << "       ", inner.site);
  Put(at);
  Line under;
  under << "       under (" << outer.lock_class->name << "), taken at ";
  AppendSite(under, outer.site);
  Put(under);
  Put();
}

void PutChain(const HeldLock& wanted, const HeldLock& outer, const Path& path) {
  Put("the existing dependency chain (in reverse order) is:");
  Put();
  for (int i = path.length - 1; i > 0; --i) {
    Edge edge;
    if (graph::Find(graph::ClassOf(path.ids[i - 1]),
                    graph::ClassOf(path.ids[i]), &edge)) {
      PutStep(i, edge.outer, edge.inner);
    }
  }
  PutStep(0, outer, wanted);
}

void PutScenarioLine(bool right, const char* verb, const LockClass& lock) {
  const char* indent = right ? "                               " : "  ";
  Put(Line() << indent << verb << lock.name << ");");
}

// The thread at hand on the left; on the right the one that would deadlock it.
void PutScenario(const HeldLock& wanted, const HeldLock& outer,
                 const Path& path) {
  Edge last;
  graph::Find(graph::ClassOf(path.ids[path.length - 2]), *outer.lock_class,
              &last);
  Put(" Possible unsafe locking scenario:");
  Put();
  Put("       thread 0                thread 1");
  Put("       --------                --------");
  PutScenarioLine(false, Verb(outer), *outer.lock_class);
  PutScenarioLine(true, Verb(last.outer), *last.outer.lock_class);
  PutScenarioLine(true, Verb(last.inner), *last.inner.lock_class);
  PutScenarioLine(false, Verb(wanted), *wanted.lock_class);
  Put();
  Put(" *** DEADLOCK ***");
  Put();
}

void PutBacktrace(const HeldLock& wanted) {
  Put();
  Put("stack backtrace:");
  Line line;
  AppendSite(line << " ", wanted.site);
  Put(line);
}

bool InPath(const Path& path, const LockClass& lock_class) {
  for (int i = 0; i < path.length; ++i) {
    if (&graph::ClassOf(path.ids[i]) == &lock_class) return true;
  }
  return false;
}

}  // namespace

void Describe(Line& line, const HeldLock& held) {
  if (held.lock != nullptr) {
    line.Hex(reinterpret_cast<uintptr_t>(held.lock));
    line << " ";
  }
  AppendClass(line, *held.lock_class);
  if (held.mode == Mode::kShared) line << " shared";
  if (held.mode == Mode::kTry) line << " by trylock";
  AppendSite(line << ", at: ", held.site);
}

void ReportCycle(const HeldLocks& held, const HeldLock& wanted,
                 const HeldLock& outer, const Path& path) {
  const bool fault = InPath(path, fault_class);
  ReportScope scope(
      fault ? "WARNING: possible fault lock inversion dependency detected"
            : "WARNING: possible circular locking dependency detected");
  PutWanted(
      Line() << "thread " << os::ThreadId() << " is trying to acquire lock:",
      wanted);
  PutWanted(Line() << "but it is already holding lock:", outer);
  Put("which lock already depends on the new lock.");
  Put();
  PutChain(wanted, outer, path);
  Put("other info that might help us debug this:");
  Put();
  Put("Chain exists of:");
  Line chain;
  Line summary;
  summary << "lockdep: lock order inversion: taking " << wanted.lock_class->name
          << " under " << outer.lock_class->name << "; recorded before: ";
  chain << "  ";
  for (int i = 0; i < path.length; ++i) {
    chain << (i > 0 ? " --> " : "") << graph::ClassOf(path.ids[i]).name;
    summary << (i > 0 ? " -> " : "") << graph::ClassOf(path.ids[i]).name;
  }
  Put(chain);
  Put();
  PutScenario(wanted, outer, path);
  PutHeld(held);
  PutBacktrace(wanted);
  AppendHeld(summary, held);
  scope.Deliver(summary);
}

void ReportRecursion(const HeldLocks& held, const HeldLock& wanted,
                     const HeldLock& first, const char* what) {
  ReportScope scope("WARNING: possible recursive locking detected");
  PutWanted(
      Line() << "thread " << os::ThreadId() << " is trying to acquire lock:",
      wanted);
  PutWanted(Line() << "but it is already holding lock:", first);
  Put("other info that might help us debug this:");
  Put();
  Put(" Possible unsafe locking scenario:");
  Put();
  Put("       thread 0");
  Put("       --------");
  PutScenarioLine(false, Verb(first), *first.lock_class);
  PutScenarioLine(false, Verb(wanted), *wanted.lock_class);
  Put();
  Put(" *** DEADLOCK ***");
  Put();
  PutHeld(held);
  PutBacktrace(wanted);
  Line summary;
  summary << "lockdep: " << what << ": " << wanted.lock_class->name;
  AppendHeld(summary, held);
  scope.Deliver(summary);
}

void ReportUse(const HeldLocks& held, const HeldLock& wanted, const char* title,
               const char* what) {
  ReportScope scope(title);
  PutWanted(Line() << what, wanted);
  PutHeld(held);
  PutBacktrace(wanted);
  Line summary;
  summary << "lockdep: " << what << ": " << wanted.lock_class->name;
  AppendHeld(summary, held);
  scope.Deliver(summary);
}

bool Reporting() { return reporting; }

void ResetReports() {
  reporting = false;
  report_lock.store(false, std::memory_order_relaxed);
}

ReportHandler SetReportHandler(ReportHandler handler) {
  return report_handler.exchange(handler, std::memory_order_acq_rel);
}

}  // namespace uzswap::lockdep

#endif  // UZSWAP_DEBUG
