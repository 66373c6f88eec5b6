// SPDX-License-Identifier: Apache-2.0
// Runs one compressor without ever allocating: per-CPU contexts, each with its
// own workspace and destination buffers, live from Create to Destroy (the
// kernel's acomp_ctx, in the lifetime its 2025 series settled on). A CPU's
// context is set up once, when the CPU comes online or the compressor is made
// (base/cpuhp.h); a CPU that goes takes nothing with it. A task keeps the
// context it locked even if it moves to another CPU meanwhile.
//
// The address space of every context is taken at Create, so nothing can fail
// for want of it later; frames are taken by what is touched, so CPUs that the
// program never runs on cost the little that setting up writes.
#ifndef UZSWAP_COMPRESS_COMPRESSOR_H_
#define UZSWAP_COMPRESS_COMPRESSOR_H_

#include <uzswap/compressor.h>

#include <atomic>
#include <cstddef>
#include <span>

#include "base/cpuhp.h"
#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// The most pages that are compressed before any is written away (kernel:
// ZSWAP_MAX_BATCH_SIZE).
inline constexpr unsigned kMaxBatch = 8;

// One context: REQUIRES to be locked by whoever uses it. Its cache lines are
// its own: neighbours belong to other CPUs. Lock needs the first only.
struct alignas(kCacheLine) AcompContext {
  explicit constexpr AcompContext(LockClass& lock_class) : mutex(lock_class) {}

  Mutex mutex;
  // The plug-in's init accepted the workspace. Set once, never cleared.
  std::atomic<bool> ready{false};
  bool used = false;          // somebody locked it; guarded by mutex
  void* workspace = nullptr;  // 64-byte aligned
  // kPageSize bytes each, page-aligned: destinations of compress, or scratch.
  // [Compressor::buffers(), kMaxBatch) are null.
  std::byte* buffers[kMaxBatch] = {};
};

struct CompressorParameters {
  int level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
  std::span<const std::byte> dictionary = {};  // copied by Create
  unsigned buffers = 1;                        // per context: 1 ... kMaxBatch
};

// Invariants: contexts_[count_ - 1], the spare, is always ready; the others,
// one for each possible CPU, are set up under the hotplug lock only, and those
// of all CPUs that were online since Create are ready. Bytes between a
// context's buffers, its workspace and the next context are zero (red zones: a
// plug-in that writes past its room is found by CheckInvariants).
class Compressor : private cpuhp::Instance {
 public:
  // Sets up the spare and the contexts of all online CPUs. ENOMEM; EINVAL: bad
  // parameters, or a dictionary for a plug-in without init_with; or what init
  // said (EINVAL: the level is not supported). Nothing is left of a failure.
  // The plug-in must outlive the Compressor; it is loaded already, because
  // nothing may be loaded under the hotplug lock. REQUIRES: this thread has no
  // context locked (of any compressor).
  static Result<Compressor*> Create(const uzswap_compressor& plugin,
                                    const CompressorParameters& parameters);
  // REQUIRES: no context is locked, and this thread has none of any other
  // compressor. May wait for a CPU that is just coming.
  void Destroy();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  const char* name() const { return plugin_->name; }
  const uzswap_compressor& plugin() const { return *plugin_; }
  unsigned buffers() const { return buffers_; }

  // Locks a context: the one of the CPU we run on, or, if that is busy or not
  // set up, the spare or another that was used before (waiting only when all
  // of those are busy). A CPU without a context is remembered for SetUpWanted.
  AcompContext& Lock() UZSWAP_NO_THREAD_SAFETY_ANALYSIS {
    return LockOn(os::CurrentCpu());
  }
  // As Lock for a thread that found itself on `cpu` a moment ago.
  AcompContext& LockOn(unsigned cpu) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;
  void Unlock(AcompContext& context) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;

  // Compresses page into context.buffers[0]. ENOSPC: not smaller than a page
  // (kernel: length 0 or >= PAGE_SIZE is "incompressible"). EINVAL: the
  // compressor failed otherwise.
  Result<ByteCount> Compress(AcompContext& context, ConstPage page) {
    return CompressInto(context, page, 0);
  }
  // Into context.buffers[buffer]. REQUIRES: buffer < buffers().
  Result<ByteCount> CompressInto(AcompContext& context, ConstPage page,
                                 unsigned buffer);
  // EIO unless it yields exactly one page; the page is then undefined.
  Status Decompress(AcompContext& context, std::span<const std::byte> from,
                    MutablePage page);

  // A thread ran on a CPU that has no context. Cheap; no lock.
  bool HasWanted() const;
  // Sets up the contexts of such CPUs. Call it now and then, at the end of a
  // fault or from a worker, with no lock held. A CPU whose set-up fails is
  // tried again after the next Lock on it; the first error is returned.
  Status SetUpWanted();

  // What the contexts used so far can have resident, what setting up the others
  // made so, and this object; cheap.
  ByteCount metadata_bytes() const;

  // For fork. After LockAll no context is locked by anybody or set up, and Lock
  // waits, until UnlockAll, or in the child ResetLocksInChild. Holds no mutex
  // meanwhile (there may be hundreds). REQUIRES: this thread holds no context;
  // one thread at a time.
  void LockAll();
  void UnlockAll();
  void ResetLocksInChild();

  // Locks one context after the other; never call it with one locked.
  void CheckInvariants();

 private:
  struct Layout;

  Compressor(const uzswap_compressor& plugin, const Layout& layout,
             const CompressorParameters& parameters);

  static Status OnCpuUp(unsigned cpu, cpuhp::Instance& instance);
  void PlaceContexts();
  Status SetUp(AcompContext& context);
  void Free();
  AcompContext& Pick(unsigned cpu) UZSWAP_NO_THREAD_SAFETY_ANALYSIS;
  bool TryLockReady(AcompContext& context)
      UZSWAP_TRY_ACQUIRE(true, context.mutex);
  void Want(unsigned cpu);
  void WaitUntilOpen();
  std::byte* Frames(const AcompContext& c) const;
  void CheckRedZones(const AcompContext& c) const;

  static LockClass lock_class_;
  static cpuhp::State state_;
  static constexpr unsigned kWantedWords = os::kMaxCpus / 64;

  const uzswap_compressor* const plugin_;
  AcompContext* const contexts_;  // behind this object
  const unsigned count_;          // contexts: the possible CPUs and the spare
  std::atomic<uint32_t> closed_{0};  // futex: 1 between LockAll and UnlockAll

  const unsigned buffers_;
  const size_t workspace_bytes_;
  const ByteCount stride_;        // from one context's frames to the next's
  const ByteCount workspace_at_;  // in a stride
  const ByteCount header_bytes_;  // this object, contexts_, the dictionary
  const ByteCount mapped_bytes_;
  uzswap_compressor_parameters parameters_;  // as init_with sees them
  // Resident in a context that nobody used.
  std::atomic<ByteCount> set_up_bytes_{0};
  std::atomic<unsigned> ready_count_{0};
  std::atomic<unsigned> used_count_{0};
  std::atomic<uint64_t> wanted_[kWantedWords] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_COMPRESS_COMPRESSOR_H_
