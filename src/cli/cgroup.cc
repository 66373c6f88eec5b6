// SPDX-License-Identifier: Apache-2.0
#include "cli/cgroup.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include "cli/options.h"
#include "cli/size.h"

namespace uzswap::cli {
namespace {

// v1 shows "no limit" as the largest number of whole pages.
constexpr uint64_t kNoLimit = uint64_t{1} << 62;
constexpr uint64_t kLeastToSpare = uint64_t{32} << 20;

bool HasWord(std::string_view list, std::string_view word) {
  const std::string padded = "," + std::string(list) + ",";
  return padded.find("," + std::string(word) + ",") != std::string::npos;
}

bool IsDirectory(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Of /proc/self/cgroup, lines "NUMBER:CONTROLLERS:PATH".
std::optional<std::string> OwnPath(const std::string& root,
                                   CgroupVersion version) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool ours = version == CgroupVersion::kV2
                          ? controllers.empty()
                          : HasWord(controllers, "memory");
    if (ours) return line.substr(second + 1);
  }
  return std::nullopt;
}

// "\040" and the like, as the kernel writes blanks and backslashes.
std::string Unescape(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    int code = 0;
    const char* const at = text.data() + i + 1;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(at, at + 3, code, 8).ptr == at + 3) {
      plain += static_cast<char>(code);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Mount {
  std::string root;  // the cgroup that the mount point shows
  std::string point;
};

// Of /proc/self/mountinfo: "id parent dev ROOT POINT options ... - TYPE source
// SUPER".
std::vector<Mount> Mounts(const std::string& root, CgroupVersion version) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream before(line.substr(0, dash));
    std::istringstream after(line.substr(dash + 3));
    std::string skipped, type, source, super;
    Mount mount;
    before >> skipped >> skipped >> skipped >> mount.root >> mount.point;
    after >> type >> source >> super;
    const bool ours = version == CgroupVersion::kV2
                          ? type == "cgroup2"
                          : type == "cgroup" && HasWord(super, "memory");
    if (!ours) continue;
    mounts.push_back({Unescape(mount.root), root + Unescape(mount.point)});
  }
  return mounts;
}

// `path` relative to `top`, "" or "/..."; nothing if it is not below it.
std::optional<std::string> Below(const std::string& top,
                                 const std::string& path) {
  const std::string prefix = top == "/" ? "" : top;
  if (!path.starts_with(prefix)) return std::nullopt;
  std::string rest = path.substr(prefix.size());
  if (rest == "/") rest.clear();
  if (!rest.empty() && rest[0] != '/') return std::nullopt;
  // From outside of the own namespace.
  if (rest == "/.." || rest.starts_with("/../")) return std::nullopt;
  return rest;
}

std::optional<std::string> FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

// "max", what is no number and what is no limit: nothing.
std::optional<uint64_t> LimitOf(std::string_view text) {
  uint64_t bytes = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, bytes);
  if (error != std::errc() || rest != end || bytes >= kNoLimit) {
    return std::nullopt;
  }
  return bytes;
}

// The number behind "NAME " in a file of such lines.
std::optional<uint64_t> Field(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  std::string word;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string value;
    if (words >> word >> value && word == name) return LimitOf(value);
  }
  return std::nullopt;
}

void Take(std::optional<uint64_t> bytes, const std::string& file,
          std::optional<CgroupLimit>* least) {
  if (!bytes || (*least && (*least)->bytes <= *bytes)) return;
  *least = CgroupLimit{*bytes, file};
}

uint64_t Usable(uint64_t limit) {
  const uint64_t spare = MemoryToSpare(limit);
  return limit > spare ? (limit - spare) & ~uint64_t{4095} : 0;
}

constexpr char kPrefix[] = "--memory auto: ";
constexpr char kInstead[] = "; give --memory SIZE";

}  // namespace

std::vector<std::string> CgroupDirectories(const std::string& root,
                                           CgroupVersion version) {
  const std::optional<std::string> path = OwnPath(root, version);
  const std::vector<Mount> mounts = Mounts(root, version);
  if (!path || mounts.empty()) return {};
  // Several may show it; the one that shows most of what is above it.
  const Mount* best = nullptr;
  std::string rest;
  for (const Mount& mount : mounts) {
    const std::optional<std::string> below = Below(mount.root, *path);
    if (below && (best == nullptr || below->size() > rest.size())) {
      best = &mount;
      rest = *below;
    }
  }
  if (best == nullptr) best = &mounts.front();
  std::vector<std::string> directories;
  for (;;) {
    const std::string directory = best->point + rest;
    if (IsDirectory(directory)) directories.push_back(directory);
    if (rest.empty()) return directories;
    rest.resize(rest.rfind('/'));
  }
}

std::optional<CgroupLimit> LeastCgroupLimit(const std::string& root) {
  std::optional<CgroupLimit> least;
  const auto take = [&least](const std::string& file) {
    const std::optional<std::string> line = FirstLine(file);
    if (line) Take(LimitOf(*line), file, &least);
  };
  for (const std::string& directory :
       CgroupDirectories(root, CgroupVersion::kV2)) {
    take(directory + "/memory.max");
    take(directory + "/memory.high");
  }
  const std::vector<std::string> v1 =
      CgroupDirectories(root, CgroupVersion::kV1Memory);
  for (const std::string& directory : v1) {
    take(directory + "/memory.limit_in_bytes");
  }
  if (!v1.empty()) {
    const std::string file = v1.front() + "/memory.stat";
    Take(Field(file, "hierarchical_memory_limit"), file, &least);
  }
  return least;
}

uint64_t MemoryToSpare(uint64_t limit) {
  return std::max(limit / 8, kLeastToSpare);
}

AutoMemory::AutoMemory(std::string root) : root_(std::move(root)) {}

uint64_t AutoMemory::MemTotal() const {
  return Field(root_ + "/proc/meminfo", "MemTotal:").value_or(0) * 1024;
}

Check AutoMemory::Find() {
  const std::optional<CgroupLimit> least = LeastCgroupLimit(root_);
  if (!least) {
    const bool seen =
        !CgroupDirectories(root_, CgroupVersion::kV2).empty() ||
        !CgroupDirectories(root_, CgroupVersion::kV1Memory).empty();
    return Failure{std::string(kPrefix) +
                   (seen ? "no cgroup of this process limits its memory"
                         : "the cgroups of this process cannot be seen") +
                   kInstead};
  }
  uint64_t bytes = least->bytes;
  std::string whose = least->file;
  const uint64_t total = MemTotal();
  if (total != 0 && total < bytes) {
    bytes = total;
    whose = "the machine";
  }
  limit_ = Usable(bytes);
  if (limit_ >= kMinimumMemory) return {};
  return Failure{kPrefix + whose + " allows " + FormatSize(bytes) + ", but " +
                 FormatSize(MemoryToSpare(bytes)) +
                 " of it are for the kernel and the page cache and the "
                 "minimum is " +
                 FormatSize(kMinimumMemory) + kInstead};
}

bool AutoMemory::Changed() {
  const std::optional<CgroupLimit> least = LeastCgroupLimit(root_);
  const uint64_t total = MemTotal();
  uint64_t bytes = least ? least->bytes : total;
  if (total != 0) bytes = std::min(bytes, total);
  if (bytes == 0) return false;  // nothing can be read: as it was
  const uint64_t now = std::max(Usable(bytes), kMinimumMemory);
  return std::exchange(limit_, now) != now;
}

}  // namespace uzswap::cli
