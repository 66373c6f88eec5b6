// SPDX-License-Identifier: Apache-2.0
// Every call number with arbitrary registers and arbitrary memory behind them:
// nothing crashes, everything pinned is unpinned, and a call is never made
// longer than it was. Usage: arguments_fuzz SEED SECONDS.
#include <ctime>
#include <random>

#include "preload/pins_under_test.h"

namespace uzswap::preload {
namespace {

using testing::fake;
using testing::kPage;

constexpr uint64_t kManagedPages = 64;

class Fuzzer {
 public:
  explicit Fuzzer(uint64_t seed)
      : random_(seed), managed_(fake.Manage(kManagedPages * kPage)) {
    void* p = mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    foreign_ = testing::Number(p);
    mprotect(reinterpret_cast<char*>(p) + 2 * kPage, kPage, PROT_NONE);
  }

  void Round() {
    for (int i = 0; i < 200; ++i) {
      const uint64_t word = Word();
      fake.Put(managed_ + random_() % (kManagedPages * kPage - 8), word);
      auto* at =
          reinterpret_cast<char*>(foreign_) + random_() % (2 * kPage - 8);
      memcpy(at, &word, sizeof(word));
    }
    SetPinLimit(random_() % 4 == 0 ? 0 : UINT64_MAX);
    for (long number = -1; number < 500; ++number) One(number);
    // Where the variety is: vectors and messages.
    for (int i = 0; i < 100; ++i) {
      for (const long number : {SYS_readv, SYS_recvmsg, SYS_sendmmsg, SYS_ioctl,
                                SYS_process_vm_readv, SYS_open}) {
        One(number);
      }
    }
  }

 private:
  uint64_t Word() {
    switch (random_() % 8) {
      case 0:
        return random_();
      case 1:
        return random_() % 64;
      case 2:
        return random_() % 300000;
      case 3:
        return foreign_ + random_() % (6 * kPage);
      case 4:
        return testing::Number(stack_) + random_() % (kPage - 256);
      default:
        return managed_ - kPage + random_() % ((kManagedPages + 2) * kPage);
    }
  }

  void One(long number) {
    const SyscallFrame before =
        testing::Call(number, Word(), Word(), Word(), Word(), Word(), Word());
    SyscallFrame call = before;
    Pins pins;
    const bool listed = PinArguments(call, pins);
    pins.CheckInvariants();
    const Row* row = FindRow(number);
    CHECK(row != nullptr || !listed);
    for (int i = 0; i < 6; ++i) {
      if (call.argument(i) == before.argument(i)) continue;
      // Only counts, and arrays that were replaced by private copies.
      const Kind kind = row->argument[i].kind;
      CHECK(kind == Kind::kScalar || kind == Kind::kIovec ||
            kind == Kind::kMessage || kind == Kind::kMessages);
      if (kind == Kind::kScalar) CHECK(call.argument(i) < before.argument(i));
    }
    CHECK(call.rax == before.rax);
    if (random_() % 4 == 0) PinMore(call, pins);
    pins.Release();
    CHECK(fake.TotalPins() == 0);
  }

  std::mt19937_64 random_;
  uint64_t managed_;
  char stack_[kPage] = {};  // near the frames, and written back to
  uint64_t foreign_;
};

}  // namespace
}  // namespace uzswap::preload

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 0)
                                 : static_cast<uint64_t>(time(nullptr));
  const time_t end = time(nullptr) + (argc > 2 ? atoi(argv[2]) : 5);
  printf("seed %llu\n", static_cast<unsigned long long>(seed));
  uzswap::preload::Fuzzer fuzzer(seed);
  uint64_t rounds = 0;
  for (; time(nullptr) < end; ++rounds) fuzzer.Round();
  printf("%llu rounds\n", static_cast<unsigned long long>(rounds));
  return 0;
}
