// SPDX-License-Identifier: Apache-2.0
// Random work against a model: for each slot the version and content that was
// stored last. Every operation's answer must be the model's, whatever the
// device and the codec do meanwhile, whichever pools there are, and whoever
// goes on after a fork.
//
// usage: zswap_fuzz SEED SECONDS [OPERATIONS]
// With OPERATIONS it ends after as many, however long they take. What a round
// does follows from its seed alone, except for what the engine's background
// thread does meanwhile.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/lockdep.h"
#include "base/worker.h"
#include "device/segment_log.h"
#include "support/faulty_storage.h"
#include "zpool/failure.h"
#include "zswap/parameters.h"
#include "zswap/test_hooks.h"
#include "zswap/zswap_fixture.h"

namespace uzswap {
namespace {

constexpr uint64_t kRoundSteps = 500000;

// splitmix64: cheap to seed, which is done for each page.
struct Random {
  uint64_t state;
  uint64_t operator()() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
};

enum class Kind : uint8_t { kNone, kSame, kShort, kText, kRandom };

struct Version {
  uint32_t version = 0;
  Kind kind = Kind::kNone;
};

// No two versions are alike, wherever a rename takes them.
PageBuffer Make(const Version& v) {
  PageBuffer page;
  Random random{v.version};
  const uint64_t word = random();
  for (size_t i = 0; i < kPageSize / 8; ++i) {
    uint64_t w = word;
    if (v.kind == Kind::kShort && i < 12) w = random();
    if (v.kind == Kind::kText) w = random() & 0x0303030303030303;
    if (v.kind == Kind::kRandom) w = random();
    memcpy(&page[i * 8], &w, 8);
  }
  return page;
}

// Which operation, of 10000.
struct Share {
  const char* name;
  unsigned share;
};
enum Operation {
  kStore,
  kGroup,
  kLoad,
  kKeep,
  kRename,
  kInvalidate,
  kShrink,
  kRecompress,
  kCompact,
  kTend,
  kLimit,
  kParameter,
  kFaults,
  kFlush,
  kCheck,
  kFork,
  kOperations
};
constexpr Share kShares[kOperations] = {
    {"store", 3300},  {"group", 250}, {"load", 3000},     {"keep", 1300},
    {"rename", 800},  {"drop", 500},  {"writeback", 310}, {"recompress", 90},
    {"compact", 150}, {"tend", 100},  {"limit", 60},      {"parameter", 12},
    {"faults", 90},   {"flush", 30},  {"check", 7},       {"fork", 1}};
constexpr unsigned SumOfShares() {
  unsigned sum = 0;
  for (const Share& s : kShares) sum += s.share;
  return sum;
}
static_assert(SumOfShares() == 10000);

uint64_t done_of[kOperations];

class Fuzz final : ParameterHost {
 public:
  explicit Fuzz(uint64_t seed) : random_{seed * 0x9e3779b97f4a7c15} {
    const Engine::Options options{.total_pages = 200,
                                  .device_pages = 300,
                                  .backing = NewDevice(seed % 8)};
    engine_ = std::make_unique<Engine>(options);
    zswap_test_hooks.swapin_window = 16 >> seed / 8 % 3;
  }
  // In a child that went on in its parent's place the parent waits.
  ~Fuzz() {
    Heal();
    engine_.reset();
    CHECK(storage_ == nullptr || storage_->used() == 0);
  }

  void Step() {
    unsigned dice = static_cast<unsigned>(Pick(10000));
    unsigned operation = 0;
    while (dice >= kShares[operation].share) {
      dice -= kShares[operation++].share;
    }
    ++done_of[operation];
    Do(static_cast<Operation>(operation));
  }

  void Check() {
    engine_->zswap->FlushWork();
    engine_->zswap->CheckInvariants();
    CHECK(engine_->zswap->Stats().stored_pages == stored_);
    for (unsigned i = 0; i < kSlots; ++i) {
      CHECK(engine_->zswap->Contains(SlotOf(i)) == IsStored(i));
    }
  }
  ZswapStats Stats() { return engine_->zswap->Stats(); }

 private:
  static constexpr unsigned kSlots = 3 * 700;

