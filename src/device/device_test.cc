// SPDX-License-Identifier: Apache-2.0
// What device.h promises, for both devices; then what only files have.
#include "device/device.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/backing_file.h"

namespace uzswap {
namespace {

using PageBuffer = std::array<std::byte, kPageSize>;

PageBuffer Pattern(uint64_t seed) {
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

bool Holds(Device* device, Block block, uint64_t seed) {
  PageBuffer page;
  return device->Read(block, page).ok() && page == Pattern(seed);
}

Block MustWrite(Device* device, uint64_t seed) {
  const Result<Block> block = device->Write(Pattern(seed));
  EXPECT_TRUE(block.ok()) << strerror(block.error());
  return block.ok() ? block.value() : Block{0};
}

// Runs `body` in a child that must return true and not die.
template <typename Body>
pid_t Fork(Device* device, Body body) {
  device->PrepareFork();
  const pid_t child = fork();
  if (child == 0) {
    const Status s = device->ChildAfterFork();
    _exit(body(s) ? 0 : 1);
  }
  device->ParentAfterFork();
  return child;
}

bool Succeeded(pid_t child) {
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

enum class Kind { kMemory, kDirectory, kFile };

class DeviceContract : public testing::TestWithParam<Kind> {
 protected:
  Device* New(PageCount size) {
    Result<Device*> device = Status::Error(EINVAL);
    if (GetParam() == Kind::kMemory) {
      device = NewMemoryDevice(size);
    } else if (GetParam() == Kind::kDirectory) {
      device = NewFileDevice(directory_.path(), size);
    } else {
      const std::string path = directory_.File("swap");
      std::ofstream{path};
      device = NewFileDevice(path.c_str(), size);
    }
    EXPECT_TRUE(device.ok()) << strerror(device.error());
    return device.value();
  }
  TempDirectory directory_;
};

TEST_P(DeviceContract, BlocksKeepTheirPages) {
  Device* device = New(1000);
  std::vector<Block> blocks;
  for (uint64_t i = 0; i < 300; ++i) blocks.push_back(MustWrite(device, i));
  for (uint64_t i = 0; i < 300; ++i) EXPECT_TRUE(Holds(device, blocks[i], i));
  EXPECT_EQ(device->used(), 300u);
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, FullDeviceSaysNoSpaceAndTakesNothing) {
  Device* device = New(10);
  std::vector<Block> blocks;
  for (uint64_t i = 0; i < 10; ++i) blocks.push_back(MustWrite(device, i));
  EXPECT_EQ(device->Write(Pattern(10)).error(), ENOSPC);
  EXPECT_EQ(device->used(), 10u);
  device->Free(blocks[4]);
  const Block again = MustWrite(device, 11);
  EXPECT_EQ(device->Write(Pattern(12)).error(), ENOSPC);
  EXPECT_TRUE(Holds(device, again, 11));
  for (uint64_t i = 0; i < 10; ++i) {
    if (i == 4) continue;
    EXPECT_TRUE(Holds(device, blocks[i], i));
  }
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, RandomUseNeverMixesBlocks) {
  Device* device = New(200);
  std::mt19937 random(1);
  std::map<uint64_t, std::pair<Block, uint64_t>> model;
  for (uint64_t step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) {
      const Result<Block> block = device->Write(Pattern(step));
      ASSERT_EQ(block.ok(), model.size() < 200);
      if (!block.ok()) continue;
      const auto key = static_cast<uint64_t>(block.value());
      ASSERT_FALSE(model.contains(key));
      model[key] = {block.value(), step};
    } else if (!model.empty()) {
      const auto it = std::next(model.begin(), random() % model.size());
      ASSERT_TRUE(Holds(device, it->second.first, it->second.second));
      device->Free(it->second.first);
      model.erase(it);
    }
    ASSERT_EQ(device->used(), model.size());
  }
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, ThreadsDoNotDisturbEachOther) {
  Device* device = New(400);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 500; ++i) {
        const Block a = MustWrite(device, t * 1000000 + i);
        const Block b = MustWrite(device, t * 1000000 + i + 500);
        if (!Holds(device, a, t * 1000000 + i)) ++wrong;
        device->Free(a);
        if (!Holds(device, b, t * 1000000 + i + 500)) ++wrong;
        device->Free(b);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(device->used(), 0u);
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, AfterForkBothReadOldBlocksAndCannotDisturbThem) {
  Device* device = New(100);
  std::vector<Block> old;
  for (uint64_t i = 0; i < 40; ++i) old.push_back(MustWrite(device, i));
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = Fork(device, [&](Status s) {
    // The parent first frees and rewrites everything it can.
    char go;
    if (read(pipes[0], &go, 1) != 1) return false;
    for (uint64_t i = 0; i < 40; ++i) {
      if (!Holds(device, old[i], i)) return false;
    }
    for (const Block block : old) device->Free(block);
    if (s.ok()) {
      for (uint64_t i = 0; i < 60; ++i) {
        const Result<Block> block = device->Write(Pattern(2000 + i));
        if (!block.ok() || !Holds(device, block.value(), 2000 + i)) {
          return false;
        }
      }
    } else if (device->Write(Pattern(1)).error() != ENOSPC) {
      return false;
    }
    device->CheckInvariants();
    return true;
  });
  for (uint64_t i = 0; i < 20; ++i) device->Free(old[i]);
  std::vector<Block> young;
  for (uint64_t i = 0; i < 60; ++i) {
    young.push_back(MustWrite(device, 1000 + i));
  }
  ASSERT_EQ(write(pipes[1], "g", 1), 1);
  EXPECT_TRUE(Succeeded(child));
  for (uint64_t i = 20; i < 40; ++i) EXPECT_TRUE(Holds(device, old[i], i));
  for (uint64_t i = 0; i < 60; ++i) {
    EXPECT_TRUE(Holds(device, young[i], 1000 + i));
  }
  device->CheckInvariants();
  close(pipes[0]);
  close(pipes[1]);
  device->Destroy();
}

INSTANTIATE_TEST_SUITE_P(All, DeviceContract,
                         testing::Values(Kind::kMemory, Kind::kDirectory,
                                         Kind::kFile));

Device* MustOpen(const TempDirectory& directory, PageCount size) {
  const Result<Device*> device = NewFileDevice(directory.path(), size);
  EXPECT_TRUE(device.ok()) << strerror(device.error());
  return device.value();
}

std::vector<int> Descriptors(Device* device) {
  int fds[128];
  const size_t count = device->Descriptors(fds, 128);
  return {fds, fds + count};
}

TEST(FileDevice, LeavesNoNameInTheDirectory) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 10);
  MustWrite(device, 1);
  EXPECT_TRUE(directory.Entries().empty());
  device->Destroy();
  EXPECT_TRUE(directory.Entries().empty());
}

TEST(FileDevice, LeavesNothingWhenKilled) {
  TempDirectory directory;
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    Device* device = MustOpen(directory, 100);
    for (uint64_t i = 0; i < 50; ++i) MustWrite(device, i);
    if (write(pipes[1], "g", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char go;
  ASSERT_EQ(read(pipes[0], &go, 1), 1);
  kill(child, SIGKILL);
  int status;
  waitpid(child, &status, 0);
  EXPECT_TRUE(directory.Entries().empty());
  close(pipes[0]);
  close(pipes[1]);
}

TEST(FileDevice, WithoutTmpfileTheFileIsPrivateAndUnlinkedAtOnce) {
  TempDirectory directory;
  const Result<int> where = backing_file::OpenDirectory(directory.path());
  ASSERT_TRUE(where.ok());
  const Result<int> fd = backing_file::OpenAndUnlink(where.value());
  ASSERT_TRUE(fd.ok()) << strerror(fd.error());
  struct stat about;
  ASSERT_EQ(fstat(fd.value(), &about), 0);
  EXPECT_EQ(about.st_nlink, 0u);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  EXPECT_TRUE(directory.Entries().empty());
  close(fd.value());
  close(where.value());
}

TEST(FileDevice, DescriptorsAreHighAndCloseOnExec) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 10);
  const std::vector<int> fds = Descriptors(device);
  ASSERT_EQ(fds.size(), 2u);
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  for (const int fd : fds) {
    EXPECT_GE(fd, limit.rlim_cur > 1000 ? 900 : 10);
    EXPECT_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  device->Destroy();
  for (const int fd : fds) EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST(FileDevice, LowDescriptorLimitIsServed) {
  TempDirectory directory;
  rlimit old;
  getrlimit(RLIMIT_NOFILE, &old);
  rlimit low = old;
  low.rlim_cur = 64;
  setrlimit(RLIMIT_NOFILE, &low);
  Device* device = MustOpen(directory, 10);
  for (const int fd : Descriptors(device)) {
    EXPECT_GE(fd, 50);
    EXPECT_LT(fd, 64);
  }
  EXPECT_TRUE(Holds(device, MustWrite(device, 1), 1));
  device->Destroy();
  setrlimit(RLIMIT_NOFILE, &old);
}

TEST(FileDevice, OpeningSaysWhatIsWrong) {
  TempDirectory directory;
  EXPECT_EQ(NewFileDevice(directory.File("no").c_str(), 1).error(), ENOENT);
  EXPECT_EQ(NewFileDevice(directory.path(), 0).error(), EINVAL);
  EXPECT_EQ(NewFileDevice("/dev/null", 1).error(), EINVAL);
  const std::string full = directory.File("full");
  std::ofstream(full) << "precious";
  EXPECT_EQ(NewFileDevice(full.c_str(), 1).error(), ENOTEMPTY);
  const std::string pipe_name = directory.File("pipe");
  ASSERT_EQ(mkfifo(pipe_name.c_str(), 0600), 0);
  EXPECT_EQ(NewFileDevice(pipe_name.c_str(), 1).error(), EINVAL);
}

TEST(FileDevice, UnwritableDirectoryIsAccessDenied) {
  TempDirectory directory;
  ASSERT_EQ(chmod(directory.path(), 0555), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && setuid(65534) != 0) _exit(2);
    _exit(NewFileDevice(directory.path(), 1).error() == EACCES ? 0 : 1);
  }
  EXPECT_TRUE(Succeeded(child));
}

TEST(FileDevice, AFileIsNotSharedByTwo) {
  TempDirectory directory;
  const std::string path = directory.File("swap");
  std::ofstream{path};
  const Result<Device*> first = NewFileDevice(path.c_str(), 10);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(NewFileDevice(path.c_str(), 10).error(), EBUSY);
  first.value()->Destroy();
}

TEST(FileDevice, FileSizeLimitIsAFullDeviceNotASignal) {
  TempDirectory directory;
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{3 * kPageSize, 3 * kPageSize};
    setrlimit(RLIMIT_FSIZE, &limit);
    Device* device = MustOpen(directory, 10);
    for (uint64_t i = 0; i < 3; ++i) MustWrite(device, i);
    _exit(device->Write(Pattern(9)).error() == ENOSPC ? 0 : 1);
  }
  EXPECT_TRUE(Succeeded(child));
}

TEST(FileDevice, FileStaysNearItsMostBlocksInUse) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 100000);
  std::vector<Block> queue;
  for (uint64_t i = 0; i < 5000; ++i) {
    queue.push_back(MustWrite(device, i));
    if (queue.size() > 100) {
      device->Free(queue.front());
      queue.erase(queue.begin());
    }
  }
  struct stat about;
  ASSERT_EQ(fstat(Descriptors(device)[1], &about), 0);
  EXPECT_LE(about.st_size, static_cast<off_t>(210 * kPageSize));
  device->Destroy();
}

