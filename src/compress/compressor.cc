// SPDX-License-Identifier: Apache-2.0
#include "compress/compressor.h"

#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/os.h"

namespace uzswap {
namespace {

// At least this many zero bytes follow each buffer and each workspace. It is
// the alignment of workspaces, too.
constexpr size_t kRedZone = kCacheLine;
// From one buffer to the next: a page between them is never touched, so it is
// address space only.
constexpr ByteCount kBufferStride = 2 * kPageSize;

constexpr ByteCount CacheLineCeil(ByteCount bytes) {
  return (bytes + kCacheLine - 1) & ~ByteCount{kCacheLine - 1};
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte b) { return b == std::byte{0}; });
}

bool IsZeroPage(const std::byte* page) {
  uint64_t any = 0;
  for (size_t at = 0; at < kPageSize; at += sizeof(any)) {
    uint64_t word;
    memcpy(&word, page + at, sizeof(word));
    any |= word;
  }
  return any == 0;
}

// Codecs clear their tables, which takes frames only to say what was so before:
// gives those back. Returns the bytes that stay resident; 0 if the kernel does
// not tell.
ByteCount DropZeroPages(std::byte* from, ByteCount bytes) {
  constexpr ByteCount kAtOnce = 256;
  unsigned char resident[kAtOnce];
  ByteCount kept = 0;
  for (ByteCount at = 0; at < bytes; at += kPageSize) {
    const ByteCount i = at / kPageSize % kAtOnce;
    if (i == 0) {
      const ByteCount n = std::min(bytes - at, kAtOnce * kPageSize);
      if (os::Syscall(SYS_mincore, reinterpret_cast<int64_t>(from + at),
                      static_cast<int64_t>(n),
                      reinterpret_cast<int64_t>(resident)) < 0) {
        return 0;
      }
    }
    if ((resident[i] & 1) == 0) continue;
    if (IsZeroPage(from + at)) {
      os::Drop(from + at, kPageSize).Ignore();  // then it stays
    } else {
      kept += kPageSize;
    }
  }
  return kept;
}

size_t WorkspaceSize(const uzswap_compressor& plugin,
                     const uzswap_compressor_parameters& parameters) {
  if (UZSWAP_COMPRESSOR_HAS(&plugin, init_with)) {
    return plugin.workspace_size_with(&parameters);
  }
  return plugin.workspace_size(parameters.level);
}

}  // namespace

constinit LockClass Compressor::lock_class_{"acomp_ctx"};
// No teardown: what a context has outlives the CPU's absence.
constinit cpuhp::State Compressor::state_{"uzswap/compressor:prepare",
                                          &Compressor::OnCpuUp};

// One mapping: [Compressor, contexts_, dictionary, to a page][stride 0]...
// One stride:  [buffer][never touched][buffer]...[red zone][workspace][red
// zone, to a page]
struct Compressor::Layout {
  unsigned count;
  size_t workspace_bytes;
  ByteCount contexts_at;
  ByteCount dictionary_at;
  ByteCount header;
  ByteCount workspace_at;
  ByteCount stride;
  ByteCount mapped;

  static Layout Of(const CompressorParameters& parameters,
                   size_t workspace_bytes) {
    Layout l{};
    l.count = cpuhp::System().possible() + 1;
    l.workspace_bytes = workspace_bytes;
    l.contexts_at = CacheLineCeil(sizeof(Compressor));
    l.dictionary_at = l.contexts_at + l.count * sizeof(AcompContext);
    l.header = PageCeil(l.dictionary_at + parameters.dictionary.size());
    l.workspace_at =
        (parameters.buffers - 1) * kBufferStride + kPageSize + kRedZone;
    l.stride = PageCeil(l.workspace_at + workspace_bytes + kRedZone);
    l.mapped = l.header + l.count * l.stride;
    return l;
  }
};

