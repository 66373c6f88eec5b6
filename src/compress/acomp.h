// SPDX-License-Identifier: Apache-2.0
// Compression in batches of up to eight pages, by a device if there is one
// (offload.h) and by a codec otherwise (the kernel's acomp with its unit_size
// of one page, over scomp). One abstraction only: a Batch is what is locked,
// submitted, completed and stored together; longer runs of pages are cut into
// batches (ForEachGroup).
//
// What a caller gives is written by the caller's own thread only, and only
// inside Submit, Poll, Wait and Run. Whatever a device does, every page of a
// batch ends with a length or an error of its own.
#ifndef UZSWAP_COMPRESS_ACOMP_H_
#define UZSWAP_COMPRESS_ACOMP_H_

#include <uzswap/compressor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/page.h"
#include "base/status.h"
#include "compress/compressor.h"
#include "compress/offload.h"

namespace uzswap {

class Acomp;

// A codec and a workspace that is the caller's as long as the batch exists
// (that of a locked AcompContext).
struct SyncCodec {
  const uzswap_compressor* plugin;
  void* workspace;
};

// Up to kMaxUnits pages, compressed or decompressed together. Lives on the
// stack of the thread that fills it. Sources and destinations stay the caller's
// and must stay valid until the batch is done or destroyed; destroying it
// earlier cancels what is left.
//
// Invariants: waiting_ and flying_ are disjoint and within the first size_
// bits; a unit in neither is done. owner_ is set when flying_ is not 0.
class Batch {
 public:
  static constexpr unsigned kMaxUnits = kMaxBatch;

  Batch(AcompOp op, SyncCodec codec) : codec_(codec), op_(op) {}
  ~Batch() {
    if (flying_ != 0) Cancel();
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // REQUIRES: kCompress, not full, nothing submitted yet. A result longer than
  // the destination, or not shorter than a page, is ENOSPC.
  void Add(ConstPage source, std::span<std::byte> destination) {
    CHECK(op_ == AcompOp::kCompress);
    AddUnit({source.data(), destination.data(), kPageSize,
             static_cast<uint32_t>(std::min(destination.size(), kPageSize)), 0,
             EINPROGRESS});
  }
  // REQUIRES: kDecompress, not full, nothing submitted yet; source fits a page.
  void Add(std::span<const std::byte> source, MutablePage destination) {
    CHECK(op_ == AcompOp::kDecompress && source.size() <= kPageSize);
    AddUnit({source.data(), destination.data(),
             static_cast<uint32_t>(source.size()), kPageSize, 0, EINPROGRESS});
  }

  AcompOp op() const { return op_; }
  unsigned size() const { return size_; }
  bool done() const { return (waiting_ | flying_) == 0; }
  bool done(unsigned i) const { return unit(i).error != EINPROGRESS; }

  // 0; EINPROGRESS: not done; ENOSPC: the page does not compress; EINVAL: the
  // compressor failed otherwise; EIO: the source does not decompress to a page
  // (the destination is then undefined); ECANCELED.
  int error(unsigned i) const { return unit(i).error; }
  // What became of unit i. REQUIRES: its error is 0.
  std::span<const std::byte> result(unsigned i) const {
    CHECK(unit(i).error == 0);
    return {unit(i).destination, unit(i).length};
  }
  // The error of the first unit that has one, else 0 (the kernel's return value
  // for the request).
  int first_error() const;

  // Gives up what is not done: ECANCELED. Their destinations are not written.
  void Cancel();

  void CheckInvariants() const;

 private:
  friend class Acomp;

  struct Unit {
    const std::byte* source;
    std::byte* destination;
    uint32_t source_bytes;
    uint32_t room;    // the kernel's dlen on the way in
    uint32_t length;  // ... and on the way out
    int error;
  };
  // The device's part of a unit.
  struct Flight {
    uint64_t since_ns;
    unsigned slot;
  };

  const Unit& unit(unsigned i) const {
    DCHECK(i < size_);
    return units_[i];
  }
  void AddUnit(Unit unit) {
    CHECK(size_ < kMaxUnits && owner_ == nullptr);
    units_[size_] = unit;
    waiting_ = static_cast<uint8_t>(waiting_ | 1u << size_);
    ++size_;
  }
  void RunCodec(unsigned i);
  void RunCodecOnWaiting();
  void Finish(unsigned i, int error, size_t length) {
    units_[i].length = static_cast<uint32_t>(length);
    units_[i].error = error;
  }

  const SyncCodec codec_;
  const AcompOp op_;
  uint8_t waiting_ = 0;  // bit i: unit i was not begun
  uint8_t flying_ = 0;   // bit i: the device has unit i
  unsigned size_ = 0;
  Acomp* owner_ = nullptr;      // set by the first Submit
  uint64_t full_since_ns_ = 0;  // there was no room for waiting_ since then
  Unit units_[kMaxUnits];       // the first size_ are valid
  Flight flights_[kMaxUnits];   // those of flying_ are valid
};

// The group rule (mm/zswap.c with batching): if a page failed and raw pages are
// not wanted, nothing of the group may be stored; otherwise every page is kept,
// those that failed raw. Whether raw pages are wanted (in the kernel: may they
// be written back) is asked once for a folio, not for each group.
struct GroupVerdict {
  bool keep;
  unsigned incompressible;  // ENOSPC
  unsigned failed;          // any other error
};
// REQUIRES: batch is done and compresses.
GroupVerdict JudgeGroup(const Batch& batch, bool raw_allowed);
// What a kept group stores for page i: the compressed bytes, or, kPageSize
// long, the page itself (B is its source). It is never empty.
std::span<const std::byte> ContentToKeep(const Batch& batch, unsigned i,
                                         ConstPage page);

// Cuts a run of pages into groups of at most a batch and calls
// group(first, count) for each until one fails. The folio rule is the caller's:
// groups before the failed one are visible already, so the whole run is to be
// invalidated.
template <typename Group>
Status ForEachGroup(PageCount pages, Group&& group) {
  for (PageCount first = 0; first < pages; first += Batch::kMaxUnits) {
    const auto count = static_cast<unsigned>(
        std::min(pages - first, PageCount{Batch::kMaxUnits}));
    UZSWAP_RETURN_IF_ERROR(group(first, count));
  }
  return kOk;
}

struct AcompConfig {
  OffloadDevice* device = nullptr;  // nullptr: codecs only
  // A job that takes longer is given up, and the device left alone until all
  // its late jobs are over, and at least for `rest_ns`: hanging again and again
  // costs a thread timeout_ns in so much time. To be much longer than a full
  // queue takes.
  uint64_t timeout_ns = 20'000'000;
  uint64_t rest_ns = 2'000'000'000;
  // How long Poll looks for room in a full queue before a codec does the work.
  uint64_t busy_ns = 50'000;
  // Decompress what a device has compressed, and compare (iaa_crypto's
  // verify_compress; off there too).
  bool verify = false;
};

// Constant after Init; every method may be called by many threads, each with a
// batch of its own, in signal handlers, and takes no lock.
class Acomp {
 public:
  Acomp() = default;
  Acomp(const Acomp&) = delete;
  Acomp& operator=(const Acomp&) = delete;

