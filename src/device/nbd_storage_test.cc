// SPDX-License-Identifier: Apache-2.0
// What storage.h promises for NBD exports, over a real server (nbdkit).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "device/device_test_support.h"
#include "device/nbd_address.h"
#include "device/nbd_connection.h"
#include "device/storage.h"

namespace uzswap {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// ---- addresses

TEST(NbdAddress, OfBothKinds) {
  NbdAddress a;
  ASSERT_TRUE(ParseNbdAddress("nbd+unix:///?socket=/run/a%20b", &a).ok());
  EXPECT_STREQ(a.socket.unix_socket.sun_path, "/run/a b");
  EXPECT_EQ(a.export_bytes, 0u);
  ASSERT_TRUE(ParseNbdAddress("nbd+unix:///x%2fy?socket=/s", &a).ok());
  EXPECT_EQ(std::string(a.export_name, a.export_bytes), "x/y");
  EXPECT_FALSE(a.tcp());
  ASSERT_TRUE(ParseNbdAddress("nbd://127.0.0.1/disk", &a).ok());
  EXPECT_EQ(a.socket.v4.sin_port, htons(10809));
  EXPECT_EQ(a.socket.v4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
  EXPECT_EQ(std::string(a.export_name, a.export_bytes), "disk");
  ASSERT_TRUE(ParseNbdAddress("nbd://[fe80::1:20]:99", &a).ok());
  EXPECT_EQ(a.socket.v6.sin6_port, htons(99));
  EXPECT_EQ(a.socket.v6.sin6_addr.s6_addr[0], 0xfe);
  EXPECT_EQ(a.socket.v6.sin6_addr.s6_addr[13], 1);
  EXPECT_EQ(a.socket.v6.sin6_addr.s6_addr[15], 0x20);
  ASSERT_TRUE(ParseNbdAddress("nbd://[::1]/", &a).ok());
  EXPECT_EQ(a.socket.v6.sin6_addr.s6_addr[15], 1);
  EXPECT_TRUE(a.tcp());
}

TEST(NbdAddress, WhatIsNoneIsRefused) {
  NbdAddress a;
  for (const char* text :
       {"nbd://host/x", "nbd://1.2.3/x", "nbd://1.2.3.256/", "nbd://1.2.3.4:0/",
        "nbd://1.2.3.4:65536/", "nbd://1.2.3.4/x?y", "nbd://[::1/",
        "nbd://[1::2::3]/", "nbd://[1:2:3:4:5:6:7:8:9]/", "nbd://[1]/",
        "nbd+unix:///x", "nbd+unix:///?socket=", "nbd+unix:///?socket=rel",
        "nbd+unix:///?socket=/a&tls=1", "nbd+unix:///%zz?socket=/a",
        "nbds://1.2.3.4/", "/dev/nbd0", ""}) {
    EXPECT_FALSE(ParseNbdAddress(text, &a).ok()) << text;
  }
  const std::string longer = "nbd+unix:///?socket=/" + std::string(200, 'x');
  EXPECT_EQ(ParseNbdAddress(longer.c_str(), &a).error(), ENAMETOOLONG);
}

// ---- a server

class NbdStorage : public testing::Test {
 protected:
  void SetUp() override {
    if (system("nbdkit --version >/dev/null 2>&1") != 0) {
      GTEST_SKIP() << "nbdkit is not installed";
    }
    // What processes of one run have in common.
    leases_ = memfd_create("leases", MFD_CLOEXEC);
    leases_path_ =
        "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(leases_);
  }
  void TearDown() override {
    StopServer();
    if (leases_ >= 0) close(leases_);
  }

  std::string Socket() const { return directory_.File("socket"); }
  std::string Uri() const { return "nbd+unix:///?socket=" + Socket(); }

  // `later`: in so many microseconds, and nobody waits for it here.
  void StartServer(std::vector<std::string> arguments, useconds_t later = 0) {
    arguments.insert(arguments.begin(),
                     {"nbdkit", "-f", "-U", Socket(), "--threads=2"});
    unlink(Socket().c_str());
    server_ = fork();
    if (server_ == 0) {
      if (later > 0) usleep(later);
      std::vector<char*> argv;
      for (std::string& s : arguments) argv.push_back(s.data());
      argv.push_back(nullptr);
      execvp("nbdkit", argv.data());
      _exit(1);
    }
    for (int i = 0;
         later == 0 && i < 500 && access(Socket().c_str(), F_OK) != 0; ++i) {
      usleep(10000);
    }
  }
  void StopServer() {
    if (server_ <= 0) return;
    kill(server_, SIGKILL);
    waitpid(server_, nullptr, 0);
    server_ = -1;
  }

  Result<Storage*> Open(uint64_t timeout = 10, bool leases = true) {
    return NewNbdStorage(Uri().c_str(), 1u << 20,
                         {leases ? leases_path_.c_str() : nullptr, timeout});
  }
  Storage* MustOpen(uint64_t timeout = 10) {
    const Result<Storage*> storage = Open(timeout);
    EXPECT_TRUE(storage.ok()) << strerror(storage.error());
    return storage.value();
  }
  static bool Holds(Storage* storage, Extent extent, uint64_t seed) {
    PageBuffer page;
    return storage
               ->Read(extent, 0, std::span(page).first(1000),
                      std::span(page).subspan(1000))
               .ok() &&
           page == Pattern(seed);
  }
  static Extent MustWrite(Storage* storage, uint64_t seed) {
    const Result<Extent> extent = storage->Write(Pattern(seed));
    EXPECT_TRUE(extent.ok()) << strerror(extent.error());
    return extent.ok() ? extent.value() : Extent{0};
  }
  // As many as there is room for, and their extents.
  static std::map<uint64_t, Extent> Fill(Storage* storage, uint64_t seed) {
    std::map<uint64_t, Extent> extents;
    for (;; ++seed) {
      const Result<Extent> extent = storage->Write(Pattern(seed));
      if (!extent.ok()) {
        EXPECT_EQ(extent.error(), ENOSPC);
        return extents;
      }
      extents[seed] = extent.value();
    }
  }
  static bool HoldsAll(Storage* storage,
                       const std::map<uint64_t, Extent>& extents) {
    for (const auto& [seed, extent] : extents) {
      if (!Holds(storage, extent, seed)) return false;
    }
    return true;
  }

  TempDirectory directory_;
  pid_t server_ = -1;
  int leases_ = -1;
  std::string leases_path_;
};

constexpr uint64_t kRegion = 64;  // extents

TEST_F(NbdStorage, ExtentsKeepTheirBytes) {
  StartServer({"memory", "64M"});
  Storage* storage = MustOpen();
  EXPECT_EQ(storage->size(), 1024u);
  EXPECT_EQ(storage->alignment(), 1u);
  std::mt19937 random(1);
  std::map<uint64_t, std::pair<Extent, uint64_t>> model;
  for (uint64_t step = 0; step < 3000; ++step) {
    if (random() % 2 == 0) {
      const Extent extent = MustWrite(storage, step);
      ASSERT_FALSE(model.contains(static_cast<uint64_t>(extent)));
      model[static_cast<uint64_t>(extent)] = {extent, step};
    } else if (!model.empty()) {
      const auto it = std::next(model.begin(), random() % model.size());
      ASSERT_TRUE(Holds(storage, it->second.first, it->second.second));
      storage->Free(it->second.first);
      model.erase(it);
    }
  }
  EXPECT_EQ(storage->used(), model.size());
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_F(NbdStorage, AFullExportSaysNoSpace) {
  StartServer({"memory", "16M"});
  Storage* storage = MustOpen();
  auto extents = Fill(storage, 0);
  EXPECT_EQ(extents.size(), 256u);
  storage->Free(extents[7]);
  extents.erase(7);
  extents[999] = MustWrite(storage, 999);
  EXPECT_TRUE(HoldsAll(storage, extents));
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_F(NbdStorage, ThreadsShareAConnection) {
  StartServer({"memory", "64M"});
  Storage* storage = MustOpen();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 200; ++i) {
        const uint64_t seed = t * 1000 + i;
        const Extent extent = MustWrite(storage, seed);
        if (!Holds(storage, extent, seed)) ++wrong;
        storage->Free(extent);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  storage->Destroy();
}

TEST_F(NbdStorage, DescriptorsAreToldAndClosedAtTheEnd) {
  StartServer({"memory", "16M"});
  Storage* storage = MustOpen();
  int fds[80];
  const size_t count = storage->Descriptors(fds, 80);
  EXPECT_EQ(count, 3u);  // leases, connection, one generation
  for (size_t i = 0; i < count; ++i) {
    EXPECT_GE(fds[i], 10);
    EXPECT_EQ(fcntl(fds[i], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  }
  storage->Destroy();
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(fcntl(fds[i], F_GETFD), -1);
}

// ---- several processes

TEST_F(NbdStorage, AfterAForkBothReadAndNeitherDisturbsTheOther) {
  StartServer({"memory", "64M"});
  Storage* storage = MustOpen();
  std::map<uint64_t, Extent> old;
  for (uint64_t i = 0; i < 100; ++i) old[i] = MustWrite(storage, i);
  int pipes[2];
  int written[2];
  ASSERT_EQ(pipe(pipes), 0);
  ASSERT_EQ(pipe(written), 0);
  const pid_t child = fork();
  if (child == 0) {
    bool ok = storage->ChildAfterFork().ok();
    std::map<uint64_t, Extent> young;
    for (uint64_t i = 0; i < 150; ++i) {
      young[5000 + i] = MustWrite(storage, 5000 + i);
    }
    char go = 'g';
    ok = ok && write(written[1], &go, 1) == 1 && read(pipes[0], &go, 1) == 1 &&
         HoldsAll(storage, old) && HoldsAll(storage, young);
    storage->CheckInvariants();
    _exit(ok ? 0 : 1);
  }
  storage->ParentAfterFork();
  char child_has_room;
  ASSERT_EQ(read(written[0], &child_has_room, 1), 1);
  // Everything goes and is written anew.
  for (const auto& [seed, extent] : old) storage->Free(extent);
  const std::map<uint64_t, Extent> young = Fill(storage, 1000);
  EXPECT_GE(young.size(), 1024u - 6 * kRegion);
  ASSERT_EQ(write(pipes[1], "g", 1), 1);
  EXPECT_TRUE(Succeeded(child));
  EXPECT_TRUE(HoldsAll(storage, young));
  // The child's room is free when it is gone.
  const std::map<uint64_t, Extent> more = Fill(storage, 9000);
  EXPECT_EQ(young.size() + more.size(), 1024u);
  storage->CheckInvariants();
  storage->Destroy();
}

TEST_F(NbdStorage, ProcessesThatWereNotForkedShareItByTheirLeases) {
  StartServer({"memory", "64M"});
  Storage* first = MustOpen();
  Storage* second = MustOpen();
  std::map<uint64_t, Extent> in_first, in_second;
  for (uint64_t i = 0; i < 300; ++i) {
    in_first[i] = MustWrite(first, i);
    in_second[10000 + i] = MustWrite(second, 10000 + i);
  }
  in_first.merge(Fill(first, 1000));
  EXPECT_EQ(in_second.size() + in_first.size(), 1024u - 20);  // a region's rest
  EXPECT_TRUE(HoldsAll(first, in_first));
  EXPECT_TRUE(HoldsAll(second, in_second));
  first->Destroy();
  EXPECT_GE(Fill(second, 20000).size(), 1024u - 320);
  second->Destroy();
}

TEST_F(NbdStorage, WhatAKilledProcessHeldIsFree) {
  StartServer({"memory", "32M"});
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    Fill(MustOpen(), 0);
    if (write(pipes[1], "g", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char go;
  ASSERT_EQ(read(pipes[0], &go, 1), 1);
  Storage* storage = MustOpen();
  EXPECT_EQ(storage->Write(Pattern(1)).error(), ENOSPC);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(Fill(storage, 0).size(), 512u);
  storage->Destroy();
}

// ---- a server that goes away

TEST_F(NbdStorage, ARestartedServerIsWaitedForAndNothingIsLost) {
  const std::string disk = directory_.File("disk");
  std::ofstream{disk};
  ASSERT_EQ(truncate(disk.c_str(), 64 << 20), 0);
  StartServer({"file", disk});
  Storage* storage = MustOpen(20);
  std::map<uint64_t, Extent> extents;
  for (uint64_t i = 0; i < 50; ++i) extents[i] = MustWrite(storage, i);
  for (int round = 0; round < 2; ++round) {
    StopServer();
    StartServer({"file", disk}, 300000);
    const auto begin = Clock::now();
    if (round == 0) {
      extents[100] = MustWrite(storage, 100);
    } else {
      EXPECT_TRUE(Holds(storage, extents[3], 3));
    }
    EXPECT_GE(Seconds(begin), 0.25);
    EXPECT_TRUE(HoldsAll(storage, extents));
  }
  storage->Destroy();
}

TEST_F(NbdStorage, AfterTheTimeoutItIsAnErrorAndLaterItIsBack) {
  const std::string disk = directory_.File("disk");
  std::ofstream{disk};
  ASSERT_EQ(truncate(disk.c_str(), 16 << 20), 0);
  StartServer({"file", disk});
  Storage* storage = MustOpen(1);
  const Extent extent = MustWrite(storage, 1);
  StopServer();
  auto begin = Clock::now();
  EXPECT_EQ(storage->Write(Pattern(2)).error(), EIO);
  EXPECT_GE(Seconds(begin), 0.9);
  EXPECT_LE(Seconds(begin), 5);
  // Once given up, the others do not wait as long.
  begin = Clock::now();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(storage->Write(Pattern(3)).error(), EIO);
  }
  EXPECT_LE(Seconds(begin), 1);
  EXPECT_EQ(storage->used(), 1u);
  StartServer({"file", disk});
  begin = Clock::now();
  while (!Holds(storage, extent, 1)) {
    ASSERT_LE(Seconds(begin), 10);
    usleep(20000);
  }
  MustWrite(storage, 4);
  storage->Destroy();
}

TEST_F(NbdStorage, AChildDoesNotDisturbItsParentsConnection) {
  StartServer({"memory", "256M"});
  Storage* storage = MustOpen();
  const Extent extent = MustWrite(storage, 1);
  std::vector<pid_t> children;
  for (int c = 0; c < 3; ++c) {
    const pid_t child = fork();
    if (child == 0) {
      bool ok = storage->ChildAfterFork().ok();
      for (uint64_t i = 0; i < 200; ++i) {
        ok = ok && Holds(storage, extent, 1) &&
             Holds(storage, MustWrite(storage, i), i);
      }
      storage->Destroy();
      _exit(ok ? 0 : 1);
    }
    storage->ParentAfterFork();
    children.push_back(child);
  }
  for (uint64_t i = 0; i < 200; ++i) {
    EXPECT_TRUE(Holds(storage, MustWrite(storage, 100 + i), 100 + i));
  }
  for (const pid_t child : children) EXPECT_TRUE(Succeeded(child));
  EXPECT_TRUE(Holds(storage, extent, 1));
  storage->Destroy();
}

// ---- what servers answer

TEST_F(NbdStorage, ErrorsOfTheServerAreErrorsOfTheOperation) {
  StartServer({"--filter=error", "memory", "16M", "error-pwrite=ENOSPC",
               "error-pwrite-rate=100%", "error-pread=EIO",
               "error-pread-rate=100%",
               "error-pwrite-file=" + directory_.File("bad_writes"),
               "error-pread-file=" + directory_.File("bad_reads")});
  Storage* storage = MustOpen(0);
  const Extent extent = MustWrite(storage, 1);
  std::ofstream{directory_.File("bad_writes")};
  EXPECT_EQ(storage->Write(Pattern(2)).error(), ENOSPC);
  std::ofstream{directory_.File("bad_reads")};
  PageBuffer page;
  EXPECT_EQ(storage->Read(extent, 0, page, {}).error(), EIO);
  unlink(directory_.File("bad_writes").c_str());
  unlink(directory_.File("bad_reads").c_str());
  EXPECT_TRUE(Holds(storage, extent, 1));
  EXPECT_TRUE(Holds(storage, MustWrite(storage, 3), 3));
  storage->Destroy();
}

TEST_F(NbdStorage, ASlowServerIsNotALostOne) {
  StartServer(
      {"--filter=delay", "memory", "16M", "wdelay=400ms", "rdelay=400ms"});
  Storage* storage = MustOpen(5);
  const auto begin = Clock::now();
  EXPECT_TRUE(Holds(storage, MustWrite(storage, 1), 1));
  EXPECT_GE(Seconds(begin), 0.8);
  EXPECT_LE(Seconds(begin), 3);
  storage->Destroy();
}

TEST_F(NbdStorage, AReadOnlyExportIsRefused) {
  StartServer({"-r", "memory", "16M"});
  EXPECT_EQ(Open().error(), EROFS);
}

TEST_F(NbdStorage, AnExportThatIsTooSmallIsRefused) {
  StartServer({"memory", "1M"});
  EXPECT_EQ(Open().error(), EINVAL);
}

TEST_F(NbdStorage, WhatIsNoNbdServerIsRefused) {
  StartServer({"-o", "memory", "16M"});  // oldstyle, which knows no exports
  EXPECT_EQ(Open().error(), EPROTO);
}

TEST_F(NbdStorage, TheServersBlockSizeIsTheAlignment) {
  StartServer({"--filter=blocksize-policy", "memory", "16M",
               "blocksize-minimum=4096", "blocksize-preferred=4096",
               "blocksize-maximum=1M", "blocksize-error-policy=error"});
  Storage* storage = MustOpen();
  EXPECT_EQ(storage->alignment(), 4096u);
  const Result<Extent> extent = storage->Write(Pattern(1));
  ASSERT_TRUE(extent.ok());
  PageBuffer page;
  EXPECT_TRUE(storage->Read(extent.value(), 0, page, {}).ok());
  EXPECT_EQ(page, Pattern(1));
  storage->Destroy();
}

}  // namespace
}  // namespace uzswap
