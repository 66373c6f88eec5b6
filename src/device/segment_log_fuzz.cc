// SPDX-License-Identifier: Apache-2.0
// Random work on a log against a model: a map from object to the seed of its
// bytes. The storage fails, fills, comes back and changes its size meanwhile;
// now and then a child is forked that goes on with the same objects. Every
// answer must be the model's. usage: segment_log_fuzz SEED SECONDS
#include <chrono>
#include <map>
#include <memory>
#include <random>

#include "device/device_test_support.h"
#include "device/segment_log.h"
#include "support/faulty_storage.h"

namespace uzswap {
namespace {

std::vector<std::byte> ObjectOf(uint64_t seed) {
  const PageBuffer page = Pattern(seed);
  std::mt19937_64 random(seed);
  size_t length = 1 + random() % kPageSize;
  if (random() % 4 == 0) length = kPageSize;
  if (random() % 4 == 0) length = 1 + random() % 40;
  return {page.begin(), page.begin() + static_cast<ptrdiff_t>(length)};
}

class Fuzz {
 public:
  explicit Fuzz(uint64_t seed)
      : random_(seed),
        storage_(std::make_unique<FaultyStorage>(1 + random_() % 60,
                                                 random_() % 3 == 0 ? 512 : 1)),
        log_(NewSegmentLog(storage_.get(), random_() % 3 == 0
                                               ? Protection::kChecksummed
                                               : Protection::kEncrypted)
                 .value()),
        aim_(1 + random_() % 3000) {}

  // Everything can be read, and when all is freed nothing is left.
  void Finish() {
    Heal();
    for (const auto& [id, seed] : model_) CHECK(IsRight(id, seed) == 0);
    log_->CheckInvariants();
    for (const auto& [id, seed] : model_) log_->Free(ObjectId{id});
    log_->CheckInvariants();
    CHECK(log_->used() == 0);
    CHECK(storage_->used() == 0);
    log_->Destroy();
  }

  void Step() {
    const uint64_t dice = Pick(1000);
    if (dice < 460) {
      if (model_.size() < aim_ || Pick(2) == 0) Put();
    } else if (dice < 690) {
      Get();
    } else if (dice < 700) {
      GetInOrder();
    } else if (dice < 960) {
      if (model_.size() > aim_ / 2 || Pick(3) == 0) Drop();
    } else if (dice < 990) {
      ChangeFaults();
    } else if (dice < 999) {
      log_->CheckInvariants();
      CHECK(log_->used() == model_.size());
    } else if (Pick(20) == 0) {
      aim_ = 1 + Pick(4000);
    } else if (Pick(4) == 0) {
      log_->SetSize((1 + Pick(80)) * kExtentPages);
      size_changed_ = true;
    } else if (Pick(4) == 0 && depth_ < 3) {
      Fork();
    }
    ++steps;
  }

  uint64_t steps = 0;
  uint64_t full = 0;
  uint64_t failed = 0;
  uint64_t forks = 0;
  DeviceStats Stats() { return log_->Stats(); }

 private:
  uint64_t Pick(uint64_t below) { return random_() % below; }

  void Put() {
    const uint64_t seed = random_();
    const Result<ObjectId> id = log_->Write(ObjectOf(seed));
    if (id.ok()) {
      const auto number = static_cast<uint64_t>(id.value());
      CHECK(!model_.contains(number));
      model_[number] = seed;
      size_changed_ =
          size_changed_ && storage_->used() > log_->size() / kExtentPages;
      return;
    }
    CHECK(id.error() == ENOSPC || (faults_ && id.error() == EIO));
    ++(id.error() == ENOSPC ? full : failed);
    // When its size was lowered it closes holes step by step.
    if (size_changed_) return;
    // A log without faults is full when it is: not with half of it in holes.
    if (id.error() == ENOSPC && !faults_ && can_write_) {
      CHECK(log_->Stats().live_bytes + kExtentBytes >=
            log_->size() * kPageSize * 3 / 4);
    }
  }

  int IsRight(uint64_t id, uint64_t seed) {
    const std::vector<std::byte> expected = ObjectOf(seed);
    std::vector<std::byte> bytes(expected.size());
    if (Pick(4) == 0 && log_->ReadHeld(ObjectId{id}, bytes).ok() &&
        bytes != expected) {
      return -1;
    }
    ReadAround around;
    if (Pick(4) == 0) {
      around.before = static_cast<uint32_t>(Pick(2 * kExtentBytes));
      around.after = static_cast<uint32_t>(Pick(2 * kExtentBytes));
    }
    const Status s = log_->ReadWith(ObjectId{id}, bytes, around);
    if (!s.ok()) return s.error();
    return bytes == expected ? 0 : -1;
  }

