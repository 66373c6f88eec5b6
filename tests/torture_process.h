// SPDX-License-Identifier: Apache-2.0
// What this process has at the moment: memory, mappings, threads, descriptors.
// For tests that demand that nothing grows.
#ifndef UZSWAP_TESTS_TORTURE_PROCESS_H_
#define UZSWAP_TESTS_TORTURE_PROCESS_H_

#include <dirent.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "base/raw_thread.h"
#include "base/worker.h"

namespace uzswap::torture {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif
// A sanitizer's run-time library must know every thread, and keeps memory of
// its own.
inline constexpr bool kSanitized = kThreadSanitizer || kAddressSanitizer;

inline Status StartLibraryThread(RawThread::Entry entry, void* argument) {
  std::thread(entry, argument).detach();
  return kOk;
}

inline long EntriesOf(const char* path) {
  long count = 0;
  DIR* directory = opendir(path);
  if (directory == nullptr) return -1;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count;
}

inline long ResidentKib() {
  std::ifstream file("/proc/self/statm");
  long size = 0;
  long resident = 0;
  file >> size >> resident;
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

inline long MappingCount() {
  std::ifstream file("/proc/self/maps");
  long count = 0;
  for (std::string line; std::getline(file, line);) ++count;
  return count;
}

struct ProcessState {
  long resident_kib;
  long mappings;
  long threads;
  long descriptors;

  static ProcessState Now() {
    return {ResidentKib(), MappingCount(), EntriesOf("/proc/self/task"),
            EntriesOf("/proc/self/fd")};
  }
  // A thread that was joined can be in the list for a moment.
  static ProcessState Settled(long threads) {
    for (int i = 0; i < 200; ++i) {
      if (EntriesOf("/proc/self/task") <= threads) break;
      usleep(1000);
    }
    return Now();
  }
};

}  // namespace uzswap::torture

#endif  // UZSWAP_TESTS_TORTURE_PROCESS_H_
