// SPDX-License-Identifier: Apache-2.0
// LZO1X-1, what the kernel's zswap used first. The library's compressor knows
// no destination bound, so it writes to worst-case room in the workspace and
// the result is copied. liblzo2 is GPL-2.0-or-later, so this file is only ever
// built as a shared object that the user chooses to load.
#include <errno.h>
#include <lzo/lzo1x.h>
#include <string.h>
#include <uzswap/compressor.h>

namespace {

// The expansion of incompressible data that LZO.FAQ promises not to exceed.
constexpr size_t kMaxInput = UZSWAP_COMPRESSOR_MAX_BYTES;
constexpr size_t kWorstCase = kMaxInput + kMaxInput / 16 + 64 + 3;

struct Workspace {
  alignas(64) unsigned char table[LZO1X_1_MEM_COMPRESS];
  alignas(64) unsigned char output[kWorstCase];
};

size_t WorkspaceSize(int /*level*/) { return sizeof(Workspace); }

// There is one level.
int Init(void* /*workspace*/, size_t workspace_bytes, int level) {
  if (level != UZSWAP_COMPRESSOR_DEFAULT_LEVEL && level != 1) return EINVAL;
  if (workspace_bytes < sizeof(Workspace)) return EINVAL;
  return lzo_init() == LZO_E_OK ? 0 : EINVAL;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > kMaxInput) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  lzo_uint n = 0;
  const int r = lzo1x_1_compress(static_cast<const unsigned char*>(source),
                                 source_bytes, w->output, &n, w->table);
  if (r != LZO_E_OK) return EINVAL;
  if (n > destination_bytes) return ENOSPC;
  memcpy(destination, w->output, n);
  *produced = n;
  return 0;
}

int Decompress(void* /*workspace*/, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  lzo_uint n = destination_bytes;
  const int r = lzo1x_decompress_safe(
      static_cast<const unsigned char*>(source), source_bytes,
      static_cast<unsigned char*>(destination), &n, nullptr);
  return r == LZO_E_OK && n == destination_bytes ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(lzo) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "lzo",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    1,
    1,
};