  // ENOMEM, or what device->Attach said; then codecs do all the work, as with
  // no device. The device must outlive this.
  Status Init(const AcompConfig& config);
  // REQUIRES: no batch of this exists that is not done. ETIMEDOUT: the device
  // cannot be stopped; it and the memory it may write stay for ever.
  Status Release();

  bool has_device() const { return queue_ != nullptr; }

  // kOk: every unit is done. EINPROGRESS: the device has some; others may wait
  // for room, Poll takes care of them. EBUSY: there is no room for a single
  // one, nothing happened; submit again, or Poll, or Wait. Never another error:
  // what the device refuses a codec does at once. REQUIRES: not empty.
  Status Submit(Batch& batch);
  // Looks once at each unit. kOk: all are done. EINPROGRESS.
  Status Poll(Batch& batch);
  // Polls until all are done: without a device at once, with one not much
  // longer than timeout_ns and a codec would take. REQUIRES: submitted.
  void Wait(Batch& batch);
  // Submit and Wait.
  void Run(Batch& batch);

  OffloadStats Stats() const {
    return queue_ == nullptr ? OffloadStats{} : queue_->Stats();
  }
  ByteCount metadata_bytes() const {
    return queue_ == nullptr ? 0 : queue_->metadata_bytes();
  }
  // In the child after fork: codecs only from now on. Batches that were under
  // way belonged to threads of the parent.
  void ResetInChild() {
    if (queue_ != nullptr) queue_->ResetInChild();
  }
  void CheckInvariants(bool idle) const {
    if (queue_ != nullptr) queue_->CheckInvariants(idle);
  }

 private:
  friend class Batch;

  void Launch(Batch& batch);
  bool LaunchOne(Batch& batch, unsigned i);
  void CheckBackPressure(Batch& batch);
  bool Collect(Batch& batch, unsigned i);
  void TakeResult(Batch& batch, unsigned i, const OffloadResult& result);
  bool ResultIsGood(const Batch& batch, unsigned i,
                    const OffloadResult& result) const;
  void GiveUpLate(Batch& batch);
  static Status Progress(const Batch& batch) {
    return batch.done() ? kOk : Status::Error(EINPROGRESS);
  }

  OffloadQueue* queue_ = nullptr;
  uint64_t timeout_ns_ = 0;
  uint64_t busy_ns_ = 0;
  bool verify_ = false;
};

}  // namespace uzswap

#endif  // UZSWAP_COMPRESS_ACOMP_H_