  // Memory; a log over files; a log over a storage that fails in every way.
  Device* NewDevice(uint64_t which) {
    if (which > 2) return nullptr;
    if (which == 0) {
      const char* folder = getenv("TMPDIR");
      return NewFileDevice(folder != nullptr ? folder : "/tmp", 300).value();
    }
    storage_ = std::make_unique<FaultyStorage>(300 / kExtentPages);
    return NewSegmentLog(storage_.get(), which == 1 ? Protection::kEncrypted
                                                    : Protection::kChecksummed)
        .value();
  }

  uint64_t Pick(uint64_t below) { return random_() % below; }
  bool IsStored(unsigned i) const { return model_[i].kind != Kind::kNone; }
  // Three neighbourhoods: dense, across a border of tables, at the very end.
  static Slot SlotOf(unsigned i) {
    constexpr uint64_t kBases[] = {0, (uint64_t{5} << 18) - 350,
                                   kSlotLimit - kSlots / 3};
    return Slot{kBases[i / (kSlots / 3)] + i % (kSlots / 3)};
  }
  unsigned PickSlot() { return static_cast<unsigned>(Pick(kSlots)); }
  unsigned PickStored() {
    unsigned i = PickSlot();
    for (int tries = 0; tries < 8 && !IsStored(i); ++tries) i = PickSlot();
    return i;
  }
  Version NewVersion() {
    constexpr Kind kKinds[] = {Kind::kSame,  Kind::kSame,  Kind::kShort,
                               Kind::kShort, Kind::kShort, Kind::kShort,
                               Kind::kText,  Kind::kRandom};
    return {++version_, kKinds[Pick(std::size(kKinds))]};
  }
  void Set(unsigned i, const Version& v) {
    stored_ += !IsStored(i);
    model_[i] = v;
    stored_ -= !IsStored(i);
  }

  void Do(Operation operation) {
    Zswap& zswap = *engine_->zswap;
    switch (operation) {
      case kStore:
        return Store(1);
      case kGroup:
        return Store(1 + static_cast<unsigned>(Pick(8)));
      case kLoad:
        return Load(Keep::kNo);
      case kKeep:
        return Load(Pick(2) == 0 ? Keep::kFree : Keep::kIfRoom);
      case kRename:
        return Rename();
      case kInvalidate:
        return Invalidate();
      case kShrink:
        (void)(Pick(2) == 0 ? zswap.Shrink(Pick(40))
                            : zswap.ShrinkUnderPressure());
        return;
      case kRecompress:
        (void)zswap.Recompress(1 + Pick(16));
        return;
      case kCompact:
        (void)zswap.Compact();
        return;
      case kTend:
        return zswap.Tend();
      case kLimit:
        return zswap.SetTotalPages(20 + Pick(300));
      case kParameter:
        return Parameter();
      case kFaults:
        return ChangeFaults();
      case kFlush:
        return zswap.FlushWork();
      case kCheck:
        return Check();
      case kFork:
        return Fork();
      case kOperations:
        break;
    }
  }

  void Store(unsigned count) {
    PageBuffer pages[8];
    StoreUnit units[8];
    unsigned number[8];
    Version versions[8];
    const unsigned first = Pick(4) == 0 ? PickStored() : PickSlot();
    const unsigned stride = Pick(2) == 0 ? 1 : 13;
    for (unsigned k = 0; k < count; ++k) {
      number[k] = (first + k * stride) % kSlots;
      versions[k] = NewVersion();
      pages[k] = Make(versions[k]);
      units[k] = {SlotOf(number[k]), pages[k].data(), kOk};
    }
    if (Pick(60) == 0) zpool_failure::FailNth(1 + Pick(3));
    engine_->zswap->StoreGroup({units, count});
    zpool_failure::FailNth(0);
    for (unsigned k = 0; k < count; ++k) {
      CHECK(units[k].status.ok() || units[k].status.error() == ENOMEM);
      Set(number[k], units[k].status.ok() ? versions[k] : Version{});
    }
  }

  void Load(Keep keep) {
    const unsigned i = Pick(16) == 0 ? PickSlot() : PickStored();
    PageBuffer page;
    const Result<bool> kept = engine_->zswap->Load(SlotOf(i), page, keep);
    if (!IsStored(i)) {
      CHECK(kept.error() == ENOENT);
    } else if (kept.ok()) {
      CHECK(page == Make(model_[i]));
      CHECK(keep != Keep::kNo || !kept.value());
      if (!kept.value()) Set(i, {});
    } else {
      CHECK(kept.error() == EIO);
      CHECK(faults_on_ || damaged_);
      CHECK(engine_->zswap->Contains(SlotOf(i)));
    }
  }

