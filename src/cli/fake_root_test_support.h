// SPDX-License-Identifier: Apache-2.0
// A directory that plays "/" for what reads /proc and /sys.
#ifndef UZSWAP_CLI_FAKE_ROOT_TEST_SUPPORT_H_
#define UZSWAP_CLI_FAKE_ROOT_TEST_SUPPORT_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace uzswap::cli {

class FakeRoot : public testing::Test {
 protected:
  FakeRoot() {
    char name[] = "/tmp/uzswap-root-XXXXXX";
    root_ = mkdtemp(name);
  }
  ~FakeRoot() override { std::filesystem::remove_all(root_); }

  // Parents are made.
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_ + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
  }
  void Remove(const std::string& path) {
    std::filesystem::remove_all(root_ + path);
  }

  // v2 alone, mounted whole, this process in `path`.
  void UseV2(const std::string& path) {
    Write("/proc/self/cgroup", "0::" + path + "\n");
    Write("/proc/self/mountinfo",
          "22 1 0:21 / /proc rw - proc proc rw\n"
          "30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 "
          "rw,nsdelegate\n");
    Write("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 5 kB\n");
    std::filesystem::create_directories(root_ + "/sys/fs/cgroup" + path);
  }
  // v1 with v2 beside it for systemd, as on hybrid systems.
  void UseV1(const std::string& path) {
    Write("/proc/self/cgroup", "4:cpu,cpuacct:/\n3:memory:" + path +
                                   "\n1:name=systemd:/x\n0::/unified\n");
    Write("/proc/self/mountinfo",
          "31 30 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
          "32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup "
          "rw,cpu,cpuacct\n"
          "33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
          "34 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    Write("/proc/meminfo", "MemTotal:       16777216 kB\n");
    std::filesystem::create_directories(root_ + "/sys/fs/cgroup/memory" + path);
    Write("/sys/fs/cgroup/unified/unified/cgroup.procs", "");
  }

  std::string root_;
};

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_FAKE_ROOT_TEST_SUPPORT_H_
