// SPDX-License-Identifier: Apache-2.0
// Runs one compressor without ever allocating: per-CPU contexts, each with its
// own workspace and destination buffer, live from Create to Destroy (the
// kernel's acomp_ctx, in the lifetime its 2025 series settled on). A task keeps
// the context it locked even if it moves to another CPU meanwhile.
//
// The address space of every context is taken at Create, so nothing can fail
// later; frames are only used by contexts that somebody locked, so CPUs that
// the program never runs on cost nothing.
#ifndef UZSWAP_COMPRESS_COMPRESSOR_H_
#define UZSWAP_COMPRESS_COMPRESSOR_H_

#include <uzswap/compressor.h>

#include <atomic>
#include <cstddef>
#include <span>

#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// One context: REQUIRES to be locked by whoever uses it. Its cache line is its
// own: neighbours belong to other CPUs.
struct alignas(kCacheLine) AcompContext {
  explicit constexpr AcompContext(LockClass& lock_class) : mutex(lock_class) {}

  Mutex mutex;
  void* workspace = nullptr;    // 64-byte aligned
  std::byte* buffer = nullptr;  // kPageSize bytes: destination of compress, or
                                // scratch; page-aligned
  // The plug-in's init accepted the workspace. Written under mutex, once.
  std::atomic<bool> ready{false};
};

// Invariants: contexts_[count_ - 1], the spare, is always ready; the others,
// one for each CPU, become ready when first locked. Bytes between a context's
// buffer, its workspace and the next context are zero (red zones: a plug-in
// that writes past its room is found by CheckInvariants).
class Compressor {
 public:
  // Reserves every context now. ENOMEM, or what plugin.init said (EINVAL: the
  // level is not supported). The plug-in must outlive the Compressor.
  static Result<Compressor*> Create(const uzswap_compressor& plugin, int level);
  // REQUIRES: no context is locked.
  void Destroy();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  const char* name() const { return plugin_->name; }

  // Locks a context: the one of the CPU we run on, or, if that is busy, the
  // first free one (waiting only when all are busy).
  AcompContext& Lock() UZSWAP_NO_THREAD_SAFETY_ANALYSIS;
  void Unlock(AcompContext& context) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;

  // Compresses page into context.buffer. ENOSPC: not smaller than a page
  // (kernel: length 0 or >= PAGE_SIZE is "incompressible"). EINVAL: the
  // compressor failed otherwise.
  Result<ByteCount> Compress(AcompContext& context, ConstPage page);
  // EIO unless it yields exactly one page; the page is then undefined.
  Status Decompress(AcompContext& context, std::span<const std::byte> from,
                    MutablePage page);

  // What the contexts used so far can have resident, and this object; cheap.
  ByteCount metadata_bytes() const {
    return header_bytes_ +
           ready_count_.load(std::memory_order_relaxed) * stride_;
  }

  // For fork. After LockAll no context is locked by anybody and Lock waits,
  // until UnlockAll, or in the child ResetLocksInChild. Holds no mutex
  // meanwhile (there may be hundreds). REQUIRES: this thread holds no context;
  // one thread at a time.
  void LockAll();
  void UnlockAll();
  void ResetLocksInChild();

  // Locks one context after the other; never call it with one locked.
  void CheckInvariants();

 private:
  Compressor(const uzswap_compressor& plugin, int level);

  Status MakeReady(AcompContext& context);
  bool TryLockReady(AcompContext& context)
      UZSWAP_TRY_ACQUIRE(true, context.mutex);
  void WaitUntilOpen();
  std::span<const std::byte> RedZoneAfterBuffer(const AcompContext& c) const;
  std::span<const std::byte> RedZoneAfterWorkspace(const AcompContext& c) const;

  static LockClass lock_class_;

  const uzswap_compressor* const plugin_;
  const int level_;
  unsigned count_ = 0;                // contexts: the CPUs and the spare
  AcompContext* contexts_ = nullptr;  // behind this object
  size_t workspace_bytes_ = 0;
  ByteCount stride_ = 0;        // bytes of one context: buffer and workspace
  ByteCount header_bytes_ = 0;  // this object and contexts_
  ByteCount mapped_bytes_ = 0;
  std::atomic<unsigned> ready_count_{0};
  std::atomic<uint32_t> closed_{0};  // futex: 1 between LockAll and UnlockAll
};

}  // namespace uzswap

#endif  // UZSWAP_COMPRESS_COMPRESSOR_H_