Compressor::Compressor(const uzswap_compressor& plugin, const Layout& layout,
                       const CompressorParameters& parameters)
    : plugin_(&plugin),
      contexts_(reinterpret_cast<AcompContext*>(
          reinterpret_cast<std::byte*>(this) + layout.contexts_at)),
      count_(layout.count),
      buffers_(parameters.buffers),
      workspace_bytes_(layout.workspace_bytes),
      stride_(layout.stride),
      workspace_at_(layout.workspace_at),
      header_bytes_(layout.header),
      mapped_bytes_(layout.mapped) {
  const std::span<const std::byte> dictionary = parameters.dictionary;
  std::byte* copy = nullptr;
  if (!dictionary.empty()) {
    copy = reinterpret_cast<std::byte*>(this) + layout.dictionary_at;
    memcpy(copy, dictionary.data(), dictionary.size());
  }
  parameters_ = {.struct_size = sizeof(parameters_),
                 .level = parameters.level,
                 .dictionary = copy,
                 .dictionary_bytes = dictionary.size()};
  PlaceContexts();
}

void Compressor::PlaceContexts() {
  std::byte* frames = reinterpret_cast<std::byte*>(this) + header_bytes_;
  for (unsigned i = 0; i < count_; ++i, frames += stride_) {
    auto* context = new (&contexts_[i]) AcompContext(lock_class_);
    for (unsigned b = 0; b < buffers_; ++b) {
      context->buffers[b] = frames + b * kBufferStride;
    }
    context->workspace = frames + workspace_at_;
  }
}

Result<Compressor*> Compressor::Create(const uzswap_compressor& plugin,
                                       const CompressorParameters& parameters) {
  if (parameters.buffers < 1 || parameters.buffers > kMaxBatch) {
    return Status::Error(EINVAL);
  }
  if (!parameters.dictionary.empty() &&
      !UZSWAP_COMPRESSOR_HAS(&plugin, init_with)) {
    return Status::Error(EINVAL);
  }
  const uzswap_compressor_parameters asked = {
      .struct_size = sizeof(asked),
      .level = parameters.level,
      .dictionary = parameters.dictionary.data(),
      .dictionary_bytes = parameters.dictionary.size()};
  const size_t workspace_bytes = WorkspaceSize(plugin, asked);
  // Larger than any codec's need for a page: the plug-in is broken.
  constexpr size_t kTooLarge = size_t{1} << 30;
  if (workspace_bytes > kTooLarge || parameters.dictionary.size() > kTooLarge) {
    return Status::Error(ENOMEM);
  }
  const Layout layout = Layout::Of(parameters, workspace_bytes);
  lockdep::MightReclaim();
  // Sparse: one touched context must not make a huge page of them resident.
  const Result<void*> memory = os::Map(layout.mapped, /*sparse=*/true);
  if (!memory.ok()) return memory.status();
  auto* c = new (memory.value()) Compressor(plugin, layout, parameters);

  // The spare tells whether the level is supported, and is there whatever
  // happens to the others.
  AcompContext& spare = c->contexts_[c->count_ - 1];
  Status status = c->SetUp(spare);
  if (status.ok()) {
    const Status known = cpuhp::System().SetUpState(state_);
    CHECK(known.ok() || known.error() == EEXIST);
    status = cpuhp::System().AddInstance(state_, *c);
  }
  if (!status.ok()) {
    // There is no teardown: all contexts made so far go here. The instance is
    // not on the machine's list.
    c->Free();
    return status;
  }
  return c;
}

void Compressor::Destroy() {
  lockdep::MightReclaim();  // as the kernel's destructors may
  cpuhp::System().RemoveInstance(state_, *this);
  for (unsigned i = 0; i < count_; ++i) {
    // Somebody would go on in memory that is not there.
    CHECK(contexts_[i].mutex.TryLock());
    contexts_[i].mutex.Unlock();
  }
  Free();
}

void Compressor::Free() { CHECK(os::Unmap(this, mapped_bytes_).ok()); }

