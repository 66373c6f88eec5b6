// SPDX-License-Identifier: Apache-2.0
// What storage.h promises for files.
#include "device/storage.h"

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

#include "base/own_descriptors.h"
#include "device/backing_file.h"
#include "device/device_test_support.h"

namespace uzswap {
namespace {

bool Holds(Storage* storage, Extent extent, uint64_t seed) {
  PageBuffer page;
  return storage
             ->Read(extent, 0, std::span(page).first(1000),
                    std::span(page).subspan(1000))
             .ok() &&
         page == Pattern(seed);
}

Extent MustWrite(Storage* storage, uint64_t seed) {
  const Result<Extent> extent = storage->Write(Pattern(seed));
  EXPECT_TRUE(extent.ok()) << strerror(extent.error());
  return extent.ok() ? extent.value() : Extent{0};
}

// Runs `body` in a child that must return true and not die.
template <typename Body>
pid_t Fork(Storage* storage, Body body) {
  const pid_t child = fork();
  if (child == 0) {
    const Status s = storage->ChildAfterFork();
    _exit(body(s) ? 0 : 1);
  }
  storage->ParentAfterFork();
  return child;
}

// A directory or a file to be used directly.
class StorageContract : public testing::TestWithParam<bool> {
 protected:
  Storage* New(uint64_t size) {
    std::string path = directory_.path();
    if (GetParam()) {
      path = directory_.File("swap");
      std::ofstream{path};
    }
    const Result<Storage*> storage = NewFileStorage(path.c_str(), size);
    EXPECT_TRUE(storage.ok()) << strerror(storage.error());
    return storage.value();
  }
  TempDirectory directory_;
};

TEST_P(StorageContract, ExtentsKeepTheirPages) {
  Storage* storage = New(1000);
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < 300; ++i) extents.push_back(MustWrite(storage, i));
  for (uint64_t i = 0; i < 300; ++i) EXPECT_TRUE(Holds(storage, extents[i], i));
  EXPECT_EQ(storage->used(), 300u);
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_P(StorageContract, FullDeviceSaysNoSpaceAndTakesNothing) {
  Storage* storage = New(10);
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < 10; ++i) extents.push_back(MustWrite(storage, i));
  EXPECT_EQ(storage->Write(Pattern(10)).error(), ENOSPC);
  EXPECT_EQ(storage->used(), 10u);
  storage->Free(extents[4]);
  const Extent again = MustWrite(storage, 11);
  EXPECT_EQ(storage->Write(Pattern(12)).error(), ENOSPC);
  EXPECT_TRUE(Holds(storage, again, 11));
  for (uint64_t i = 0; i < 10; ++i) {
    if (i == 4) continue;
    EXPECT_TRUE(Holds(storage, extents[i], i));
  }
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_P(StorageContract, RandomUseNeverMixesExtents) {
  Storage* storage = New(200);
  std::mt19937 random(1);
  std::map<uint64_t, std::pair<Extent, uint64_t>> model;
  for (uint64_t step = 0; step < 5000; ++step) {
    if (random() % 2 == 0) {
      const Result<Extent> extent = storage->Write(Pattern(step));
      ASSERT_EQ(extent.ok(), model.size() < 200);
      if (!extent.ok()) continue;
      const auto key = static_cast<uint64_t>(extent.value());
      ASSERT_FALSE(model.contains(key));
      model[key] = {extent.value(), step};
    } else if (!model.empty()) {
      const auto it = std::next(model.begin(), random() % model.size());
      ASSERT_TRUE(Holds(storage, it->second.first, it->second.second));
      storage->Free(it->second.first);
      model.erase(it);
    }
    ASSERT_EQ(storage->used(), model.size());
  }
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_P(StorageContract, ThreadsDoNotDisturbEachOther) {
  Storage* storage = New(400);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 500; ++i) {
        const Extent a = MustWrite(storage, t * 1000000 + i);
        const Extent b = MustWrite(storage, t * 1000000 + i + 500);
        if (!Holds(storage, a, t * 1000000 + i)) ++wrong;
        storage->Free(a);
        if (!Holds(storage, b, t * 1000000 + i + 500)) ++wrong;
        storage->Free(b);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(storage->used(), 0u);
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_P(StorageContract, AfterForkBothReadOldExtentsAndCannotDisturbThem) {
  Storage* storage = New(100);
  std::vector<Extent> old;
  for (uint64_t i = 0; i < 40; ++i) old.push_back(MustWrite(storage, i));
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = Fork(storage, [&](Status s) {
    // The parent first frees and rewrites everything it can.
    char go;
    if (read(pipes[0], &go, 1) != 1) return false;
    for (uint64_t i = 0; i < 40; ++i) {
      if (!Holds(storage, old[i], i)) return false;
    }
    for (const Extent extent : old) storage->Free(extent);
    if (s.ok()) {
      for (uint64_t i = 0; i < 60; ++i) {
        const Result<Extent> extent = storage->Write(Pattern(2000 + i));
        if (!extent.ok() || !Holds(storage, extent.value(), 2000 + i)) {
          return false;
        }
      }
    } else if (storage->Write(Pattern(1)).error() != ENOSPC) {
      return false;
    }
    storage->CheckInvariants();
    return true;
  });
  for (uint64_t i = 0; i < 20; ++i) storage->Free(old[i]);
  std::vector<Extent> young;
  for (uint64_t i = 0; i < 60; ++i) {
    young.push_back(MustWrite(storage, 1000 + i));
  }
  ASSERT_EQ(write(pipes[1], "g", 1), 1);
  EXPECT_TRUE(Succeeded(child));
  for (uint64_t i = 20; i < 40; ++i) EXPECT_TRUE(Holds(storage, old[i], i));
  for (uint64_t i = 0; i < 60; ++i) {
    EXPECT_TRUE(Holds(storage, young[i], 1000 + i));
  }
  storage->CheckInvariants();
  close(pipes[0]);
  close(pipes[1]);
  storage->Destroy();
}

TEST_P(StorageContract, AnyPartOfAnExtentCanBeRead) {
  Storage* storage = New(10);
  std::vector<std::byte> bytes(kExtentBytes);
  std::mt19937_64 random(1);
  for (std::byte& b : bytes) b = std::byte(random());
  const Result<Extent> extent = storage->Write(bytes);
  ASSERT_TRUE(extent.ok());
  for (int i = 0; i < 200; ++i) {
    const size_t offset = random() % (kExtentBytes - 5000);
    std::vector<std::byte> first(1 + random() % 4096);
    std::vector<std::byte> second(1 + random() % 16);
    ASSERT_TRUE(storage->Read(extent.value(), offset, first, second).ok());
    EXPECT_EQ(memcmp(first.data(), &bytes[offset], first.size()), 0);
    EXPECT_EQ(
        memcmp(second.data(), &bytes[offset + first.size()], second.size()), 0);
  }
  storage->Destroy();
}

TEST_P(StorageContract, ReadingPastWhatWasWrittenIsAnError) {
  Storage* storage = New(10);
  const Extent extent = MustWrite(storage, 1);
  PageBuffer page;
  EXPECT_EQ(storage->Read(extent, 1, page, {}).error(), EIO);
  storage->Destroy();
}

INSTANTIATE_TEST_SUITE_P(All, StorageContract, testing::Bool());

Storage* MustOpen(const TempDirectory& directory, uint64_t size) {
  const Result<Storage*> storage = NewFileStorage(directory.path(), size);
  EXPECT_TRUE(storage.ok()) << strerror(storage.error());
  return storage.value();
}

std::vector<int> Descriptors(Storage* storage) {
  int fds[128];
  const size_t count = storage->Descriptors(fds, 128);
  return {fds, fds + count};
}

TEST(FileStorage, LeavesNoNameInTheDirectory) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 10);
  MustWrite(storage, 1);
  EXPECT_TRUE(directory.Entries().empty());
  storage->Destroy();
  EXPECT_TRUE(directory.Entries().empty());
}

TEST(FileStorage, LeavesNothingWhenKilled) {
  TempDirectory directory;
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    Storage* storage = MustOpen(directory, 100);
    for (uint64_t i = 0; i < 50; ++i) MustWrite(storage, i);
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

TEST(FileStorage, WithoutTmpfileTheFileIsPrivateAndUnlinkedAtOnce) {
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

TEST(FileStorage, DescriptorsAreHighAndCloseOnExec) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 10);
  const std::vector<int> fds = Descriptors(storage);
  ASSERT_EQ(fds.size(), 2u);
  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  for (const int fd : fds) {
    EXPECT_GE(fd, limit.rlim_cur > 1000 ? 900 : 10);
    EXPECT_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  storage->Destroy();
  for (const int fd : fds) EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

TEST(FileStorage, LowDescriptorLimitIsServed) {
  TempDirectory directory;
  rlimit old;
  getrlimit(RLIMIT_NOFILE, &old);
  rlimit low = old;
  low.rlim_cur = 64;
  setrlimit(RLIMIT_NOFILE, &low);
  Storage* storage = MustOpen(directory, 10);
  for (const int fd : Descriptors(storage)) {
    EXPECT_GE(fd, 50);
    EXPECT_LT(fd, 64);
  }
  EXPECT_TRUE(Holds(storage, MustWrite(storage, 1), 1));
  storage->Destroy();
  setrlimit(RLIMIT_NOFILE, &old);
}

TEST(FileStorage, OpeningSaysWhatIsWrong) {
  TempDirectory directory;
  EXPECT_EQ(NewFileStorage(directory.File("no").c_str(), 1).error(), ENOENT);
  EXPECT_EQ(NewFileStorage(directory.path(), 0).error(), EINVAL);
  EXPECT_EQ(NewFileStorage("/dev/null", 1).error(), EINVAL);
  const std::string full = directory.File("full");
  std::ofstream(full) << "precious";
  EXPECT_EQ(NewFileStorage(full.c_str(), 1).error(), ENOTEMPTY);
  const std::string pipe_name = directory.File("pipe");
  ASSERT_EQ(mkfifo(pipe_name.c_str(), 0600), 0);
  EXPECT_EQ(NewFileStorage(pipe_name.c_str(), 1).error(), EINVAL);
}

TEST(FileStorage, UnwritableDirectoryIsAccessDenied) {
  TempDirectory directory;
  ASSERT_EQ(chmod(directory.path(), 0555), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && setuid(65534) != 0) _exit(2);
    _exit(NewFileStorage(directory.path(), 1).error() == EACCES ? 0 : 1);
  }
  EXPECT_TRUE(Succeeded(child));
}

TEST(FileStorage, AFileIsNotSharedByTwo) {
  TempDirectory directory;
  const std::string path = directory.File("swap");
  std::ofstream{path};
  const Result<Storage*> first = NewFileStorage(path.c_str(), 10);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(NewFileStorage(path.c_str(), 10).error(), EBUSY);
  first.value()->Destroy();
}

TEST(FileStorage, FileSizeLimitIsAFullDeviceNotASignal) {
  TempDirectory directory;
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit{3 * kExtentBytes, 3 * kExtentBytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    Storage* storage = MustOpen(directory, 10);
    for (uint64_t i = 0; i < 3; ++i) MustWrite(storage, i);
    _exit(storage->Write(Pattern(9)).error() == ENOSPC ? 0 : 1);
  }
  EXPECT_TRUE(Succeeded(child));
}

TEST(FileStorage, AFileSizeLimitThatIsLoweredLaterIsAFullDeviceToo) {
  TempDirectory directory;
  const pid_t child = fork();
  if (child == 0) {
    Storage* storage = MustOpen(directory, 10);
    for (uint64_t i = 0; i < 3; ++i) MustWrite(storage, i);
    const rlimit limit{3 * kExtentBytes, 3 * kExtentBytes};
    setrlimit(RLIMIT_FSIZE, &limit);
    _exit(storage->Write(Pattern(9)).error() == ENOSPC ? 0 : 1);
  }
  EXPECT_TRUE(Succeeded(child));
}

TEST(FileStorage, FileStaysNearItsMostExtentsInUse) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 100000);
  std::vector<Extent> queue;
  for (uint64_t i = 0; i < 5000; ++i) {
    queue.push_back(MustWrite(storage, i));
    if (queue.size() > 100) {
      storage->Free(queue.front());
      queue.erase(queue.begin());
    }
  }
  struct stat about;
  ASSERT_EQ(fstat(Descriptors(storage)[1], &about), 0);
  EXPECT_LE(about.st_size, static_cast<off_t>(101 * kExtentBytes));
  storage->Destroy();
}

TEST(FileStorage, FrozenFileIsClosedWithItsLastExtent) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 100);
  const Extent a = MustWrite(storage, 1);
  const Extent b = MustWrite(storage, 2);
  EXPECT_TRUE(Succeeded(Fork(storage, [&](Status) {
    const bool frozen = Descriptors(storage).size() == 3;
    storage->Free(a);
    storage->Free(b);
    return frozen && Descriptors(storage).size() == 2;
  })));
  EXPECT_EQ(Descriptors(storage).size(), 3u);
  storage->Free(a);
  EXPECT_TRUE(Holds(storage, b, 2));
  EXPECT_EQ(Descriptors(storage).size(), 3u);
  storage->Free(b);
  EXPECT_EQ(Descriptors(storage).size(), 2u);
  storage->CheckInvariants();
  storage->Destroy();
}

