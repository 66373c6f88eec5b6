// SPDX-License-Identifier: Apache-2.0
#include "compress/compressor.h"

#include <algorithm>
#include <new>

#include "base/os.h"

namespace uzswap {
namespace {

// At least this many zero bytes follow each buffer and each workspace. It is
// the alignment of workspaces, too.
constexpr size_t kRedZone = kCacheLine;

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

constinit LockClass Compressor::lock_class_{"acomp_ctx"};

Compressor::Compressor(const uzswap_compressor& plugin, int level)
    : plugin_(&plugin), level_(level) {}

// One mapping: [Compressor, contexts_, to a page][stride 0][stride 1]...
// One stride:  [buffer][red zone][workspace][red zone, to a page]
Result<Compressor*> Compressor::Create(const uzswap_compressor& plugin,
                                       int level) {
  const size_t workspace_bytes = plugin.workspace_size(level);
  // Larger than any codec's need for a page: the plug-in is broken.
  if (workspace_bytes > size_t{1} << 30) return Status::Error(ENOMEM);
  const unsigned count = os::CpuCount() + 1;
  const ByteCount contexts_at =
      (sizeof(Compressor) + kCacheLine - 1) & ~(kCacheLine - 1);
  const ByteCount header = PageCeil(contexts_at + count * sizeof(AcompContext));
  const ByteCount stride =
      PageCeil(kPageSize + kRedZone + workspace_bytes + kRedZone);
  const ByteCount mapped = header + count * stride;
  // Sparse: one touched context must not make a huge page of them resident.
  const Result<void*> memory = os::Map(mapped, /*sparse=*/true);
  if (!memory.ok()) return memory.status();

  auto* base = static_cast<std::byte*>(memory.value());
  auto* c = new (base) Compressor(plugin, level);
  c->count_ = count;
  c->contexts_ = reinterpret_cast<AcompContext*>(base + contexts_at);
  c->workspace_bytes_ = workspace_bytes;
  c->stride_ = stride;
  c->header_bytes_ = header;
  c->mapped_bytes_ = mapped;
  for (unsigned i = 0; i < count; ++i) {
    auto* context = new (&c->contexts_[i]) AcompContext(lock_class_);
    context->buffer = base + header + i * stride;
    context->workspace = context->buffer + kPageSize + kRedZone;
  }
  // The spare tells whether the level is supported, and is there whatever
  // happens to the others.
  if (const Status s = c->MakeReady(c->contexts_[count - 1]); !s.ok()) {
    c->Destroy();
    return s;
  }
  return c;
}

void Compressor::Destroy() { CHECK(os::Unmap(this, mapped_bytes_).ok()); }

Status Compressor::MakeReady(AcompContext& context) {
  const int error = plugin_->init(context.workspace, workspace_bytes_, level_);
  if (error != 0) return Status::Error(error > 0 ? error : EINVAL);
  context.ready.store(true, std::memory_order_release);
  ready_count_.fetch_add(1, std::memory_order_relaxed);
  return kOk;
}

AcompContext& Compressor::Lock() {
  const unsigned spare = count_ - 1;
  for (;;) {
    AcompContext& own = contexts_[os::CurrentCpu() % spare];
    AcompContext* got = nullptr;
    if (own.mutex.TryLock()) {
      got = &own;
    } else if (TryLockReady(contexts_[spare])) {
      got = &contexts_[spare];
    }
    // A context that is not ready would cost frames for ever: waiting is better
    for (unsigned i = 0; got == nullptr && i < spare; ++i) {
      if (TryLockReady(contexts_[i])) got = &contexts_[i];
    }
    if (got == nullptr) {
      own.mutex.Lock();
      got = &own;
    }
    // LockAll closes, then passes through every mutex: whoever gets one after
    // it sees this.
    if (closed_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      got->mutex.Unlock();
      WaitUntilOpen();
      continue;
    }
    if (!got->ready.load(std::memory_order_relaxed)) [[unlikely]] {
      // compressor.h of the plug-ins: accepted once, accepted always.
      CHECK(MakeReady(*got).ok());
    }
    return *got;
  }
}

void Compressor::Unlock(AcompContext& context) { context.mutex.Unlock(); }

bool Compressor::TryLockReady(AcompContext& context) {
  return context.ready.load(std::memory_order_acquire) &&
         context.mutex.TryLock();
}

void Compressor::WaitUntilOpen() {
  while (closed_.load(std::memory_order_acquire) != 0) {
    os::FutexWait(&closed_, 1, -1).Ignore();  // every wake-up looks again
  }
}

Result<ByteCount> Compressor::Compress(AcompContext& context, ConstPage page) {
  context.mutex.AssertHeld();
  size_t produced = 0;
  const int error =
      plugin_->compress(context.workspace, page.data(), page.size(),
                        context.buffer, kPageSize, &produced);
  if (error == ENOSPC) return Status::Error(ENOSPC);
  if (error != 0) return Status::Error(EINVAL);
  if (produced == 0 || produced >= kPageSize) return Status::Error(ENOSPC);
  return ByteCount{produced};
}

Status Compressor::Decompress(AcompContext& context,
                              std::span<const std::byte> from,
                              MutablePage page) {
  context.mutex.AssertHeld();
  if (from.empty()) return Status::Error(EIO);
  const int error = plugin_->decompress(context.workspace, from.data(),
                                        from.size(), page.data(), page.size());
  return error == 0 ? kOk : Status::Error(EIO);
}

void Compressor::LockAll() {
  CHECK(closed_.exchange(1, std::memory_order_relaxed) == 0);
  for (unsigned i = 0; i < count_; ++i) {
    ScopedLock wait_for_the_last_user(contexts_[i].mutex);
  }
}

void Compressor::UnlockAll() {
  CHECK(closed_.exchange(0, std::memory_order_release) == 1);
  os::FutexWake(&closed_, 1 << 30);
}

void Compressor::ResetLocksInChild() {
  for (unsigned i = 0; i < count_; ++i) contexts_[i].mutex.ResetInChild();
  closed_.store(0, std::memory_order_relaxed);
}

std::span<const std::byte> Compressor::RedZoneAfterBuffer(
    const AcompContext& c) const {
  return {c.buffer + kPageSize, kRedZone};
}

std::span<const std::byte> Compressor::RedZoneAfterWorkspace(
    const AcompContext& c) const {
  const size_t used = kPageSize + kRedZone + workspace_bytes_;
  return {c.buffer + used, stride_ - used};
}

void Compressor::CheckInvariants() {
  const auto base = reinterpret_cast<uintptr_t>(this);
  CHECK(count_ == os::CpuCount() + 1);
  CHECK(mapped_bytes_ == header_bytes_ + count_ * stride_);
  unsigned ready = 0;
  for (unsigned i = 0; i < count_; ++i) {
    AcompContext& c = contexts_[i];
    const auto buffer = reinterpret_cast<uintptr_t>(c.buffer);
    const auto workspace = reinterpret_cast<uintptr_t>(c.workspace);
    CHECK(buffer == base + header_bytes_ + i * stride_);
    CHECK(buffer % kPageSize == 0 && workspace % kCacheLine == 0);
    CHECK(workspace + workspace_bytes_ + kRedZone <= buffer + stride_);
    ScopedLock lock(c.mutex);
    if (!c.ready.load(std::memory_order_relaxed)) {
      CHECK(i != count_ - 1);
      continue;
    }
    ++ready;
    CHECK(AllZero(RedZoneAfterBuffer(c)));
    CHECK(AllZero(RedZoneAfterWorkspace(c)));
  }
  // Others may become ready behind us.
  CHECK(ready <= ready_count_.load(std::memory_order_relaxed));
}

}  // namespace uzswap