// With the hotplug lock held: it comes before contexts, and so do all that take
// it. That is why nobody may create, destroy or set up with a context locked.
Status Compressor::OnCpuUp(unsigned cpu, cpuhp::Instance& instance) {
  auto& c = static_cast<Compressor&>(instance);
  AcompContext& context = c.contexts_[cpu];
  lockdep::Acquire(lock_class_, &context.mutex);
  lockdep::Release(lock_class_, &context.mutex);
  // It came back. Perhaps somebody who moved away still uses its context.
  if (context.ready.load(std::memory_order_relaxed)) return kOk;
  UZSWAP_RETURN_IF_ERROR(c.SetUp(context));
  c.wanted_[cpu / 64].fetch_and(~(uint64_t{1} << (cpu % 64)),
                                std::memory_order_relaxed);
  return kOk;
}

// Without its mutex: nobody locks a context that is not ready.
Status Compressor::SetUp(AcompContext& context) {
  const int error = UZSWAP_COMPRESSOR_HAS(plugin_, init_with)
                        ? plugin_->init_with(context.workspace,
                                             workspace_bytes_, &parameters_)
                        : plugin_->init(context.workspace, workspace_bytes_,
                                        parameters_.level);
  if (error != 0) {
    // The next attempt must find zeros.
    CHECK(os::Drop(Frames(context), stride_).ok());
    return Status::Error(error > 0 ? error : EINVAL);
  }
  const ByteCount resident = DropZeroPages(Frames(context), stride_);
  // The same for all of them.
  set_up_bytes_.store(resident, std::memory_order_relaxed);
  ready_count_.fetch_add(1, std::memory_order_relaxed);
  context.ready.store(true, std::memory_order_release);
  return kOk;
}

AcompContext& Compressor::LockOn(unsigned cpu) {
  if (cpu >= count_ - 1) [[unlikely]]
    cpu %= count_ - 1;
  for (;;) {
    AcompContext& own = contexts_[cpu];
    AcompContext* got = &own;
    if (!TryLockReady(own)) [[unlikely]]
      got = &Pick(cpu);
    // LockAll closes, then passes through every mutex: whoever gets one after
    // it sees this.
    if (closed_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
      got->mutex.Unlock();
      WaitUntilOpen();
      continue;
    }
    if (!got->used) [[unlikely]] {
      got->used = true;
      used_count_.fetch_add(1, std::memory_order_relaxed);
    }
    return *got;
  }
}

void Compressor::Unlock(AcompContext& context) { context.mutex.Unlock(); }

AcompContext& Compressor::Pick(unsigned cpu) {
  AcompContext& own = contexts_[cpu];
  AcompContext& spare = contexts_[count_ - 1];
  const bool ready = own.ready.load(std::memory_order_acquire);
  if (!ready) Want(cpu);
  if (TryLockReady(spare)) return spare;
  // One that nobody used would cost frames for ever: waiting is better.
  for (unsigned i = 0; i < count_ - 1; ++i) {
    AcompContext& other = contexts_[i];
    if (!TryLockReady(other)) continue;
    if (other.used) return other;
    other.mutex.Unlock();
  }
  AcompContext& waited_for = ready ? own : spare;
  waited_for.mutex.Lock();
  return waited_for;
}

bool Compressor::TryLockReady(AcompContext& context) {
  return context.ready.load(std::memory_order_acquire) &&
         context.mutex.TryLock();
}

void Compressor::Want(unsigned cpu) {
  const uint64_t bit = uint64_t{1} << (cpu % 64);
  std::atomic<uint64_t>& word = wanted_[cpu / 64];
  if ((word.load(std::memory_order_relaxed) & bit) == 0) {
    word.fetch_or(bit, std::memory_order_relaxed);
  }
}

bool Compressor::HasWanted() const {
  for (const std::atomic<uint64_t>& word : wanted_) {
    if (word.load(std::memory_order_relaxed) != 0) return true;
  }
  return false;
}

Status Compressor::SetUpWanted() {
  Status first_error = kOk;
  for (unsigned w = 0; w < kWantedWords; ++w) {
    if (wanted_[w].load(std::memory_order_relaxed) == 0) continue;
    uint64_t cpus = wanted_[w].exchange(0, std::memory_order_relaxed);
    for (; cpus != 0; cpus &= cpus - 1) {
      const auto bit = static_cast<unsigned>(std::countr_zero(cpus));
      const Status s = cpuhp::System().StartOn(state_, *this, w * 64 + bit);
      if (!s.ok() && first_error.ok()) first_error = s;
    }
  }
  return first_error;
}

