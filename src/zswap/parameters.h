// SPDX-License-Identifier: Apache-2.0
// The parameters of the engine that can be changed while it runs: those of
// /sys/module/zswap/parameters, with the kernel's names, values and errors, and
// recompressor ("none": no dense tier), with those of compressor.
// What a write does depends on how far the engine is (InitState): before, it is
// only recorded; afterwards it takes effect at once; when setting up failed,
// what would need the engine is refused.
//
// Two differences on purpose: a percentage above 100 is refused; a compressor
// may carry a level ("zstd:9"), zsmalloc a chain ("zsmalloc:16").
//
// Threads: the engine reads the atomics at any time. Set and Format take a
// mutex, which is held while the pool is switched, so callers hold no lock of
// the engine and block signals.
// Comes from: mm/zswap.c (zswap_enabled_param_set, __zswap_param_set).
#ifndef UZSWAP_ZSWAP_PARAMETERS_H_
#define UZSWAP_ZSWAP_PARAMETERS_H_

#include <uzswap/compressor.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/mutex.h"
#include "base/status.h"

namespace uzswap {

enum class InitState : uint32_t { kUninitialised, kSucceeded, kFailed };

// Always terminated.
struct ParameterText {
  static constexpr size_t kBytes = 64;
  char text[kBytes] = {};
};

// "zstd" or "zstd:9".
struct CompressorChoice {
  bool operator==(const CompressorChoice& other) const;
  ParameterText name;
  int level = UZSWAP_COMPRESSOR_DEFAULT_LEVEL;
};

// What a write needs of the rest of the engine, once there is one.
class ParameterHost {
 public:
  // Stores go to a pool of this kind from now on. ENOENT: one of the names is
  // not known. EINVAL: not at that level, or not with that chain. ENOMEM. On
  // error nothing changed.
  virtual Status SwitchPool(const CompressorChoice& compressor,
                            const char* zpool) = 0;
  // What stays cold is compressed again by this one; nullptr: by none. As
  // SwitchPool.
  virtual Status SetRecompressor(const CompressorChoice* compressor) = 0;
  // One of the atomics has another value.
  virtual void Changed() = 0;

 protected:
  ~ParameterHost() = default;
};

// Invariants: percentages are at most 100; names were accepted by SwitchPool
// when state is kSucceeded and has_pool.
class Parameters {
 public:
  constexpr Parameters() = default;
  Parameters(const Parameters&) = delete;
  Parameters& operator=(const Parameters&) = delete;

  // For the engine, one relaxed load each.
  std::atomic<bool> enabled{true};
  std::atomic<bool> shrinker_enabled{false};
  std::atomic<unsigned> max_pool_percent{50};
  std::atomic<unsigned> accept_threshold_percent{90};

  // Set by whoever sets the engine up; kFailed lasts until an attempt succeeds.
  std::atomic<InitState> state{InitState::kUninitialised};
  // Meaningful when kSucceeded: creating the first pool may have failed.
  std::atomic<bool> has_pool{false};

  // The engine is set up, with this pool; not a write. Cuts what is too long.
  void Start(const char* compressor, int level, const char* zpool);

  // Blanks around the value do not count. host may be nullptr unless
  // kSucceeded.
  // ENOENT: no such parameter, or no compressor or zpool of that name.
  // EINVAL: not a value of that parameter. ERANGE: not a number that fits.
  // ENODEV: setting up failed, or there is no pool to enable. ENOSPC: too long
  // to be recorded. Otherwise what SwitchPool said. On error nothing changed.
  Status Set(const char* name, const char* value, ParameterHost* host);
  // As Set would accept it. ENOENT: no such parameter.
  Status Format(const char* name, ParameterText* value);
  // Set has succeeded for it since the start of the process.
  bool WasSet(const char* name) const;

  // Fork: no write is in flight between the two.
  void PrepareFork() UZSWAP_ACQUIRE(mutex_) { mutex_.Lock(); }
  void ParentAfterFork() UZSWAP_RELEASE(mutex_) { mutex_.Unlock(); }
  void ChildAfterFork() { mutex_.ResetInChild(); }

  void CheckInvariants();

 private:
  enum class Id : unsigned;
  static bool Find(const char* name, Id* id);
  Status SetLocked(Id id, const char* value, ParameterHost* host)
      UZSWAP_REQUIRES(mutex_);
  Status SetEnabled(const char* value) UZSWAP_REQUIRES(mutex_);
  Status SetCompressor(const char* value, ParameterHost* host)
      UZSWAP_REQUIRES(mutex_);
  Status SetRecompressor(const char* value, ParameterHost* host)
      UZSWAP_REQUIRES(mutex_);
  Status SetZpool(const char* value, ParameterHost* host)
      UZSWAP_REQUIRES(mutex_);

  static constinit LockClass lock_class_;
  Mutex mutex_{lock_class_};
  CompressorChoice compressor_ UZSWAP_GUARDED_BY(mutex_) = {{"lz4"}};
  CompressorChoice recompressor_ UZSWAP_GUARDED_BY(mutex_) = {};  // "": none
  ParameterText zpool_ UZSWAP_GUARDED_BY(mutex_) = {"zsmalloc"};
  std::atomic<uint32_t> was_set_{0};  // bit: Id
};

}  // namespace uzswap

#endif  // UZSWAP_ZSWAP_PARAMETERS_H_
