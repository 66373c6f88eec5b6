// SPDX-License-Identifier: Apache-2.0
// A device that fails on demand: wraps a real one and makes chosen writes and
// reads return an error, or take long. What it must not change: a failed write
// keeps nothing, and a failed read leaves the object readable later.
#ifndef UZSWAP_TESTS_SUPPORT_FAULTY_DEVICE_H_
#define UZSWAP_TESTS_SUPPORT_FAULTY_DEVICE_H_

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>

#include "device/device.h"

namespace uzswap {

class FaultyDevice final : public Device {
 public:
  // Which operations of one kind fail. `every` 1 is all of them, k is every
  // k-th; 0 none. At most `limit` of them.
  struct Fault {
    std::atomic<uint64_t> every{0};
    std::atomic<uint64_t> limit{~uint64_t{0}};
    std::atomic<int> error{EIO};
    std::atomic<uint64_t> seen{0};
    std::atomic<uint64_t> failed{0};

    void Set(uint64_t every_kth, int with_error) {
      error = with_error;
      seen = 0;
      every = every_kth;
    }
    void Clear() { every = 0; }
    bool Hits() {
      const uint64_t k = every.load();
      if (k == 0 || ++seen % k != 0 || failed >= limit) return false;
      ++failed;
      return true;
    }
  };

  explicit FaultyDevice(Device* inner) : inner_(inner) {}

  Fault write_fault;
  Fault read_fault;
  std::atomic<uint64_t> delay_us{0};  // of each operation
  std::atomic<uint64_t> writes{0};    // that succeeded
  std::atomic<uint64_t> written_bytes{0};
  std::atomic<uint64_t> reads{0};
  std::atomic<uint64_t> frees{0};
  // Runs inside each write, before anything is written; may be null.
  void (*during_write)(void* argument) = nullptr;
  void* during_write_argument = nullptr;
  void (*during_read_held)() = nullptr;  // before each; may be null

  Result<ObjectId> Write(std::span<const std::byte> object) override {
    Delay();
    if (during_write != nullptr) during_write(during_write_argument);
    if (write_fault.Hits()) return Status::Error(write_fault.error);
    const Result<ObjectId> id = inner_->Write(object);
    if (id.ok()) {
      ++writes;
      written_bytes += object.size();
    }
    return id;
  }
  Status ReadWith(ObjectId id, std::span<std::byte> object,
                  ReadAround& around) override {
    Delay();
    if (read_fault.Hits()) {
      memset(object.data(), 0xee,
             object.size());  // undefined is not "unchanged"
      return Status::Error(read_fault.error);
    }
    const Status s = inner_->ReadWith(id, object, around);
    if (s.ok()) ++reads;
    return s;
  }
  Status ReadHeld(ObjectId id, std::span<std::byte> object) override {
    if (during_read_held != nullptr) during_read_held();
    return inner_->ReadHeld(id, object);
  }
  void Free(ObjectId id) override {
    ++frees;
    inner_->Free(id);
  }

  PageCount size() const override { return inner_->size(); }
  void SetSize(PageCount pages) override { inner_->SetSize(pages); }
  uint64_t used() const override { return inner_->used(); }
  ByteCount metadata_bytes() const override { return inner_->metadata_bytes(); }
  DeviceStats Stats() override { return inner_->Stats(); }
  size_t Descriptors(int* fds, size_t capacity) override {
    return inner_->Descriptors(fds, capacity);
  }
  void PrepareFork() override { inner_->PrepareFork(); }
  void ParentAfterFork() override { inner_->ParentAfterFork(); }
  Status ChildAfterFork() override { return inner_->ChildAfterFork(); }
  void CheckInvariants() override { inner_->CheckInvariants(); }
  // The inner device only; this object belongs to the test.
  void Destroy() override { inner_->Destroy(); }

 private:
  void Delay() const {
    const uint64_t us = delay_us.load();
    if (us != 0) std::this_thread::sleep_for(std::chrono::microseconds(us));
  }

  Device* inner_;
};

}  // namespace uzswap

#endif  // UZSWAP_TESTS_SUPPORT_FAULTY_DEVICE_H_
