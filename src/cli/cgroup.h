// SPDX-License-Identifier: Apache-2.0
// Which cgroups this process is in, as far as it can see them, and the memory
// that they leave it: `--memory auto`. All paths are below a root that is empty
// but in tests. Read anew each time, since all of it can change: limits, and
// the cgroup itself. Throws nothing but bad_alloc.
#ifndef UZSWAP_CLI_CGROUP_H_
#define UZSWAP_CLI_CGROUP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/fail.h"

namespace uzswap::cli {

enum class CgroupVersion { kV1Memory, kV2 };

// The directories of the own cgroup and of all above it, own first, up to the
// mount point; empty where that hierarchy is not mounted or not ours. In a
// container the file system may begin at the own cgroup, and /proc/self/cgroup
// may name a path from outside: then what is mounted is the own one.
std::vector<std::string> CgroupDirectories(const std::string& root,
                                           CgroupVersion version);

// A limit, and the file that sets it.
struct CgroupLimit {
  uint64_t bytes = 0;
  std::string file;
};

// The least of memory.max, memory.high, memory.limit_in_bytes of those, and of
// v1's hierarchical_memory_limit, which tells of cgroups that cannot be seen.
// Nothing: no limit anywhere.
std::optional<CgroupLimit> LeastCgroupLimit(const std::string& root);

// What of a limit is not given to the program's anonymous memory. The cgroup is
// charged besides for page tables (1/512 of what is mapped at least), kernel
// stacks, sockets, the page cache of program texts and of the backing file, and
// the supervisor. Too little here and the OOM killer comes, or the page cache
// thrashes: an eighth, at least 32 MiB (docs/design.md says what was measured).
uint64_t MemoryToSpare(uint64_t limit);

// The limit of a run that shall fit into its cgroup, which it has for itself.
class AutoMemory {
 public:
  explicit AutoMemory(std::string root = "");

  // Fails with a sentence that begins with "--memory auto: ".
  Check Find();
  // Looks again. True: Limit() is another than before. A limit that is gone
  // leaves that of the machine; one that is too small, kMinimumMemory.
  // REQUIRES: Find succeeded.
  bool Changed();
  // Bytes, whole pages.
  uint64_t Limit() const { return limit_; }

 private:
  // Of the machine; 0: not known.
  uint64_t MemTotal() const;

  const std::string root_;
  uint64_t limit_ = 0;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CGROUP_H_
