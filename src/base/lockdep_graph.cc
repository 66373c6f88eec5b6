// SPDX-License-Identifier: Apache-2.0
// The graph is a matrix of bits (after[a] has bit b: b was taken under a), so
// that an edge seen before costs one load, and a table of the edges for
// reports.
#include "base/lockdep_graph.h"

#ifdef UZSWAP_DEBUG

#include "base/os.h"

namespace uzswap::lockdep {

constinit LockClass reclaim_class{"reclaim"};
constinit LockClass fault_class{"fault"};

namespace graph {
namespace {

constexpr int kWords = kMaxClasses / 64;

struct Row {
  std::atomic<uint64_t> words[kWords] = {};

  bool Has(int id) const {
    return (words[id / 64].load(std::memory_order_acquire) >> (id % 64) & 1) !=
           0;
  }
  void Set(int id) {
    words[id / 64].fetch_or(uint64_t{1} << (id % 64),
                            std::memory_order_release);
  }
};

struct NumberedEdge {
  int from;
  int to;
  Edge edge;
};

// The counts, the tables and additions to after are guarded by graph_lock;
// after is also read without it, and only ever grows.
constinit std::atomic<bool> graph_lock{false};
constinit int class_count = 0;
constinit LockClass* classes[kMaxClasses] = {};
constinit Row after[kMaxClasses] = {};
constinit int edge_count = 0;
constinit NumberedEdge edges[kMaxEdges] = {};
// Of one search; here because a signal stack is small.
constinit bool seen[kMaxClasses] = {};
constinit uint8_t queue[kMaxClasses] = {};
constinit uint8_t came_from[kMaxClasses] = {};

// Not a Mutex: it would report to us.
class GraphLock {
 public:
  GraphLock() {
    while (graph_lock.exchange(true, std::memory_order_acquire)) os::Yield();
  }
  ~GraphLock() { graph_lock.store(false, std::memory_order_release); }
};

// Breadth-first search; came_from leads back from `to` to `from`.
bool Search(int from, int to) {
  for (bool& flag : seen) flag = false;
  int head = 0;
  int tail = 0;
  queue[tail++] = static_cast<uint8_t>(from);
  seen[from] = true;
  while (head < tail) {
    const int at = queue[head++];
    for (int next = 0; next < class_count; ++next) {
      if (seen[next] || !after[at].Has(next)) continue;
      seen[next] = true;
      came_from[next] = static_cast<uint8_t>(at);
      if (next == to) return true;
      queue[tail++] = static_cast<uint8_t>(next);
    }
  }
  return false;
}

void FillPath(int from, int to, Path& path) {
  int length = 1;
  for (int at = to; at != from; at = came_from[at]) ++length;
  path.length = length;
  for (int at = to; at != from; at = came_from[at]) {
    path.ids[--length] = static_cast<uint8_t>(at);
  }
  path.ids[0] = static_cast<uint8_t>(from);
}

}  // namespace

int IdOf(LockClass& lock_class) {
  int id = lock_class.id.load(std::memory_order_acquire);
  if (id >= 0) return id;
  GraphLock lock;
  id = lock_class.id.load(std::memory_order_relaxed);
  if (id >= 0 || class_count == kMaxClasses) return id;
  id = class_count++;
  classes[id] = &lock_class;
  lock_class.id.store(id, std::memory_order_release);
  return id;
}

LockClass& ClassOf(int id) { return *classes[id]; }

Added Add(const HeldLock& outer, const HeldLock& inner, Path& path) {
  const int from = IdOf(*outer.lock_class);
  const int to = IdOf(*inner.lock_class);
  if (from < 0 || to < 0 || after[from].Has(to)) return Added::kOk;
  GraphLock lock;
  if (after[from].Has(to)) return Added::kOk;
  if (Search(to, from)) {
    FillPath(to, from, path);
    return Added::kCycle;
  }
  if (edge_count == kMaxEdges) return Added::kFull;
  edges[edge_count++] = {
      .from = from, .to = to, .edge = {.outer = outer, .inner = inner}};
  after[from].Set(to);
  return Added::kOk;
}

bool Find(const LockClass& outer, const LockClass& inner, Edge* edge) {
  const int from = outer.id.load(std::memory_order_acquire);
  const int to = inner.id.load(std::memory_order_acquire);
  if (from < 0 || to < 0 || !after[from].Has(to)) return false;
  if (edge == nullptr) return true;
  GraphLock lock;
  for (int i = 0; i < edge_count; ++i) {
    if (edges[i].from == from && edges[i].to == to) *edge = edges[i].edge;
  }
  return true;
}

// Another thread of the parent may have been inside.
void ResetLock() { graph_lock.store(false, std::memory_order_relaxed); }

}  // namespace graph
}  // namespace uzswap::lockdep

#endif  // UZSWAP_DEBUG
