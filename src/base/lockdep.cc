// SPDX-License-Identifier: Apache-2.0
// The order graph is a matrix of bits: after[a] has bit b when a lock of class
// b was once taken while one of class a was held. It never has a cycle: an edge
// that would close one is reported instead of being added.
#include "base/lockdep.h"

#ifdef UZSWAP_DEBUG

#include "base/os.h"

// The linker's name for where this program or library is loaded; code addresses
// are printed relative to it, as addr2line wants them.
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start[];

namespace uzswap::lockdep {
namespace {

struct HeldLock {
  LockClass* lock_class;
  const void* lock;
  const void* site;  // code address that took it
};

// Where the two locks of an edge were taken when it was first seen.
struct Edge {
  const void* outer_site;
  const void* inner_site;
};

// classes, edges and additions to after are guarded by graph_lock; class_count
// and after are also read without it, and only ever grow.
constinit std::atomic<bool> graph_lock{false};
constinit std::atomic<int> class_count{0};
constinit LockClass* classes[kMaxClasses] = {};
constinit std::atomic<uint64_t> after[kMaxClasses] = {};
constinit Edge edges[kMaxClasses][kMaxClasses] = {};

// Locks held by this thread, in the order in which they were taken.
constinit __thread HeldLock held[kMaxHeld] = {};
constinit __thread int held_count = 0;

constexpr uint64_t Bit(int id) { return uint64_t{1} << id; }

// Not a Mutex: it would report to us.
class GraphLock {
 public:
  GraphLock() {
    while (graph_lock.exchange(true, std::memory_order_acquire)) os::Yield();
  }
  ~GraphLock() { graph_lock.store(false, std::memory_order_release); }
};

uint64_t Offset(const void* site) {
  return reinterpret_cast<uintptr_t>(site) -
         reinterpret_cast<uintptr_t>(__ehdr_start);
}

// " -> "-separated names of what this thread holds.
void AppendHeld(Line& line) {
  if (held_count == 0) line << "nothing";
  for (int i = 0; i < held_count; ++i) {
    if (i > 0) line << " -> ";
    line << held[i].lock_class->name;
  }
}

void LogHeldSites() {
  for (int i = 0; i < held_count; ++i) {
    Line line;
    line << "  held: " << held[i].lock_class->name << ", taken at +";
    Log(line.Hex(Offset(held[i].site)));
  }
}

// Details first, the sentence last: it is what the death hook receives.
[[noreturn]] void Report(Line& line) {
  line << "; held: ";
  AppendHeld(line);
  LogHeldSites();
  Die(line);
}

[[noreturn]] void ReportUse(const char* what, const LockClass& lock_class) {
  Line line;
  line << "lockdep: " << what << ": " << lock_class.name;
  Report(line);
}

int IdOf(LockClass& lock_class) {
  int id = lock_class.id.load(std::memory_order_acquire);
  if (id >= 0) return id;
  bool full = false;
  {
    GraphLock lock;
    id = lock_class.id.load(std::memory_order_relaxed);
    if (id >= 0) return id;
    id = class_count.load(std::memory_order_relaxed);
    full = id == kMaxClasses;
    if (!full) {
      classes[id] = &lock_class;
      class_count.store(id + 1, std::memory_order_relaxed);
      lock_class.id.store(id, std::memory_order_release);
    }
  }
  if (full) ReportUse("too many lock classes", lock_class);
  return id;
}

// Breadth-first search from `from`. True if `to` can be reached; then came_from
// leads back from `to` to `from`.
bool FindPath(int from, int to, int (&came_from)[kMaxClasses]) {
  uint64_t seen = Bit(from);
  int queue[kMaxClasses];
  int head = 0;
  int tail = 0;
  queue[tail++] = from;
  while (head < tail) {
    const int at = queue[head++];
    uint64_t fresh = after[at].load(std::memory_order_relaxed) & ~seen;
    seen |= fresh;
    for (; fresh != 0; fresh &= fresh - 1) {
      const int next = __builtin_ctzll(fresh);
      came_from[next] = at;
      if (next == to) return true;
      queue[tail++] = next;
    }
  }
  return false;
}

// The recorded chain runs from wanted to outer; taking wanted under outer now
// would close it to a ring.
[[noreturn]] void ReportInversion(int outer, int wanted, const void* site,
                                  const int (&came_from)[kMaxClasses]) {
  int path[kMaxClasses];
  int length = 0;
  for (int at = outer; at != wanted; at = came_from[at]) path[length++] = at;
  path[length++] = wanted;

  Line line;
  line << "lockdep: lock order inversion: taking " << classes[wanted]->name
       << " under " << classes[outer]->name << "; recorded before: ";
  for (int i = length - 1; i >= 0; --i) {
    line << classes[path[i]]->name << (i > 0 ? " -> " : "");
  }
  for (int i = length - 1; i > 0; --i) {
    const Edge& edge = edges[path[i]][path[i - 1]];
    Line detail;
    detail << "  before: " << classes[path[i]]->name << ", taken at +";
    detail.Hex(Offset(edge.outer_site));
    detail << ", then " << classes[path[i - 1]]->name << " at +";
    Log(detail.Hex(Offset(edge.inner_site)));
  }
  Line now;
  now << "  now: " << classes[wanted]->name << ", wanted at +";
  Log(now.Hex(Offset(site)));
  Report(line);
}

void AddEdge(const HeldLock& outer, int inner, const void* site) {
  const int from = IdOf(*outer.lock_class);
  if ((after[from].load(std::memory_order_acquire) & Bit(inner)) != 0) return;
  int came_from[kMaxClasses];
  bool cycle = false;
  {
    GraphLock lock;
    cycle = FindPath(inner, from, came_from);
    if (!cycle) {
      edges[from][inner] = {.outer_site = outer.site, .inner_site = site};
      after[from].fetch_or(Bit(inner), std::memory_order_release);
    }
  }
  if (cycle) ReportInversion(from, inner, site, came_from);
}

void Push(LockClass& lock_class, const void* lock, const void* site) {
  if (held_count == kMaxHeld) {
    ReportUse("too many locks held by one thread when taking", lock_class);
  }
  held[held_count++] = {.lock_class = &lock_class, .lock = lock, .site = site};
}

void AcquireAt(LockClass& lock_class, const void* lock, const void* site) {
  for (int i = 0; i < held_count; ++i) {
    if (held[i].lock == lock) {
      ReportUse("lock taken again by its holder", lock_class);
    }
    if (held[i].lock_class == &lock_class) {
      ReportUse("two locks of one class", lock_class);
    }
  }
  const int id = IdOf(lock_class);
  for (int i = 0; i < held_count; ++i) AddEdge(held[i], id, site);
  Push(lock_class, lock, site);
}

}  // namespace

// Shared and exclusive make no difference to the order: a waiting writer stops
// new readers, so a reader can wait for a reader.
void Acquire(LockClass& lock_class, const void* lock) {
  AcquireAt(lock_class, lock, __builtin_return_address(0));
}

void AcquireShared(LockClass& lock_class, const void* lock) {
  AcquireAt(lock_class, lock, __builtin_return_address(0));
}

void AcquireTry(LockClass& lock_class, const void* lock) {
  IdOf(lock_class);
  Push(lock_class, lock, __builtin_return_address(0));
}

void Release(LockClass& lock_class, const void* lock) {
  int i = held_count - 1;
  while (i >= 0 && held[i].lock != lock) --i;
  if (i < 0) ReportUse("lock released by a thread without it", lock_class);
  for (; i + 1 < held_count; ++i) held[i] = held[i + 1];
  --held_count;
}

void MightFault() {
  if (held_count == 0) return;
  Line line;
  line << "lockdep: a managed page is touched under a lock";
  Report(line);
}

int HeldCount() { return held_count; }

void ResetThread() {
  held_count = 0;
  // Another thread of the parent may have been inside the graph.
  graph_lock.store(false, std::memory_order_relaxed);
}

}  // namespace uzswap::lockdep

#endif  // UZSWAP_DEBUG