  std::map<uint64_t, uint64_t>::iterator PickObject() {
    const auto it = model_.lower_bound(Pick(5000));
    return it == model_.end() ? model_.begin() : it;
  }
  void Get() {
    if (model_.empty()) return;
    const auto it = PickObject();
    const int error = IsRight(it->first, it->second);
    CHECK(error == 0 || (faults_ && error == EIO));
  }
  // As a program does that walks its memory: objects were numbered as they
  // were written.
  void GetInOrder() {
    if (model_.empty()) return;
    auto it = PickObject();
    for (uint64_t n = Pick(200); n > 0 && it != model_.end(); --n, ++it) {
      const int error = IsRight(it->first, it->second);
      CHECK(error == 0 || (faults_ && error == EIO));
    }
  }
  void Drop() {
    if (model_.empty()) return;
    const auto it = PickObject();
    log_->Free(ObjectId{it->first});
    model_.erase(it);
  }

  void Heal() {
    storage_->write_error = storage_->short_error = storage_->read_error = 0;
    storage_->bad_sector_to = 0;
    storage_->vanished = false;
    faults_ = false;
  }
  void ChangeFaults() {
    Heal();
    if (Pick(2) == 0) return;
    faults_ = true;
    switch (Pick(6)) {
      case 0:
        storage_->write_error = EIO;
        break;
      case 1:
        storage_->write_error = ENOSPC;
        break;
      case 2:
        storage_->short_error = EIO;
        break;
      case 3:
        storage_->read_error = EIO;
        break;
      case 4:
        storage_->bad_sector_from = Pick(kExtentBytes);
        storage_->bad_sector_to = storage_->bad_sector_from + 512;
        break;
      default:
        storage_->vanished = true;
    }
  }

  // The child works for a while, is checked to the end, and is gone.
  void Fork() {
    ++forks;
    storage_->child_has_no_room = Pick(4) == 0;
    log_->PrepareFork();
    const pid_t child = fork();
    if (child == 0) {
      const bool could_write = can_write_;
      can_write_ = log_->ChildAfterFork().ok();
      CHECK(can_write_ == (could_write && !storage_->child_has_no_room));
      ++depth_;
      random_.seed(random_() + depth_);
      for (int i = 0; i < 3000; ++i) Step();
      Finish();
      _exit(0);
    }
    log_->ParentAfterFork();
    for (int i = 0; i < 500; ++i) {
      if (Pick(2) == 0) Put();
      Drop();
    }
    CHECK(Succeeded(child));
  }

  std::mt19937_64 random_;
  std::unique_ptr<FaultyStorage> storage_;
  Device* log_;
  std::map<uint64_t, uint64_t> model_;
  uint64_t aim_;
  unsigned depth_ = 0;
  bool faults_ = false;
  bool size_changed_ = false;
  bool can_write_ = true;
};

}  // namespace
}  // namespace uzswap

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 0) : 1;
  const long seconds = argc > 2 ? atol(argv[2]) : 5;
  printf("segment_log_fuzz: seed %llu, %ld s\n",
         static_cast<unsigned long long>(seed), seconds);
  fflush(stdout);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t round = 0;
  while (std::chrono::steady_clock::now() < end) {
    uzswap::Fuzz fuzz(seed + round++);
    for (int i = 0; i < 50000 && std::chrono::steady_clock::now() < end; ++i) {
      fuzz.Step();
    }
    const uzswap::DeviceStats s = fuzz.Stats();
    printf(
        "  steps %llu full %llu failed %llu forks %llu written %llu "
        "cleaned %llu\n",
        static_cast<unsigned long long>(fuzz.steps),
        static_cast<unsigned long long>(fuzz.full),
        static_cast<unsigned long long>(fuzz.failed),
        static_cast<unsigned long long>(fuzz.forks),
        static_cast<unsigned long long>(s.written_bytes),
        static_cast<unsigned long long>(s.cleaned_bytes));
    fflush(stdout);
    fuzz.Finish();
  }
  return 0;
}
