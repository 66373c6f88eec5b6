// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share.
#ifndef UZSWAP_DEVICE_DEVICE_TEST_SUPPORT_H_
#define UZSWAP_DEVICE_DEVICE_TEST_SUPPORT_H_

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/page.h"

namespace uzswap {

using PageBuffer = std::array<std::byte, kPageSize>;

inline PageBuffer Pattern(uint64_t seed) {
  PageBuffer page;
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < kPageSize; i += 8) {
    const uint64_t word = random();
    memcpy(&page[i], &word, 8);
  }
  return page;
}

class TempDirectory {
 public:
  TempDirectory() {
    char name[] = "/tmp/uzswap-device-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~TempDirectory() {
    for (const std::string& entry : Entries()) {
      unlink((path_ + "/" + entry).c_str());
    }
    rmdir(path_.c_str());
  }
  const char* path() const { return path_.c_str(); }
  std::string File(const char* name) const { return path_ + "/" + name; }
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    DIR* directory = opendir(path_.c_str());
    while (const dirent* entry = readdir(directory)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    closedir(directory);
    return names;
  }

 private:
  std::string path_;
};

inline bool Succeeded(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_DEVICE_TEST_SUPPORT_H_