TEST(FileStorage, EveryChangeOfItsDescriptorsIsAnEpoch) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 100);
  const Extent a = MustWrite(storage, 1);
  const uint32_t before = own_descriptors_epoch.load();
  ASSERT_TRUE(Succeeded(Fork(storage, [&](Status) {
    return own_descriptors_epoch.load() != before;
  })));
  const uint32_t forked = own_descriptors_epoch.load();
  EXPECT_NE(forked, before);
  const Extent b = MustWrite(storage, 2);
  EXPECT_TRUE(Holds(storage, a, 1));
  storage->Free(b);
  EXPECT_EQ(own_descriptors_epoch.load(), forked);
  storage->Free(a);
  EXPECT_NE(own_descriptors_epoch.load(), forked);
  storage->Destroy();
}

TEST(FileStorage, ForkWithoutExtentsOpensNothingInTheParent) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 100);
  const std::vector<int> before = Descriptors(storage);
  EXPECT_TRUE(Succeeded(Fork(storage, [&](Status s) {
    return s.ok() && Descriptors(storage).size() == 2 &&
           Holds(storage, MustWrite(storage, 5), 5);
  })));
  EXPECT_EQ(Descriptors(storage), before);
  storage->Destroy();
}

TEST(FileStorage, ManyForksKeepEveryExtentReadable) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 1000);
  std::vector<Extent> extents;
  for (uint64_t i = 0; i < 100; ++i) {
    extents.push_back(MustWrite(storage, i));
    ASSERT_TRUE(Succeeded(Fork(storage, [&](Status s) {
      if (!s.ok()) return false;
      for (uint64_t k = 0; k <= i; ++k) {
        if (!Holds(storage, extents[k], k)) return false;
      }
      return Holds(storage, MustWrite(storage, 77), 77);
    }))) << i;
  }
  EXPECT_LE(Descriptors(storage).size(), 33u);
  for (uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(Holds(storage, extents[i], i));
  storage->CheckInvariants();
  storage->Destroy();
}

bool ForkDeeper(Storage* storage, std::vector<Extent>& extents,
                uint64_t depth) {
  extents.push_back(Extent{0});
  const Result<Extent> mine = storage->Write(Pattern(depth));
  if (!mine.ok()) {
    // 64 files are in use: no room, but everything before is still there.
    extents.pop_back();
    if (mine.error() != ENOSPC || depth < 60) return false;
    for (uint64_t k = 0; k < extents.size(); ++k) {
      if (!Holds(storage, extents[k], k)) return false;
    }
    return true;
  }
  extents.back() = mine.value();
  if (depth > 80) return false;
  const pid_t child = Fork(
      storage, [&](Status) { return ForkDeeper(storage, extents, depth + 1); });
  return Succeeded(child) && Holds(storage, mine.value(), depth);
}

TEST(FileStorage, PastItsFilesAChildReadsButCannotWrite) {
  TempDirectory directory;
  Storage* storage = MustOpen(directory, 1000);
  std::vector<Extent> extents;
  EXPECT_TRUE(ForkDeeper(storage, extents, 0));
  storage->Destroy();
}

}  // namespace
}  // namespace uzswap
