// SPDX-License-Identifier: Apache-2.0
// Operations on a zpool and on a model of what it must hold, each chosen by a
// source of decisions: a generator with a seed (zpool_fuzz.cc) or the bytes of
// libFuzzer (tests/fuzzers/zpool_libfuzzer.cc).
//
// Guards: what lies behind the bytes of a Write or of a copied read is not
// mapped; a Write of a part must leave the rest of the object alone, of which
// the last bytes are never in a part; and every byte is compared before Free.
#ifndef UZSWAP_ZPOOL_ZPOOL_STEPS_TESTING_H_
#define UZSWAP_ZPOOL_ZPOOL_STEPS_TESTING_H_

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <set>
#include <vector>

#include "base/check.h"
#include "zpool/failure.h"
#include "zpool/zpool.h"
#include "zpool/zsmalloc.h"

namespace uzswap {

class Decisions {
 public:
  // 0 … n - 1, and 0 after the end. REQUIRES: n > 0.
  virtual uint64_t Below(uint64_t n) = 0;
  // No decision is left; the steps are over.
  virtual bool AtEnd() const = 0;

 protected:
  ~Decisions() = default;
};

class SeededDecisions final : public Decisions {
 public:
  explicit SeededDecisions(uint64_t seed) : random_(seed) {}
  uint64_t Below(uint64_t n) override { return random_() % n; }
  bool AtEnd() const override { return false; }

 private:
  std::mt19937_64 random_;
};

// As few bytes for each decision as its range needs, so that a mutation of one
// byte changes one decision.
class ByteDecisions final : public Decisions {
 public:
  explicit ByteDecisions(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  uint64_t Below(uint64_t n) override {
    uint64_t value = 0;
    for (uint64_t range = 1; range < n && !bytes_.empty(); range <<= 8) {
      value = value << 8 | bytes_.front();
      bytes_ = bytes_.subspan(1);
    }
    return value % n;
  }
  bool AtEnd() const override { return bytes_.empty(); }

 private:
  std::span<const uint8_t> bytes_;
};

// A page between two that are not mapped.
class GuardedPage {
 public:
  GuardedPage() {
    void* at = mmap(nullptr, 3 * kPageSize, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    page_ = static_cast<std::byte*>(at) + kPageSize;
    CHECK(mprotect(page_, kPageSize, PROT_READ | PROT_WRITE) == 0);
  }
  ~GuardedPage() { munmap(page_ - kPageSize, 3 * kPageSize); }
  GuardedPage(const GuardedPage&) = delete;
  GuardedPage& operator=(const GuardedPage&) = delete;

  MutablePage page() { return MutablePage(page_, kPageSize); }
  // The last `bytes` bytes of the page: behind them is nothing.
  std::byte* Tail(ByteCount bytes) { return page_ + kPageSize - bytes; }

 private:
  std::byte* page_;
};

// Every zpool by name, then zsmalloc with its shortest and its longest chains.
struct NamedZpool {
  const char* label;
  Zpool* pool;
};
inline unsigned ZpoolVariants() {
  unsigned n = 0;
  while (ZpoolName(n) != nullptr) ++n;
  return n + 2;
}
inline NamedZpool NewZpoolVariant(unsigned i) {
  const unsigned named = ZpoolVariants() - 2;
  if (i < named) return {ZpoolName(i), CreateZpool(ZpoolName(i)).value()};
  if (i == named) {
    return {"zsmalloc, shortest chain",
            NewZsmalloc(ZsmallocGeometry::kMinChain).value()};
  }
  return {"zsmalloc, longest chain",
          NewZsmalloc(ZsmallocGeometry::kMaxChain).value()};
}

class ZpoolSteps {
 public:
  // most: objects that there may be at a time.
  ZpoolSteps(Zpool* pool, Decisions& decisions, size_t most)
      : pool_(pool), decisions_(decisions), most_(most) {}
  ~ZpoolSteps() { CHECK(pool_ == nullptr); }
  ZpoolSteps(const ZpoolSteps&) = delete;
  ZpoolSteps& operator=(const ZpoolSteps&) = delete;

