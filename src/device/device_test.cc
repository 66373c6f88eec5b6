// SPDX-License-Identifier: Apache-2.0
// What device.h promises, for each device.
#include "device/device.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <thread>

#include "device/device_test_support.h"

namespace uzswap {
namespace {

using Bytes = std::vector<std::byte>;

// 1 … 4096 bytes; every eighth is a whole page.
Bytes ObjectOf(uint64_t seed) {
  const PageBuffer page = Pattern(seed);
  std::mt19937_64 random(seed);
  const size_t length =
      seed % 8 == 0 ? kPageSize : 1 + random() % (kPageSize - 1);
  return {page.begin(), page.begin() + static_cast<ptrdiff_t>(length)};
}

bool Holds(Device* device, ObjectId id, uint64_t seed) {
  const Bytes expected = ObjectOf(seed);
  Bytes bytes(expected.size());
  return device->Read(id, bytes).ok() && bytes == expected;
}

ObjectId MustWrite(Device* device, uint64_t seed) {
  const Result<ObjectId> id = device->Write(ObjectOf(seed));
  EXPECT_TRUE(id.ok()) << strerror(id.error());
  return id.ok() ? id.value() : ObjectId{0};
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

enum class Kind { kMemory, kDirectory, kFile, kChecksummed, kDirect };

class DeviceContract : public testing::TestWithParam<Kind> {
 protected:
  Device* New(PageCount size) {
    Result<Device*> device = Status::Error(EINVAL);
    if (GetParam() == Kind::kMemory) {
      device = NewMemoryDevice(size);
    } else if (GetParam() == Kind::kDirectory) {
      device = NewFileDevice(directory_.path(), size);
    } else if (GetParam() == Kind::kChecksummed) {
      device = NewFileDevice(directory_.path(), size, Protection::kChecksummed);
    } else if (GetParam() == Kind::kDirect) {
      device =
          NewDevice({.path = directory_.path(), .size = size, .direct = true});
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

TEST_P(DeviceContract, ObjectsKeepTheirBytes) {
  Device* device = New(1000);
  std::vector<ObjectId> ids;
  for (uint64_t i = 0; i < 900; ++i) ids.push_back(MustWrite(device, i));
  for (uint64_t i = 0; i < 900; ++i) EXPECT_TRUE(Holds(device, ids[i], i));
  EXPECT_EQ(device->used(), 900u);
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, FullDeviceSaysNoSpaceAndKeepsWhatItHas) {
  Device* device = New(160);
  std::map<uint64_t, ObjectId> kept;
  for (uint64_t seed = 0;; ++seed) {
    const Result<ObjectId> id = device->Write(ObjectOf(seed));
    if (!id.ok()) {
      EXPECT_EQ(id.error(), ENOSPC);
      break;
    }
    kept[seed] = id.value();
    ASSERT_LT(seed, 10000u);
  }
  EXPECT_GE(kept.size(), 160u);
  EXPECT_EQ(device->used(), kept.size());
  device->CheckInvariants();
  // A quarter goes here and there: as much as that comes in again.
  for (auto it = kept.begin(); it != kept.end();) {
    if (it->first % 4 != 0) {
      ++it;
      continue;
    }
    device->Free(it->second);
    it = kept.erase(it);
  }
  const size_t left = kept.size();
  for (uint64_t seed = 100000; kept.size() < left + left / 8; ++seed) {
    kept[seed] = MustWrite(device, seed);
    if (HasFailure()) break;
  }
  for (const auto& [seed, id] : kept) EXPECT_TRUE(Holds(device, id, seed));
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, RandomUseNeverMixesObjects) {
  Device* device = New(200);
  std::mt19937 random(1);
  std::map<uint64_t, std::pair<ObjectId, uint64_t>> model;
  for (uint64_t step = 0; step < 8000; ++step) {
    if (random() % 2 == 0) {
      const Result<ObjectId> id = device->Write(ObjectOf(step));
      if (!id.ok()) {
        ASSERT_EQ(id.error(), ENOSPC);
        ASSERT_GE(model.size(), 150u);
        continue;
      }
      const auto key = static_cast<uint64_t>(id.value());
      ASSERT_FALSE(model.contains(key));
      model[key] = {id.value(), step};
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
  Device* device = New(2000);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::map<uint64_t, ObjectId> mine;
      for (uint64_t i = 0; i < 1000; ++i) {
        const uint64_t seed = t * 1000000 + i;
        mine[seed] = MustWrite(device, seed);
        if (mine.size() < 100) continue;
        const auto it = std::next(mine.begin(), static_cast<long>(i * 7 % 100));
        if (!Holds(device, it->second, it->first)) ++wrong;
        device->Free(it->second);
        mine.erase(it);
      }
      for (const auto& [seed, id] : mine) {
        if (!Holds(device, id, seed)) ++wrong;
        device->Free(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(device->used(), 0u);
  device->CheckInvariants();
  device->Destroy();
}

TEST_P(DeviceContract, AfterForkBothReadOldObjectsAndCannotDisturbThem) {
  Device* device = New(1000);
  std::vector<ObjectId> old;
  for (uint64_t i = 0; i < 140; ++i) old.push_back(MustWrite(device, i));
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = Fork(device, [&](Status s) {
    // The parent first frees and rewrites everything it can.
    char go;
    if (read(pipes[0], &go, 1) != 1) return false;
    for (uint64_t i = 0; i < 140; ++i) {
      if (!Holds(device, old[i], i)) return false;
    }
    for (const ObjectId id : old) device->Free(id);
    if (s.ok()) {
      for (uint64_t i = 0; i < 200; ++i) {
        const Result<ObjectId> id = device->Write(ObjectOf(2000 + i));
        if (!id.ok() || !Holds(device, id.value(), 2000 + i)) return false;
      }
    } else if (device->Write(ObjectOf(1)).error() != ENOSPC) {
      return false;
    }
    device->CheckInvariants();
    return true;
  });
  for (uint64_t i = 0; i < 70; ++i) device->Free(old[i]);
  std::vector<ObjectId> young;
  for (uint64_t i = 0; i < 200; ++i) {
    young.push_back(MustWrite(device, 1000 + i));
  }
  ASSERT_EQ(write(pipes[1], "g", 1), 1);
  EXPECT_TRUE(Succeeded(child));
  for (uint64_t i = 70; i < 140; ++i) EXPECT_TRUE(Holds(device, old[i], i));
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(Holds(device, young[i], 1000 + i));
  }
  device->CheckInvariants();
  close(pipes[0]);
  close(pipes[1]);
  device->Destroy();
}

TEST_P(DeviceContract, GenerationsOfChildrenReadWhatTheirAncestorsWrote) {
  if (GetParam() == Kind::kFile) return;  // a child cannot write there
  Device* device = New(4000);
  std::vector<ObjectId> ids;
  // Each writes some, forks, and the child does the same; all are checked.
  struct Deeper {
    static bool Run(Device* d, std::vector<ObjectId>& all, unsigned depth) {
      for (unsigned i = 0; i < 50; ++i) {
        const Result<ObjectId> id = d->Write(ObjectOf(all.size()));
        if (!id.ok()) return false;
        all.push_back(id.value());
      }
      for (uint64_t i = 0; i < all.size(); ++i) {
        if (!Holds(d, all[i], i)) return false;
      }
      d->CheckInvariants();
      if (depth == 0) return true;
      const pid_t child =
          Fork(d, [&](Status s) { return s.ok() && Run(d, all, depth - 1); });
      // The parent goes on meanwhile, in another way.
      std::vector<ObjectId> mine;
      for (uint64_t i = 0; i < 60; ++i) {
        const Result<ObjectId> id = d->Write(ObjectOf(7000 + i));
        if (!id.ok()) return false;
        mine.push_back(id.value());
      }
      bool right = Succeeded(child);
      for (uint64_t i = 0; i < 60; ++i) {
        right = right && Holds(d, mine[i], 7000 + i);
      }
      for (uint64_t i = 0; i < all.size(); ++i) {
        right = right && Holds(d, all[i], i);
      }
      return right;
    }
  };
  EXPECT_TRUE(Deeper::Run(device, ids, 6));
  device->Destroy();
}

INSTANTIATE_TEST_SUITE_P(All, DeviceContract,
                         testing::Values(Kind::kMemory, Kind::kDirectory,
                                         Kind::kFile, Kind::kChecksummed,
                                         Kind::kDirect));

// Of a file system that does not take it nothing is asked.
TEST(DirectDevice, GoesPastThePageCacheWhereThatIsPossible) {
  TempDirectory directory;
  Device* device =
      NewDevice({.path = directory.path(), .size = 1000, .direct = true})
          .value();
  const int probe = open(directory.path(), O_TMPFILE | O_RDWR | O_DIRECT, 0600);
  const bool possible = probe >= 0;
  if (possible) close(probe);
  const uint64_t alignment = device->Stats().alignment;
  EXPECT_EQ(alignment > 1, possible);
  for (uint64_t i = 0; i < 200; ++i) MustWrite(device, i);
  EXPECT_GT(device->Stats().written_bytes, 0u);
  EXPECT_EQ(device->Stats().written_bytes % alignment, 0u);
  int fds[kMaxDeviceDescriptors];
  const size_t count = device->Descriptors(fds, kMaxDeviceDescriptors);
  EXPECT_EQ((fcntl(fds[count - 1], F_GETFL) & O_DIRECT) != 0, possible);
  device->Destroy();
}

}  // namespace
}  // namespace uzswap