  void Rename() {
    const unsigned from = Pick(16) == 0 ? PickSlot() : PickStored();
    const unsigned to = PickSlot();
    if (IsStored(to)) return;
    engine_->zswap->Rename(SlotOf(from), SlotOf(to));
    const Version v = model_[from];
    Set(from, {});
    Set(to, v);
  }

  void Invalidate() {
    if (Pick(200) == 0) {
      engine_->zswap->Invalidate(Slot{0}, kSlotLimit);
      for (unsigned i = 0; i < kSlots; ++i) Set(i, {});
      damaged_ = false;
      return;
    }
    const unsigned first = PickSlot();
    const unsigned room = kSlots / 3 - first % (kSlots / 3);
    const unsigned count =
        std::min(room, static_cast<unsigned>(1 + Pick(Pick(8) == 0 ? 100 : 4)));
    engine_->zswap->Invalidate(SlotOf(first), count);
    for (unsigned i = first; i < first + count; ++i) Set(i, {});
  }

  // ---- parameters

  // lz4 is the one that fails on demand.
  static const uzswap_compressor* Find(const CompressorChoice& choice) {
    const std::string name = choice.name.text;
    return name == "lz4" || name == "faulty"
               ? FaultyCodec::Table()
               : registry::Find(name.c_str(), nullptr).value();
  }
  Status SwitchPool(const CompressorChoice& compressor,
                    const char* zpool) override {
    return engine_->zswap->SwitchPool(*Find(compressor), compressor.level,
                                      zpool);
  }
  Status SetRecompressor(const CompressorChoice* compressor) override {
    if (compressor == nullptr) {
      return engine_->zswap->SetRecompressor(nullptr, 0);
    }
    return engine_->zswap->SetRecompressor(Find(*compressor),
                                           compressor->level);
  }
  void Changed() override { engine_->zswap->ParametersChanged(); }

  void Parameter() {
    static constexpr const char* kCodecs[] = {"lz4", "zstd:1", "lzo-rle",
                                              "copy", "zstd:-3"};
    static constexpr const char* kZpools[] = {"zsmalloc", "zbud", "z3fold",
                                              "zsmalloc:4"};
    static constexpr const char* kPercents[] = {"20", "50", "80", "100"};
    static constexpr const char* kBools[] = {"Y", "Y", "N"};
    const char* name = "recompressor";
    const char* value = Pick(4) == 0 ? "none" : kCodecs[Pick(5)];
    switch (Pick(8)) {
      case 0:
      case 1:
        name = "compressor";
        value = kCodecs[Pick(5)];
        break;
      case 2:
        name = "zpool";
        value = kZpools[Pick(4)];
        break;
      case 3:
        name = "max_pool_percent";
        value = kPercents[Pick(4)];
        break;
      case 4:
        name = Pick(2) == 0 ? "enabled" : "shrinker_enabled";
        value = kBools[Pick(3)];
        break;
    }
    const Status s = engine_->zswap->parameters().Set(name, value, this);
    CHECK(s.ok() || s.error() == ENOSPC);
  }

  // ---- faults

  void Heal() {
    engine_->device->write_fault.Clear();
    engine_->device->read_fault.Clear();
    FaultyCodec::Heal();
    if (storage_ == nullptr) return;
    storage_->write_error = storage_->short_error = storage_->read_error = 0;
    storage_->SetSize(300 / kExtentPages);
  }

  void ChangeFaults() {
    Heal();
    faults_on_ = Pick(2) == 0;
    if (!faults_on_) return;
    const int error = Pick(2) == 0 ? EIO : ENOSPC;
    if (Pick(2) == 0) engine_->device->write_fault.Set(1 + Pick(5), error);
    if (Pick(2) == 0) engine_->device->read_fault.Set(2 + Pick(5), EIO);
    if (Pick(4) == 0) FaultyCodec::compress_error = EINVAL;
    if (Pick(4) == 0) FaultyCodec::decompress_error = EIO;
    if (storage_ == nullptr) return;
    if (Pick(4) == 0) storage_->write_error = error;
    if (Pick(4) == 0) storage_->short_error = EIO;
    if (Pick(4) == 0) storage_->read_error = EIO;
    if (Pick(4) == 0) storage_->SetSize(Pick(10));
    if (Pick(100) == 0) Corrupt();
  }