  // One operation. The invariants are checked after every one while there are
  // few objects, and else after every 32nd part of their number; all contents
  // 64 times less often.
  void Step() {
    if (decisions_.Below(4096) == 0) NewStyle();
    Choose();
    if (++since_check_ * 32 < objects_.size()) return;
    since_check_ = 0;
    pool_->CheckInvariants();
    if (++checks_ % 64 == 0) VerifyAll();
  }

  // Destroys the pool, half of the time with all that is in it.
  void Finish() {
    VerifyAll();
    while (!reads_.empty()) EndRead(reads_.size() - 1);
    if (decisions_.Below(2) == 0) {
      while (!objects_.empty()) Free(objects_.size() - 1);
      pool_->CheckInvariants();
      CHECK(pool_->total_pages() <= 16);
    }
    pool_->Destroy();
    pool_ = nullptr;
  }

 private:
  // `bytes` is what it holds; the last `guard` of them are written once.
  struct Object {
    Handle handle;
    std::vector<std::byte> bytes;
    ByteCount guard;
    unsigned readers;
  };
  // An open read of the object's first span.size() bytes.
  struct Read {
    Handle handle;
    std::span<const std::byte> span;
    GuardedPage* scratch;
  };
  static constexpr size_t kMostReads = 6;

  size_t Any() { return decisions_.Below(objects_.size()); }

  // The target moves, so that the pool grows and drains again and again.
  void NewStyle() {
    target_ = decisions_.Below(decisions_.Below(4) == 0 ? most_ : most_ / 40);
    size_style_ = decisions_.Below(4);
  }

  void Choose() {
    const uint64_t dice = decisions_.Below(128);
    if (objects_.empty() || dice < 16) return Allocate();
    if (dice < 72) {
      return objects_.size() < target_ ? Allocate() : Free(Any());
    }
    if (dice < 90) return Free(Any());
    if (dice < 96) return Verify(objects_[Any()]);
    if (dice < 106) return WritePart(objects_[Any()]);
    if (dice < 110) return Compact();
    if (dice < 118) return BeginRead(objects_[Any()]);
    if (dice < 125) {
      if (!reads_.empty()) EndRead(decisions_.Below(reads_.size()));
      return;
    }
    if (dice < 126) return TryImpossibleSizes();
    return Freeze();
  }

  ByteCount AnySize() {
    switch (size_style_) {
      case 0:
        return 1 + decisions_.Below(128);
      case 1:
        return 1000 + decisions_.Below(256);
      case 2:
        return decisions_.Below(4) == 0 ? kPageSize
                                        : 3584 + decisions_.Below(512);
      default:
        return 1 + decisions_.Below(kPageSize);
    }
  }

  // ---- failures -----------------------------------------------------------

  // Sometimes the next or a later allocation inside the zpool is to fail.
  bool PlanFailure() {
#ifdef UZSWAP_TEST_HOOKS
    if (decisions_.Below(32) != 0) return false;
    zpool_failure::FailNth(1 + decisions_.Below(4));
    return true;
#else
    return false;
#endif
  }
  void EndFailure() {
#ifdef UZSWAP_TEST_HOOKS
    zpool_failure::FailNth(0);
#endif
  }

  // ---- operations ---------------------------------------------------------

  void Allocate() {
    if (objects_.size() >= most_) return;
    const ByteCount bytes = AnySize();
    const bool may_fail = PlanFailure();
    const PageCount pages = pool_->total_pages();
    const Result<Handle> handle = pool_->Allocate(bytes);
    EndFailure();
    if (!handle.ok()) {
      CHECK(may_fail && handle.error() == ENOMEM);
      CHECK(pool_->total_pages() == pages);
      pool_->CheckInvariants();
      if (!objects_.empty()) Verify(objects_[Any()]);
      return;
    }
    CHECK(handle.value() != kNoHandle);
    CHECK(handles_.insert(handle.value()).second);
    Object object{.handle = handle.value(),
                  .bytes = std::vector<std::byte>(bytes),
                  .guard = std::min<ByteCount>(16, bytes / 4),
                  .readers = 0};
    MakeBytes(object.bytes);
    Write(object, bytes);
    objects_.push_back(std::move(object));
  }

