// SPDX-License-Identifier: Apache-2.0
// C++: exceptions through deep frames over evicted memory, std::thread, and a
// cancelled system call that runs destructors.
#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

int destroyed = 0;

struct Guard {
  std::string name;
  explicit Guard(int i)
      : name("a guard with a long name " + std::to_string(i)) {}
  ~Guard() { destroyed += name.size() > 20; }
};

int Deep(int depth) {
  Guard guard(depth);
  if (depth == 0) throw std::runtime_error("from below");
  return Deep(depth - 1) + static_cast<int>(guard.name.size());
}

void* Blocked(void* argument) {
  Guard guard(1);
  char buffer[100];
  const ssize_t n = read(*static_cast<int*>(argument), buffer, sizeof(buffer));
  return n > 0 ? argument : nullptr;
}

}  // namespace

int main() {
  std::map<std::string, std::vector<int>> data;
  std::vector<std::unique_ptr<char[]>> much;
  int caught = 0;
  for (int i = 0; i < 300; ++i) {
    much.push_back(std::make_unique<char[]>(100000));
    for (int k = 0; k < 100000; k += 512) much.back()[k] = static_cast<char>(i);
    data["key " + std::to_string(i % 50)].push_back(i);
    try {
      Deep(100);
    } catch (const std::runtime_error& e) {
      caught += e.what()[0] == 'f';
    }
  }
  std::printf("caught %d, destroyed %d\n", caught, destroyed);
  int wrong = 0;
  for (int i = 0; i < 300; ++i) wrong += much[i][51200] != static_cast<char>(i);
  std::printf("%d wrong, %zu keys\n", wrong, data.size());

  int threads_caught = 0;
  for (int i = 0; i < 20; ++i) {
    std::thread([&] {
      try {
        Deep(50);
      } catch (const std::exception&) {
        ++threads_caught;
      }
    }).join();
  }
  std::printf("threads: %d\n", threads_caught);

  destroyed = 0;
  int fds[2];
  if (pipe(fds) != 0) return 1;
  for (int i = 0; i < 10; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, Blocked, &fds[0]) != 0) return 1;
    if (i % 2 == 0) usleep(5000);
    pthread_cancel(thread);
    void* result;
    pthread_join(thread, &result);
  }
  std::printf("cancelled some: %d\n", destroyed >= 5);
  return 0;
}
