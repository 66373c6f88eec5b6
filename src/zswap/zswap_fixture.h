// SPDX-License-Identifier: Apache-2.0
// What the tests of this folder share: pages whose content tells which slot and
// version they are, a codec that fails on demand, and an engine with a device.
#ifndef UZSWAP_ZSWAP_ZSWAP_FIXTURE_H_
#define UZSWAP_ZSWAP_ZSWAP_FIXTURE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "compress/builtin.h"
#include "compress/registry.h"
#include "support/faulty_device.h"
#include "zswap/zswap.h"

namespace uzswap {

using PageBuffer = std::array<std::byte, kPageSize>;

enum class Content { kCompressible, kRandom, kSame };

// The page that was stored as `version` of `slot`. No two are alike.
inline PageBuffer PageOf(uint64_t slot, uint64_t version,
                         Content content = Content::kCompressible) {
  PageBuffer page;
  std::mt19937_64 random(slot * 1000003 + version);
  const uint64_t word = random() | 1;
  for (size_t i = 0; i < kPageSize / 8; ++i) {
    uint64_t w = word;
    if (content == Content::kRandom) w = random();
    if (content == Content::kCompressible) w = i % 8 == 0 ? random() : i;
    memcpy(&page[i * 8], &w, 8);
  }
  return page;
}

// lz4, unless told to fail.
struct FaultyCodec {
  static inline const uzswap_compressor* real = nullptr;
  static inline std::atomic<int> compress_error{0};
  static inline std::atomic<int> decompress_error{0};

  static const uzswap_compressor* Table() {
    registry::RegisterBuiltins();
    real = registry::Find("lz4", nullptr).value();
    static uzswap_compressor table;
    table = *real;
    table.name = "faulty";
    table.compress = [](void* workspace, const void* source, size_t bytes,
                        void* to, size_t capacity, size_t* produced) {
      const int error = compress_error.load();
      return error != 0 ? error
                        : real->compress(workspace, source, bytes, to, capacity,
                                         produced);
    };
    table.decompress = [](void* workspace, const void* source, size_t bytes,
                          void* to, size_t to_bytes) {
      const int error = decompress_error.load();
      if (error != 0) memset(to, 0xdd, to_bytes);
      return error != 0
                 ? error
                 : real->decompress(workspace, source, bytes, to, to_bytes);
    };
    return &table;
  }
  static void Heal() { compress_error = decompress_error = 0; }
};

// An engine over lz4 and zsmalloc. The destructor demands that all is well and,
// after everything was invalidated, that nothing is left anywhere.
class Engine {
 public:
  struct Options {
    PageCount total_pages = 1 << 20;
    unsigned max_pool_percent = 100;
    unsigned accept_threshold_percent = 90;
    PageCount device_pages = 0;  // 0: no device
    bool balance_tiers = false;
    Device* backing = nullptr;  // in place of a memory device; taken over
  };

  explicit Engine(const Options& options) {
    FaultyCodec::Heal();
    if (options.device_pages > 0) {
      device =
          new FaultyDevice(options.backing != nullptr
                               ? options.backing
                               : Must(NewMemoryDevice(options.device_pages)));
    }
    const ZswapConfig config{
        .compressor = FaultyCodec::Table(),
        .level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL,
        .zpool = "zsmalloc",
        .device = device,
        .total_pages = options.total_pages,
        .max_pool_percent = options.max_pool_percent,
        .accept_threshold_percent = options.accept_threshold_percent,
        .balance_tiers = options.balance_tiers};
    zswap = Must(Zswap::Create(config));
  }
  Engine() : Engine(Options{}) {}
  ~Engine() {
    FaultyCodec::Heal();
    zswap->FlushWork();
    zswap->CheckInvariants();
    zswap->Invalidate(Slot{0}, kSlotLimit);
    zswap->FlushWork();
    zswap->CheckInvariants();
    const ZswapStats stats = zswap->Stats();
    CHECK(stats.stored_pages == 0);
    CHECK(stats.compressed_bytes == 0);
    CHECK(device == nullptr || device->used() == 0);
    zswap->Destroy();
    if (device != nullptr) device->Destroy();
    delete device;
  }

  Status Store(uint64_t slot, uint64_t version,
               Content content = Content::kCompressible) {
    return zswap->Store(Slot{slot}, PageOf(slot, version, content));
  }
  // True if Load gives exactly that version.
  bool LoadIs(uint64_t slot, uint64_t version,
              Content content = Content::kCompressible) {
    PageBuffer page;
    return zswap->Load(Slot{slot}, page).ok() &&
           page == PageOf(slot, version, content);
  }
  int LoadError(uint64_t slot) {
    PageBuffer page;
    return zswap->Load(Slot{slot}, page).error();
  }

  Zswap* zswap;
  FaultyDevice* device = nullptr;

 private:
  template <typename T>
  static T* Must(Result<T*> result) {
    if (result.ok()) return result.value();
    fprintf(stderr, "fixture: %s\n", strerror(result.error()));
    abort();
  }
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_ZSWAP_FIXTURE_H_