TEST(FileDevice, FrozenFileIsClosedWithItsLastBlock) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 100);
  const Block a = MustWrite(device, 1);
  const Block b = MustWrite(device, 2);
  EXPECT_TRUE(Succeeded(Fork(device, [&](Status) {
    const bool frozen = Descriptors(device).size() == 3;
    device->Free(a);
    device->Free(b);
    return frozen && Descriptors(device).size() == 2;
  })));
  EXPECT_EQ(Descriptors(device).size(), 3u);
  device->Free(a);
  EXPECT_TRUE(Holds(device, b, 2));
  EXPECT_EQ(Descriptors(device).size(), 3u);
  device->Free(b);
  EXPECT_EQ(Descriptors(device).size(), 2u);
  device->CheckInvariants();
  device->Destroy();
}

TEST(FileDevice, ForkWithoutBlocksOpensNothingInTheParent) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 100);
  const std::vector<int> before = Descriptors(device);
  EXPECT_TRUE(Succeeded(Fork(device, [&](Status s) {
    return s.ok() && Descriptors(device).size() == 2 &&
           Holds(device, MustWrite(device, 5), 5);
  })));
  EXPECT_EQ(Descriptors(device), before);
  device->Destroy();
}

TEST(FileDevice, ManyForksKeepEveryBlockReadable) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 1000);
  std::vector<Block> blocks;
  for (uint64_t i = 0; i < 100; ++i) {
    blocks.push_back(MustWrite(device, i));
    ASSERT_TRUE(Succeeded(Fork(device, [&](Status s) {
      if (!s.ok()) return false;
      for (uint64_t k = 0; k <= i; ++k) {
        if (!Holds(device, blocks[k], k)) return false;
      }
      return Holds(device, MustWrite(device, 77), 77);
    }))) << i;
  }
  EXPECT_LE(Descriptors(device).size(), 33u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(Holds(device, blocks[i], i));
  device->CheckInvariants();
  device->Destroy();
}

bool ForkDeeper(Device* device, std::vector<Block>& blocks, uint64_t depth) {
  blocks.push_back(Block{0});
  const Result<Block> mine = device->Write(Pattern(depth));
  if (!mine.ok()) {
    // 64 files are in use: no room, but everything before is still there.
    blocks.pop_back();
    if (mine.error() != ENOSPC || depth < 60) return false;
    for (uint64_t k = 0; k < blocks.size(); ++k) {
      if (!Holds(device, blocks[k], k)) return false;
    }
    return true;
  }
  blocks.back() = mine.value();
  if (depth > 80) return false;
  const pid_t child = Fork(
      device, [&](Status) { return ForkDeeper(device, blocks, depth + 1); });
  return Succeeded(child) && Holds(device, mine.value(), depth);
}

TEST(FileDevice, PastItsFilesAChildReadsButCannotWrite) {
  TempDirectory directory;
  Device* device = MustOpen(directory, 1000);
  std::vector<Block> blocks;
  EXPECT_TRUE(ForkDeeper(device, blocks, 0));
  device->Destroy();
}

}  // namespace
}  // namespace uzswap
