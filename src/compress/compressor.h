// SPDX-License-Identifier: Apache-2.0
// Runs one compressor without ever allocating: per-CPU contexts, each with its
// own workspace and destination buffer, live from Create to Destroy (the
// kernel's acomp_ctx, in the lifetime its 2025 series settled on). A task keeps
// the context it locked even if it moves to another CPU meanwhile.
#ifndef UZSWAP_COMPRESS_COMPRESSOR_H_
#define UZSWAP_COMPRESS_COMPRESSOR_H_

#include <uzswap/compressor.h>

#include "base/arena.h"
#include "base/mutex.h"
#include "base/page.h"
#include "base/status.h"

namespace uzswap {

// One context: REQUIRES to be locked by whoever uses it.
struct AcompContext {
  Mutex mutex;
  void* workspace;
  std::byte* buffer;  // kPageSize bytes: destination of compress, or scratch
};

class Compressor {
 public:
  // Allocates every context now. ENOMEM, or what plugin.init said.
  static Result<Compressor*> Create(const uzswap_compressor& plugin, int level);
  void Destroy();

  const char* name() const { return plugin_->name; }

  // Locks a context: the one of the CPU we run on, or, if that is busy, the
  // first free one (waiting only when all are busy).
  AcompContext& Lock();
  void Unlock(AcompContext& context);

  // Compresses page into context.buffer. ENOSPC: not smaller than a page
  // (kernel: length 0 or >= PAGE_SIZE is "incompressible"). EINVAL: the
  // compressor failed otherwise.
  Result<ByteCount> Compress(AcompContext& context, ConstPage page);
  // EIO unless it yields exactly one page.
  Status Decompress(AcompContext& context, std::span<const std::byte> from,
                    MutablePage page);

  ByteCount metadata_bytes() const;  // all contexts
  void LockAll();
  void UnlockAll();
  void ResetLocksInChild();

 private:
  const uzswap_compressor* plugin_ = nullptr;
  int level_ = 0;
  unsigned count_ = 0;
  AcompContext* contexts_ = nullptr;
  ByteCount mapped_bytes_ = 0;
};

}  // namespace uzswap

#endif  // UZSWAP_COMPRESS_COMPRESSOR_H_
