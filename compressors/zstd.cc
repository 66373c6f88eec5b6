// SPDX-License-Identifier: Apache-2.0
// Zstandard: denser than LZ4, about three times as slow. Frames carry no magic
// number, size, checksum or dictionary: the host knows what it stored, and five
// bytes of header are enough. Both contexts, and what is made of a dictionary,
// live inside the workspace (static contexts of zstd never allocate; they fail
// instead). A dictionary is any content, or what `zstd --train` makes.
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

// [Workspace][compression context][decompression context]
// [dictionary for compression][dictionary for decompression], each on a cache
// line, the last two only if there is a dictionary.
struct alignas(64) Workspace {
  ZSTD_CCtx* compress;
  ZSTD_DCtx* decompress;
  // Frames are decompressed from here. With magicless frames, zstd 1.5.4 looks
  // for a four-byte magic number even where fewer bytes are left, so it would
  // read up to three bytes behind a corrupt source.
  char input[kMaxInput + 4];
};

size_t Align(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

struct Sizes {
  size_t compress;
  size_t decompress;
  size_t compress_dictionary = 0;
  size_t decompress_dictionary = 0;

  size_t Total() const {
    return sizeof(Workspace) + compress + decompress + compress_dictionary +
           decompress_dictionary;
  }
};

using Parameters = uzswap_compressor_parameters;

bool LevelIsKnown(int* level) {
  if (*level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) *level = kDefaultLevel;
  return *level >= kMinLevel && *level <= kMaxLevel;
}

// Tables are sized for one page, not for the megabytes the level is made for.
ZSTD_compressionParameters ForPages(int level) {
  return ZSTD_getCParams(level, UZSWAP_COMPRESSOR_MAX_BYTES, 0);
}

// A dictionary's tables are sized for the dictionary.
ZSTD_compressionParameters ForDictionary(int level, size_t bytes) {
  return ZSTD_getCParams(level, UZSWAP_COMPRESSOR_MAX_BYTES, bytes);
}

Sizes SizesOf(int level, size_t dictionary_bytes) {
  Sizes sizes = {Align(ZSTD_estimateCCtxSize_usingCParams(ForPages(level))),
                 Align(ZSTD_estimateDCtxSize())};
  if (dictionary_bytes == 0) return sizes;
  const ZSTD_compressionParameters p = ForDictionary(level, dictionary_bytes);
  // A page is compressed with the dictionary's parameters.
  const size_t with = Align(ZSTD_estimateCCtxSize_usingCParams(p));
  if (with > sizes.compress) sizes.compress = with;
  sizes.compress_dictionary = Align(
      ZSTD_estimateCDictSize_advanced(dictionary_bytes, p, ZSTD_dlm_byRef));
  sizes.decompress_dictionary =
      Align(ZSTD_estimateDDictSize(dictionary_bytes, ZSTD_dlm_byRef));
  return sizes;
}

size_t WorkspaceSizeWith(const Parameters* p) {
  int level = p->level;
  if (!LevelIsKnown(&level)) return 0;
  return SizesOf(level, p->dictionary_bytes).Total();
}

size_t WorkspaceSize(int level) {
  const Parameters p = {sizeof(p), level, nullptr, 0};
  return WorkspaceSizeWith(&p);
}

bool Set(ZSTD_CCtx* context, ZSTD_cParameter parameter, int value) {
  return ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)) == 0;
}

bool Configure(ZSTD_CCtx* context, int level) {
  const ZSTD_compressionParameters p = ForPages(level);
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

// REQUIRES: the contexts are there, and room for `sizes` at `at`.
bool UseDictionary(Workspace* w, const Parameters& p, int level, char* at) {
  const Sizes sizes = SizesOf(level, p.dictionary_bytes);
  const ZSTD_CDict* c = ZSTD_initStaticCDict(
      at, sizes.compress_dictionary, p.dictionary, p.dictionary_bytes,
      ZSTD_dlm_byRef, ZSTD_dct_auto, ForDictionary(level, p.dictionary_bytes));
  at += sizes.compress_dictionary;
  const ZSTD_DDict* d =
      ZSTD_initStaticDDict(at, sizes.decompress_dictionary, p.dictionary,
                           p.dictionary_bytes, ZSTD_dlm_byRef, ZSTD_dct_auto);
  return c != nullptr && d != nullptr &&
         ZSTD_isError(ZSTD_CCtx_refCDict(w->compress, c)) == 0 &&
         ZSTD_isError(ZSTD_DCtx_refDDict(w->decompress, d)) == 0;
}

int InitWith(void* workspace, size_t workspace_bytes, const Parameters* p) {
  int level = p->level;
  if (!LevelIsKnown(&level)) return EINVAL;
  const Sizes sizes = SizesOf(level, p->dictionary_bytes);
  if (workspace_bytes < sizes.Total()) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  char* at = static_cast<char*>(workspace) + sizeof(Workspace);
  w->compress = ZSTD_initStaticCCtx(at, sizes.compress);
  at += sizes.compress;
  w->decompress = ZSTD_initStaticDCtx(at, sizes.decompress);
  at += sizes.decompress;
  if (w->compress == nullptr || w->decompress == nullptr) return EINVAL;
  if (!Configure(w->compress, level)) return EINVAL;
  const size_t r = ZSTD_DCtx_setParameter(w->decompress, ZSTD_d_format,
                                          ZSTD_f_zstd1_magicless);
  if (ZSTD_isError(r) != 0) return EINVAL;
  if (p->dictionary_bytes == 0) return 0;
  return UseDictionary(w, *p, level, at) ? 0 : EINVAL;
}

int Init(void* workspace, size_t workspace_bytes, int level) {
  const Parameters p = {sizeof(p), level, nullptr, 0};
  return InitWith(workspace, workspace_bytes, &p);
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
    kMinLevel,
    kMaxLevel,
    kDefaultLevel,
    WorkspaceSizeWith,
    InitWith,
};
