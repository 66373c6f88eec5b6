// SPDX-License-Identifier: Apache-2.0
// Random work against a model: a map from slot to the version and content that
// was stored last. Every operation's answer must be the model's, whatever the
// device and the codec do meanwhile. usage: zswap_fuzz SEED SECONDS
#include <chrono>
#include <map>
#include <thread>

#include "zpool/failure.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

struct Version {
  uint64_t slot;  // under which the content was made (renames keep it)
  uint64_t version;
  Content content;
};

class Fuzz {
 public:
  explicit Fuzz(uint64_t seed)
      : random_(seed),
        engine_({.total_pages = 200,
                 .device_pages = 300,
                 .backing = seed % 2 == 0 ? nullptr : NewLog()}) {}

  void Step() {
    const uint64_t dice = Pick(1000);
    if (dice < 420) {
      Store();
    } else if (dice < 760) {
      Load();
    } else if (dice < 850) {
      Rename();
    } else if (dice < 900) {
      engine_.zswap->Shrink(Pick(40));
    } else if (dice < 940) {
      InvalidateRange();
    } else if (dice < 970) {
      ChangeFaults();
    } else if (dice < 990) {
      engine_.zswap->SetTotalPages(20 + Pick(300));
    } else {
      Check();
    }
    ++steps_;
  }

  void Check() {
    engine_.zswap->CheckInvariants();
    CHECK(engine_.zswap->Stats().stored_pages == model_.size());
    const auto probe = PickSlot();
    CHECK(engine_.zswap->Contains(Slot{probe}) == model_.contains(probe));
  }
  uint64_t steps() const { return steps_; }
  ZswapStats Stats() { return engine_.zswap->Stats(); }

 private:
  // Files in place of memory.
  static Device* NewLog() {
    const char* folder = getenv("TMPDIR");
    return NewFileDevice(folder != nullptr ? folder : "/tmp", 300).value();
  }
  uint64_t Pick(uint64_t below) { return random_() % below; }
  // Three neighbourhoods: dense, across a border of tables, at the very end.
  uint64_t PickSlot() {
    constexpr uint64_t kBases[] = {0, (uint64_t{5} << 18) - 400,
                                   kSlotLimit - 800};
    return kBases[Pick(3)] + Pick(800);
  }
  uint64_t PickStored() {
    if (model_.empty()) return PickSlot();
    const auto it = model_.lower_bound(PickSlot());
    return it == model_.end() ? model_.begin()->first : it->first;
  }

  void Store() {
    const uint64_t slot = Pick(4) == 0 ? PickStored() : PickSlot();
    const Version v{slot, ++version_, static_cast<Content>(Pick(3))};
    if (Pick(30) == 0) zpool_failure::FailNth(1 + Pick(3));
    const Status s =
        engine_.zswap->Store(Slot{slot}, PageOf(slot, v.version, v.content));
    zpool_failure::FailNth(0);
    if (s.ok()) {
      model_[slot] = v;
    } else {
      CHECK(s.error() == ENOMEM);
      model_.erase(slot);
    }
  }

  void Load() {
    const uint64_t slot = Pick(8) == 0 ? PickSlot() : PickStored();
    PageBuffer page;
    const Status s = engine_.zswap->Load(Slot{slot}, page);
    const auto it = model_.find(slot);
    if (it == model_.end()) {
      CHECK(s.error() == ENOENT);
    } else if (s.ok()) {
      const Version& v = it->second;
      CHECK(page == PageOf(v.slot, v.version, v.content));
      model_.erase(it);
    } else {
      CHECK(s.error() == EIO);
      CHECK(faults_on_);
      CHECK(engine_.zswap->Contains(Slot{slot}));
    }
  }

  void Rename() {
    const uint64_t from = Pick(8) == 0 ? PickSlot() : PickStored();
    const uint64_t to = PickSlot();
    if (model_.contains(to)) return;
    engine_.zswap->Rename(Slot{from}, Slot{to});
    const auto it = model_.find(from);
    if (it == model_.end()) return;
    model_[to] = it->second;
    model_.erase(from);
  }

  void InvalidateRange() {
    const uint64_t first = PickSlot();
    const uint64_t limit = Pick(20) == 0 ? kSlotLimit : 100;
    const uint64_t count = std::min(kSlotLimit - first, Pick(limit));
    engine_.zswap->Invalidate(Slot{first}, count);
    model_.erase(model_.lower_bound(first), model_.lower_bound(first + count));
  }

  void ChangeFaults() {
    engine_.device->write_fault.Clear();
    engine_.device->read_fault.Clear();
    FaultyCodec::Heal();
    faults_on_ = Pick(2) == 0;
    if (!faults_on_) return;
    engine_.device->write_fault.Set(1 + Pick(5), Pick(2) == 0 ? EIO : ENOSPC);
    engine_.device->read_fault.Set(2 + Pick(5), EIO);
    if (Pick(4) == 0) FaultyCodec::compress_error = EINVAL;
    if (Pick(4) == 0) FaultyCodec::decompress_error = EIO;
  }

  std::mt19937_64 random_;
  Engine engine_;
  std::map<uint64_t, Version> model_;
  uint64_t version_ = 0;
  uint64_t steps_ = 0;
  bool faults_on_ = false;
};

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 0) : 1;
  const long seconds = argc > 2 ? atol(argv[2]) : 5;
  printf("zswap_fuzz: seed %llu, %ld s\n",
         static_cast<unsigned long long>(seed), seconds);
  fflush(stdout);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t steps = 0;
  uint64_t round = 0;
  while (std::chrono::steady_clock::now() < end) {
    uzswap::Fuzz fuzz(seed + round++);
    for (int i = 0; i < 200000 && std::chrono::steady_clock::now() < end; ++i) {
      fuzz.Step();
    }
    fuzz.Check();
    steps += fuzz.steps();
    const uzswap::ZswapStats s = fuzz.Stats();
    printf("  out %llu in %llu wb %llu device_in %llu exceeded %llu\n",
           static_cast<unsigned long long>(s.zswpout),
           static_cast<unsigned long long>(s.zswpin),
           static_cast<unsigned long long>(s.zswpwb),
           static_cast<unsigned long long>(s.device_in),
           static_cast<unsigned long long>(s.pool_limit_exceeded));
  }
  printf("zswap_fuzz: %llu steps\n", static_cast<unsigned long long>(steps));
  return 0;
}
