// SPDX-License-Identifier: Apache-2.0
// Zstandard: denser than LZ4, about three times as slow. Frames carry no magic
// number, size, checksum or dictionary: the host knows what it stored, and five
// bytes of header are enough. Both contexts live inside the workspace (static
// contexts of zstd never allocate; they fail instead).
#define ZSTD_STATIC_LINKING_ONLY  // static contexts, magicless frames
#include <errno.h>
#include <string.h>
#include <uzswap/compressor.h>
#include <zstd.h>
#include <zstd_errors.h>

namespace {

constexpr int kDefaultLevel = 1;
// A page takes over half a millisecond at 19 already, and 370 KiB of workspace.
constexpr int kMinLevel = -7;
constexpr int kMaxLevel = 19;

constexpr size_t kMaxInput = ZSTD_COMPRESSBOUND(UZSWAP_COMPRESSOR_MAX_BYTES);

// [Workspace][compression context][decompression context], each on a cache line
struct alignas(64) Workspace {
  ZSTD_CCtx* compress;
  ZSTD_DCtx* decompress;
  // Frames are decompressed from here. With magicless frames, zstd 1.5.4 looks
  // for a four-byte magic number even where fewer bytes are left, so it would
  // read up to three bytes behind a corrupt source.
  char input[kMaxInput + 4];
};

size_t Align(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

bool LevelIsKnown(int* level) {
  if (*level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) *level = kDefaultLevel;
  return *level >= kMinLevel && *level <= kMaxLevel;
}

// Tables are sized for one page, not for the megabytes the level is made for.
ZSTD_compressionParameters Parameters(int level) {
  return ZSTD_getCParams(level, UZSWAP_COMPRESSOR_MAX_BYTES, 0);
}

size_t CompressContextBytes(int level) {
  return Align(ZSTD_estimateCCtxSize_usingCParams(Parameters(level)));
}

size_t WorkspaceSize(int level) {
  if (!LevelIsKnown(&level)) return 0;
  return sizeof(Workspace) + CompressContextBytes(level) +
         Align(ZSTD_estimateDCtxSize());
}

bool Set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  return ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0;
}

bool Configure(ZSTD_CCtx* context, int level) {
  const ZSTD_compressionParameters p = Parameters(level);
  return Set(context, ZSTD_c_compressionLevel, level) &&
         Set(context, ZSTD_c_windowLog, static_cast<int>(p.windowLog)) &&
         Set(context, ZSTD_c_chainLog, static_cast<int>(p.chainLog)) &&
         Set(context, ZSTD_c_hashLog, static_cast<int>(p.hashLog)) &&
         Set(context, ZSTD_c_searchLog, static_cast<int>(p.searchLog)) &&
         Set(context, ZSTD_c_minMatch, static_cast<int>(p.minMatch)) &&
         Set(context, ZSTD_c_targetLength, static_cast<int>(p.targetLength)) &&
         Set(context, ZSTD_c_strategy, p.strategy) &&
         Set(context, ZSTD_c_contentSizeFlag, 0) &&
         Set(context, ZSTD_c_checksumFlag, 0) &&
         Set(context, ZSTD_c_dictIDFlag, 0) &&
         Set(context, ZSTD_c_format, ZSTD_f_zstd1_magicless);
}

int Init(void* workspace, size_t workspace_bytes, int level) {
  if (!LevelIsKnown(&level)) return EINVAL;
  if (workspace_bytes < WorkspaceSize(level)) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  char* at = static_cast<char*>(workspace) + sizeof(Workspace);
  w->compress = ZSTD_initStaticCCtx(at, CompressContextBytes(level));
  at += CompressContextBytes(level);
  w->decompress = ZSTD_initStaticDCtx(at, Align(ZSTD_estimateDCtxSize()));
  if (w->compress == nullptr || w->decompress == nullptr) return EINVAL;
  if (!Configure(w->compress, level)) return EINVAL;
  const size_t r = ZSTD_DCtx_setParameter(w->decompress, ZSTD_d_format,
                                          ZSTD_f_zstd1_magicless);
  return ZSTD_isError(r) == 0 ? 0 : EINVAL;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  const size_t n = ZSTD_compress2(w->compress, destination, destination_bytes,
                                  source, source_bytes);
  if (ZSTD_isError(n) == 0) {
    *produced = n;
    return 0;
  }
  return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? ENOSPC : EINVAL;
}

int Decompress(void* workspace, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  if (source_bytes > kMaxInput) return EIO;
  auto* w = static_cast<Workspace*>(workspace);
  memcpy(w->input, source, source_bytes);
  memset(w->input + source_bytes, 0, 4);
  const size_t n = ZSTD_decompressDCtx(
      w->decompress, destination, destination_bytes, w->input, source_bytes);
  return n == destination_bytes ? 0 : EIO;  // errors are larger than any size
}

}  // namespace

UZSWAP_COMPRESSOR(zstd) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "zstd",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
};