  void Free(size_t i) {
    std::swap(objects_[i], objects_.back());
    Object& object = objects_.back();
    Verify(object);
    for (size_t r = reads_.size(); r-- > 0;) {
      if (reads_[r].handle == object.handle) EndRead(r);
    }
    CHECK(object.readers == 0);
    handles_.erase(object.handle);
    pool_->Free(object.handle);
    objects_.pop_back();
  }

  void MakeBytes(std::span<std::byte> bytes) {
    std::minstd_rand pattern(static_cast<uint32_t>(++made_));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(pattern());
  }

  void Write(const Object& object, ByteCount bytes) {
    std::byte* from = source_.Tail(bytes);
    memcpy(from, object.bytes.data(), bytes);
    pool_->Write(object.handle, {from, bytes});
  }

  // Not under an open read: its owner would see the bytes change.
  void WritePart(Object& object) {
    if (object.readers != 0) return;
    const ByteCount most = object.bytes.size() - object.guard;
    const ByteCount bytes = 1 + decisions_.Below(most);
    MakeBytes(std::span(object.bytes).first(bytes));
    Write(object, bytes);
  }

  void Compact() {
    const PageCount before = pool_->total_pages();
    (void)PlanFailure();
    const PageCount gone =
        pool_->Compact(static_cast<unsigned>(1 + decisions_.Below(256)));
    EndFailure();
    CHECK(pool_->total_pages() == before - gone);
  }

  void BeginRead(Object& object) {
    if (reads_.size() == kMostReads) return;
    GuardedPage* scratch = new GuardedPage;
    const ByteCount bytes = 1 + decisions_.Below(object.bytes.size());
    const auto span = pool_->ReadBegin(object.handle, bytes, scratch->page());
    CHECK(span.size() == bytes);
    ++object.readers;
    reads_.push_back({object.handle, span, scratch});
  }

  // The bytes are where they were, whatever happened to other objects.
  void EndRead(size_t i) {
    const Read read = reads_[i];
    reads_.erase(reads_.begin() + static_cast<ptrdiff_t>(i));
    for (Object& object : objects_) {
      if (object.handle != read.handle) continue;
      CHECK(memcmp(read.span.data(), object.bytes.data(), read.span.size()) ==
            0);
      --object.readers;
    }
    pool_->ReadEnd(read.handle);
    delete read.scratch;
  }

  void TryImpossibleSizes() {
    CHECK(pool_->Allocate(0).error() == EINVAL);
    CHECK(pool_->Allocate(kPageSize + 1).error() == ENOSPC);
  }

  // As around a fork, in the parent or in the child.
  void Freeze() {
    pool_->LockAll();
    if (decisions_.Below(2) == 0) {
      pool_->UnlockAll();
    } else {
      pool_->ResetLocksInChild();
    }
  }

  // ---- checks -------------------------------------------------------------

  void Verify(const Object& object) {
    const auto bytes =
        pool_->ReadBegin(object.handle, object.bytes.size(), scratch_.page());
    CHECK(bytes.size() == object.bytes.size());
    CHECK(memcmp(bytes.data(), object.bytes.data(), bytes.size()) == 0);
    pool_->ReadEnd(object.handle);
  }

  void VerifyAll() {
    ByteCount payload = 0;
    for (const Object& object : objects_) {
      Verify(object);
      payload += object.bytes.size();
    }
    CHECK(pool_->total_pages() * kPageSize >= payload);
  }

  Zpool* pool_;
  Decisions& decisions_;
  const size_t most_;
  std::vector<Object> objects_;
  std::vector<Read> reads_;
  std::set<Handle> handles_;
  uint64_t target_ = 300;
  uint64_t size_style_ = 3;
  uint64_t made_ = 0;
  size_t since_check_ = 0;
  uint64_t checks_ = 0;
  GuardedPage source_;
  GuardedPage scratch_;
};

}  // namespace uzswap

#endif  // UZSWAP_ZPOOL_ZPOOL_STEPS_TESTING_H_
