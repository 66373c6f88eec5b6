// SPDX-License-Identifier: Apache-2.0
// Model fuzzer: random operations on a zpool and on a map of what it must
// hold. Every zpool by name, and zsmalloc with other chains.
// usage: zpool_fuzz SEED SECONDS
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <set>
#include <vector>

#include "base/check.h"
#include "zpool/failure.h"
#include "zpool/zpool.h"
#include "zpool/zsmalloc.h"

namespace uzswap {
namespace {

constexpr unsigned kCheckEvery = 2000;

struct Object {
  Handle handle;
  ByteCount bytes;
  uint64_t seed;
  bool reading;
};

class Fuzzer {
 public:
  Fuzzer(Zpool* pool, uint64_t seed) : pool_(pool), random_(seed) {}

  uint64_t Run(time_t until) {
    uint64_t steps = 0;
    while (steps % 256 != 0 || time(nullptr) < until) {
      Step();
      if (++steps % kCheckEvery == 0) CheckAll();
    }
    CheckAll();
    while (!objects_.empty()) Free(objects_.size() - 1);
    pool_->CheckInvariants();
    CHECK(pool_->total_pages() <= 16);
    pool_->Destroy();
    return steps;
  }

 private:
  void Step() {
    // The target moves, so that the pool grows and drains again and again.
    if (random_() % 5000 == 0) {
      target_ = random_() % (random_() % 4 == 0 ? 20'000 : 500);
      size_style_ = random_() % 4;
    }
    const uint64_t dice = random_() % 100;
    if (dice < 50) {
      if (objects_.size() < target_) {
        Allocate();
      } else if (!objects_.empty()) {
        Free(Any());
      }
    } else if (objects_.empty() || dice < 70) {
      Allocate();
    } else if (dice < 85) {
      Free(Any());
    } else if (dice < 90) {
      Verify(objects_[Any()]);
    } else if (dice < 94) {
      Fill(objects_[Any()]);
    } else if (dice < 96) {
      const PageCount before = pool_->total_pages();
      const PageCount gone =
          pool_->Compact(static_cast<unsigned>(1 + random_() % 200));
      CHECK(pool_->total_pages() == before - gone);
    } else {
      ToggleRead(objects_[Any()]);
    }
  }

  ByteCount RandomSize() {
    switch (size_style_) {
      case 0:
        return 1 + random_() % 100;
      case 1:
        return 1000 + random_() % 300;
      case 2:
        return random_() % 3 == 0 ? kPageSize : 3500 + random_() % 597;
      default:
        return 1 + random_() % kPageSize;
    }
  }

  void Allocate() {
    const ByteCount bytes = RandomSize();
#ifdef UZSWAP_TEST_HOOKS
    const bool may_fail = random_() % 50 == 0;
    if (may_fail) zpool_failure::FailNth(1 + random_() % 3);
#else
    const bool may_fail = false;
#endif
    const Result<Handle> handle = pool_->Allocate(bytes);
#ifdef UZSWAP_TEST_HOOKS
    zpool_failure::FailNth(0);
#endif
    if (!handle.ok()) {
      CHECK(may_fail && handle.error() == ENOMEM);
      return;
    }
    CHECK(handles_.insert(handle.value()).second);
    objects_.push_back({handle.value(), bytes, 0, false});
    Fill(objects_.back());
  }

  void Free(size_t i) {
    std::swap(objects_[i], objects_.back());
    const Object object = objects_.back();
    Verify(object);
    if (object.reading) pool_->ReadEnd(object.handle);
    objects_.pop_back();
    handles_.erase(object.handle);
    pool_->Free(object.handle);
  }

  void ToggleRead(Object& object) {
    if (object.reading) {
      pool_->ReadEnd(object.handle);
    } else if (pool_->ReadBegin(object.handle, 1, MutablePage(scratch_))
                   .size() != 1) {
      CHECK(false);
    }
    object.reading = !object.reading;
  }

  // Not under an open read: its owner would see the bytes change.
  void Fill(Object& object) {
    if (object.reading) return;
    object.seed = random_();
    Image(object);
    pool_->Write(object.handle, {image_, object.bytes});
  }

  void Verify(const Object& object) {
    Image(object);
    const auto bytes =
        pool_->ReadBegin(object.handle, object.bytes, MutablePage(scratch_));
    CHECK(bytes.size() == object.bytes);
    CHECK(memcmp(bytes.data(), image_, object.bytes) == 0);
    pool_->ReadEnd(object.handle);
  }

  void Image(const Object& object) {
    std::minstd_rand pattern(static_cast<uint32_t>(object.seed));
    for (size_t i = 0; i < object.bytes; i += 4) {
      const auto word = static_cast<uint32_t>(pattern());
      memcpy(image_ + i, &word, sizeof(word));
    }
  }

  void CheckAll() {
    ByteCount payload = 0;
    for (const Object& object : objects_) {
      Verify(object);
      payload += object.bytes;
    }
    pool_->CheckInvariants();
    CHECK(pool_->total_pages() * kPageSize >= payload);
  }

  size_t Any() { return random_() % objects_.size(); }

  Zpool* const pool_;
  std::mt19937_64 random_;
  std::vector<Object> objects_;
  std::set<Handle> handles_;
  uint64_t target_ = 300;
  uint64_t size_style_ = 3;
  std::byte image_[kPageSize + 4];
  std::byte scratch_[kPageSize];
};

int Main(uint64_t seed, long seconds) {
  std::vector<Zpool*> pools;
  std::vector<const char*> labels;
  for (unsigned i = 0; ZpoolName(i) != nullptr; ++i) {
    pools.push_back(CreateZpool(ZpoolName(i)).value());
    labels.push_back(ZpoolName(i));
  }
  pools.push_back(NewZsmalloc(ZsmallocGeometry::kMinChain).value());
  labels.push_back("zsmalloc, shortest chain");
  pools.push_back(NewZsmalloc(ZsmallocGeometry::kMaxChain).value());
  labels.push_back("zsmalloc, longest chain");
  const time_t start = time(nullptr);
  const auto n = static_cast<long>(pools.size());
  for (long i = 0; i < n; ++i) {
    const uint64_t steps =
        Fuzzer(pools[i], seed).Run(start + (i + 1) * seconds / n);
    printf("seed %lu: %s: %lu steps\n", seed, labels[i], steps);
  }
  return 0;
}

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: %s SEED SECONDS\n", argv[0]);
    return 2;
  }
  const uint64_t seed = strtoull(argv[1], nullptr, 0);
  printf("seed %lu\n", seed);
  fflush(stdout);
  return uzswap::Main(seed, strtol(argv[2], nullptr, 0));
}