ByteCount Compressor::metadata_bytes() const {
  const ByteCount used = used_count_.load(std::memory_order_relaxed);
  const ByteCount ready = ready_count_.load(std::memory_order_relaxed);
  const ByteCount never_touched = (buffers_ - 1) * (kBufferStride - kPageSize);
  return header_bytes_ + used * (stride_ - never_touched) +
         (ready - std::min(used, ready)) *
             set_up_bytes_.load(std::memory_order_relaxed);
}

void Compressor::WaitUntilOpen() {
  while (closed_.load(std::memory_order_acquire) != 0) {
    os::FutexWait(&closed_, 1, -1).Ignore();  // every wake-up looks again
  }
}

Result<ByteCount> Compressor::CompressInto(AcompContext& context,
                                           ConstPage page, unsigned buffer) {
  context.mutex.AssertHeld();
  DCHECK(buffer < buffers_);
  size_t produced = 0;
  const int error =
      plugin_->compress(context.workspace, page.data(), page.size(),
                        context.buffers[buffer], kPageSize, &produced);
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
  // A child must not inherit a workspace that is half set up.
  cpuhp::System().HoldOff();
  CHECK(closed_.exchange(1, std::memory_order_relaxed) == 0);
  for (unsigned i = 0; i < count_; ++i) {
    ScopedLock wait_for_the_last_user(contexts_[i].mutex);
  }
}

void Compressor::UnlockAll() {
  CHECK(closed_.exchange(0, std::memory_order_release) == 1);
  os::FutexWake(&closed_, 1 << 30);
  cpuhp::System().Resume();
}

void Compressor::ResetLocksInChild() {
  for (unsigned i = 0; i < count_; ++i) contexts_[i].mutex.ResetInChild();
  closed_.store(0, std::memory_order_relaxed);
  cpuhp::System().ResetInChild();
}

std::byte* Compressor::Frames(const AcompContext& c) const {
  return c.buffers[0];
}

void Compressor::CheckRedZones(const AcompContext& c) const {
  for (unsigned b = 0; b + 1 < buffers_; ++b) {
    CHECK(AllZero({c.buffers[b] + kPageSize, kBufferStride - kPageSize}));
  }
  CHECK(AllZero({c.buffers[buffers_ - 1] + kPageSize, kRedZone}));
  const size_t end = workspace_at_ + workspace_bytes_;
  CHECK(AllZero({Frames(c) + end, stride_ - end}));
}

void Compressor::CheckInvariants() {
  const auto base = reinterpret_cast<uintptr_t>(this);
  CHECK(mapped_bytes_ == header_bytes_ + count_ * stride_);
  CHECK(link.linked());
  unsigned ready = 0;
  for (unsigned i = 0; i < count_; ++i) {
    AcompContext& c = contexts_[i];
    const auto frames = reinterpret_cast<uintptr_t>(Frames(c));
    const auto workspace = reinterpret_cast<uintptr_t>(c.workspace);
    CHECK(frames == base + header_bytes_ + i * stride_);
    CHECK(workspace == frames + workspace_at_ && workspace % kCacheLine == 0);
    for (unsigned b = 0; b < kMaxBatch; ++b) {
      CHECK((c.buffers[b] == nullptr) == (b >= buffers_));
      CHECK(reinterpret_cast<uintptr_t>(c.buffers[b]) % kPageSize == 0);
    }
    ScopedLock lock(c.mutex);
    if (!c.ready.load(std::memory_order_acquire)) {
      CHECK(i != count_ - 1 && !c.used);
      continue;
    }
    ++ready;
    CheckRedZones(c);
  }
  // Others may become ready behind us.
  CHECK(ready <= ready_count_.load(std::memory_order_relaxed));
}

}  // namespace uzswap