  // From here on what is on the storage may be unreadable, but never wrong.
  void Corrupt() {
    storage_->ForEach([&](std::vector<std::byte>& bytes) {
      if (Pick(3) == 0) bytes[Pick(bytes.size())] ^= std::byte{1};
    });
    damaged_ = true;
  }

  // ---- fork

  // The child goes on with the work and the parent waits for its end, or the
  // other way round; either must have everything.
  void Fork() {
    if (forks_ >= 6) return;
    ++forks_;
    const bool child_goes_on = Pick(3) == 0;
    Zswap& zswap = *engine_->zswap;
    fflush(stdout);
    zswap.PrepareFork();
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      lockdep::ResetThread();
      CHECK(zswap.ChildAfterFork().ok());
      if (!child_goes_on) {
        LoadEverything();
        _exit(0);
      }
      return;
    }
    zswap.ParentAfterFork();
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    // The child has done the rest of the work, and told.
    if (child_goes_on) _exit(0);
  }

  void LoadEverything() {
    Heal();
    Check();
    for (unsigned i = 0; i < kSlots; ++i) {
      if (!IsStored(i)) continue;
      PageBuffer page;
      const Result<bool> r =
          engine_->zswap->Load(SlotOf(i), page, Keep::kIfRoom);
      CHECK(r.ok() ? page == Make(model_[i]) : damaged_);
    }
  }

  Random random_;
  std::unique_ptr<FaultyStorage> storage_;  // outlives the engine
  std::unique_ptr<Engine> engine_;
  Version model_[kSlots] = {};
  uint64_t stored_ = 0;
  uint32_t version_ = 0;
  unsigned forks_ = 0;
  bool faults_on_ = false;
  bool damaged_ = false;  // bytes on the storage changed: of any object
};

struct Goal {
  std::chrono::steady_clock::time_point end;
  uint64_t operations;  // 0: until `end`

  bool Reached(uint64_t steps) const {
    return operations != 0 ? steps >= operations
                           : std::chrono::steady_clock::now() >= end;
  }
};

void Print(const ZswapStats& s, uint64_t steps) {
  const auto n = [](uint64_t v) { return static_cast<unsigned long long>(v); };
  printf(
      "  %llu: out %llu in %llu wb %llu device_in %llu ahead %llu "
      "recompressed %llu poor %llu migrated %llu switches %llu read_fail %llu "
      "exceeded %llu\n",
      n(steps), n(s.zswpout), n(s.zswpin), n(s.zswpwb), n(s.device_in),
      n(s.swapin_ahead_pages), n(s.recompressed_pages), n(s.recompress_poor),
      n(s.migrated_pages), n(s.pool_switches), n(s.device_read_fail),
      n(s.pool_limit_exceeded));
  fflush(stdout);
}

void Run(uint64_t seed, const Goal& goal) {
  uint64_t steps = 0;
  for (uint64_t round = 0; !goal.Reached(steps); ++round) {
    Fuzz fuzz(seed + round);
    for (uint64_t i = 0; i < kRoundSteps; ++i) {
      if (i % 256 == 0 && goal.Reached(steps)) break;
      fuzz.Step();
      ++steps;
    }
    fuzz.Check();
    if (round % 4 == 0) Print(fuzz.Stats(), steps);
  }
  printf("zswap_fuzz: %llu steps:", static_cast<unsigned long long>(steps));
  for (unsigned i = 0; i < kOperations; ++i) {
    printf(" %s %llu", kShares[i].name,
           static_cast<unsigned long long>(done_of[i]));
  }
  printf("\n");
}

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 0) : 1;
  const long seconds = argc > 2 ? atol(argv[2]) : 5;
  const uint64_t operations = argc > 3 ? strtoull(argv[3], nullptr, 0) : 0;
  printf("zswap_fuzz: seed %llu, %ld s, %llu operations\n",
         static_cast<unsigned long long>(seed), seconds,
         static_cast<unsigned long long>(operations));
  fflush(stdout);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  uzswap::Worker::SetStarter(
      [](uzswap::RawThread::Entry entry, void* argument) {
        std::thread(entry, argument).detach();
        return uzswap::kOk;
      });
#endif
  uzswap::Run(seed,
              {std::chrono::steady_clock::now() + std::chrono::seconds(seconds),
               operations});
  return 0;
}
