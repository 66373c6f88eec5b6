// SPDX-License-Identifier: Apache-2.0
#include "compress/acomp.h"

#include <bit>
#include <cstring>

#include "base/bits.h"
#include "base/os.h"

namespace uzswap {
namespace {

using Event = OffloadQueue::Event;

constexpr uint8_t Bit(unsigned i) { return static_cast<uint8_t>(1u << i); }

// Calls f(i) for each set bit of a copy of mask.
template <typename F>
void ForEachBit(uint8_t mask, F&& f) {
  for (unsigned left = mask; left != 0; left &= left - 1) {
    f(static_cast<unsigned>(std::countr_zero(left)));
  }
}

int Compress(const SyncCodec& codec, std::span<const std::byte> from,
             std::span<std::byte> to, size_t* produced) {
  const int error =
      codec.plugin->compress(codec.workspace, from.data(), from.size(),
                             to.data(), to.size(), produced);
  if (error != 0) return error == ENOSPC ? ENOSPC : EINVAL;
  const size_t limit = std::min(to.size(), kPageSize - 1);
  return *produced == 0 || *produced > limit ? ENOSPC : 0;
}

int Decompress(const SyncCodec& codec, std::span<const std::byte> from,
               MutablePage to) {
  if (from.empty()) return EIO;
  const int error = codec.plugin->decompress(codec.workspace, from.data(),
                                             from.size(), to.data(), to.size());
  return error == 0 ? 0 : EIO;
}

}  // namespace

// ---- Batch

void Batch::RunCodec(unsigned i) {
  const Unit& u = units_[i];
  size_t length = kPageSize;
  int error;
  if (op_ == AcompOp::kCompress) {
    length = 0;
    error = Compress(codec_, {u.source, u.source_bytes},
                     {u.destination, u.room}, &length);
  } else {
    error = Decompress(codec_, {u.source, u.source_bytes},
                       MutablePage(u.destination, kPageSize));
  }
  Finish(i, error, error == 0 ? length : 0);
}

void Batch::RunCodecOnWaiting() {
  ForEachBit(waiting_, [this](unsigned i) { RunCodec(i); });
  waiting_ = 0;
}

int Batch::first_error() const {
  for (unsigned i = 0; i < size_; ++i) {
    if (units_[i].error != 0) return units_[i].error;
  }
  return 0;
}

void Batch::Cancel() {
  ForEachBit(flying_, [this](unsigned i) {
    owner_->queue_->Abandon(flights_[i].slot, OffloadQueue::Why::kUnwanted);
    Finish(i, ECANCELED, 0);
  });
  ForEachBit(waiting_, [this](unsigned i) { Finish(i, ECANCELED, 0); });
  flying_ = 0;
  waiting_ = 0;
}

void Batch::CheckInvariants() const {
  CHECK(size_ <= kMaxUnits);
  CHECK((waiting_ & flying_) == 0);
  CHECK(((waiting_ | flying_) >> size_) == 0);
  CHECK(flying_ == 0 || owner_ != nullptr);
  for (unsigned i = 0; i < size_; ++i) {
    const bool pending = ((waiting_ | flying_) & Bit(i)) != 0;
    CHECK(pending == (units_[i].error == EINPROGRESS));
    CHECK(units_[i].length <= units_[i].room);
    CHECK((units_[i].error == 0) == (units_[i].length != 0));
  }
}

GroupVerdict JudgeGroup(const Batch& batch, bool raw_allowed) {
  CHECK(batch.op() == AcompOp::kCompress && batch.done());
  GroupVerdict verdict{};
  for (unsigned i = 0; i < batch.size(); ++i) {
    const int error = batch.error(i);
    if (error == ENOSPC) {
      ++verdict.incompressible;
    } else if (error != 0) {
      ++verdict.failed;
    }
  }
  verdict.keep = raw_allowed || verdict.incompressible + verdict.failed == 0;
  return verdict;
}

std::span<const std::byte> ContentToKeep(const Batch& batch, unsigned i,
                                         ConstPage page) {
  CHECK(batch.op() == AcompOp::kCompress && batch.done(i));
  if (batch.error(i) != 0) return page;
  return batch.result(i);
}

// ---- Acomp

Status Acomp::Init(const AcompConfig& config) {
  CHECK(queue_ == nullptr);
  timeout_ns_ = std::max(config.timeout_ns, uint64_t{1});
  busy_ns_ = config.busy_ns;
  verify_ = config.verify;
  if (config.device == nullptr) return kOk;
  const Result<OffloadQueue*> queue =
      OffloadQueue::Create(*config.device, config.rest_ns);
  if (!queue.ok()) return queue.status();
  queue_ = queue.value();
  return kOk;
}

Status Acomp::Release() {
  if (queue_ == nullptr) return kOk;
  OffloadQueue* const queue = queue_;
  queue_ = nullptr;
  return queue->Destroy();
}

void Acomp::Run(Batch& batch) {
  if (!Submit(batch).ok()) Wait(batch);
}

Status Acomp::Submit(Batch& batch) {
  CHECK(batch.size_ > 0 && batch.flying_ == 0);
  batch.owner_ = this;
  if (queue_ == nullptr) [[likely]] {
    batch.RunCodecOnWaiting();
    return kOk;
  }
  const unsigned waited = batch.waiting_;
  Launch(batch);
  if (batch.waiting_ == waited && waited != 0) {
    if (batch.full_since_ns_ == 0) batch.full_since_ns_ = os::MonotonicNs();
    return Status::Error(EBUSY);
  }
  return Progress(batch);
}

Status Acomp::Poll(Batch& batch) {
  CHECK(batch.owner_ == this || batch.done());
  if (batch.done()) return kOk;
  ForEachBit(batch.flying_, [&](unsigned i) { Collect(batch, i); });
  if (batch.flying_ != 0) GiveUpLate(batch);
  if (batch.waiting_ != 0) {
    Launch(batch);
    CheckBackPressure(batch);
  }
  return Progress(batch);
}

void Acomp::Wait(Batch& batch) {
  // Devices take microseconds; past that somebody else may need the CPU.
  constexpr unsigned kSpins = 256;
  for (unsigned i = 0; !Poll(batch).ok(); ++i) {
    if (i < kSpins) {
      os::Pause();
    } else {
      os::Yield();
    }
  }
}

// Gives the device as many waiting units as it has room for. A device that is
// out of order costs nothing but this look at it.
void Acomp::Launch(Batch& batch) {
  if (!queue_->Usable()) {
    queue_->Count(Event::kSuspended, CountBits(batch.waiting_));
    batch.RunCodecOnWaiting();
    return;
  }
  const uint8_t flew = batch.flying_;
  while (batch.waiting_ != 0) {
    const auto i = static_cast<unsigned>(std::countr_zero(batch.waiting_));
    if (!LaunchOne(batch, i)) break;
    batch.waiting_ = static_cast<uint8_t>(batch.waiting_ & ~Bit(i));
    batch.full_since_ns_ = 0;
  }
  if (batch.flying_ == flew) return;
  const uint64_t now = os::MonotonicNs();
  ForEachBit(static_cast<uint8_t>(batch.flying_ & ~flew),
             [&](unsigned i) { batch.flights_[i].since_ns = now; });
}

// False: there is no room.
bool Acomp::LaunchOne(Batch& batch, unsigned i) {
  const Batch::Unit& u = batch.units_[i];
  if (u.source_bytes == 0) {  // damaged, and no work for a device
    batch.RunCodec(i);
    return true;
  }
  const Result<unsigned> slot = queue_->Acquire();
  if (!slot.ok()) return false;
  const Status s = queue_->Submit(slot.value(), batch.op_,
                                  {u.source, u.source_bytes}, u.room);
  if (s.ok()) {
    batch.flights_[i].slot = slot.value();
    batch.flying_ = static_cast<uint8_t>(batch.flying_ | Bit(i));
    return true;
  }
  queue_->Release(slot.value());
  if (s.error() == EBUSY) return false;
  queue_->Count(Event::kRefused);
  batch.RunCodec(i);
  return true;
}

void Acomp::CheckBackPressure(Batch& batch) {
  if (batch.waiting_ == 0) return;
  const uint64_t now = os::MonotonicNs();
  if (batch.full_since_ns_ == 0) batch.full_since_ns_ = now;
  if (now - batch.full_since_ns_ < busy_ns_) return;
  queue_->Count(Event::kBusy, CountBits(batch.waiting_));
  batch.RunCodecOnWaiting();
}

// False: the device has it still.
bool Acomp::Collect(Batch& batch, unsigned i) {
  const unsigned slot = batch.flights_[i].slot;
  OffloadResult result;
  if (!queue_->Poll(slot, &result).ok()) return false;
  batch.flying_ = static_cast<uint8_t>(batch.flying_ & ~Bit(i));
  TakeResult(batch, i, result);
  queue_->Release(slot);
  return true;
}

// REQUIRES: the slot is ours again.
void Acomp::TakeResult(Batch& batch, unsigned i, const OffloadResult& result) {
  Batch::Unit& u = batch.units_[i];
  const std::byte* from = queue_->destination(batch.flights_[i].slot).data();
  if (batch.op_ == AcompOp::kCompress &&
      (result.error == ENOSPC ||
       (result.error == 0 && result.length == kPageSize))) {
    queue_->Count(Event::kCompleted);
    batch.Finish(i, ENOSPC, 0);
  } else if (ResultIsGood(batch, i, result)) {
    memcpy(u.destination, from, result.length);
    queue_->Count(Event::kCompleted);
    batch.Finish(i, 0, result.length);
  } else {
    queue_->Count(Event::kFailed);
    batch.RunCodec(i);
  }
}

bool Acomp::ResultIsGood(const Batch& batch, unsigned i,
                         const OffloadResult& result) const {
  const Batch::Unit& u = batch.units_[i];
  if (result.error != 0) return false;
  if (batch.op_ == AcompOp::kDecompress) return result.length == kPageSize;
  if (result.length == 0 || result.length > u.room) return false;
  if (!verify_) return true;
  // The copy of the source is not needed any more: room for the proof.
  const unsigned slot = batch.flights_[i].slot;
  const MutablePage proof = queue_->source(slot);
  const std::span<const std::byte> made =
      queue_->destination(slot).first(result.length);
  if (Decompress(batch.codec_, made, proof) == 0 &&
      memcmp(proof.data(), u.source, kPageSize) == 0) {
    return true;
  }
  queue_->Count(Event::kVerifyFailed);
  return false;
}

// A look at the clock, then at the device once more: if this thread was stopped
// for a long time, that is not the device's fault.
void Acomp::GiveUpLate(Batch& batch) {
  const uint64_t now = os::MonotonicNs();
  ForEachBit(batch.flying_, [&](unsigned i) {
    const Batch::Flight& flight = batch.flights_[i];
    if (now - flight.since_ns < timeout_ns_ || Collect(batch, i)) return;
    batch.flying_ = static_cast<uint8_t>(batch.flying_ & ~Bit(i));
    queue_->Abandon(flight.slot, OffloadQueue::Why::kHung);
    batch.RunCodec(i);
  });
}

}  // namespace uzswap
