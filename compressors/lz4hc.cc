// SPDX-License-Identifier: Apache-2.0
// LZ4 with a thorough search: slow to write, as fast to read as lz4, whose
// format it is. A dictionary is hashed once into a stream of the workspace;
// each page refers to that stream, which costs nothing. Levels 10 to 12 are not
// offered: for them liblz4 calls malloc for each page.
#define LZ4_HC_STATIC_LINKING_ONLY  // LZ4_attach_HC_dictionary, fastReset
#include <errno.h>
#include <lz4.h>
#include <lz4hc.h>
#include <string.h>
#include <uzswap/compressor.h>

namespace {

constexpr int kMaxLevel = 9;
constexpr int kDefaultLevel = LZ4HC_CLEVEL_DEFAULT;
constexpr size_t kMaxDictionary = 64 << 10;  // LZ4 reaches no farther back

// dictionary_stream is only there if there is a dictionary.
struct Workspace {
  LZ4_streamHC_t stream;
  const char* dictionary;  // the last kMaxDictionary bytes of it
  int dictionary_bytes;    // 0: none
  int level;
  LZ4_streamHC_t dictionary_stream;
};

size_t WorkspaceSizeWith(const uzswap_compressor_parameters* p) {
  return p->dictionary_bytes == 0 ? offsetof(Workspace, dictionary_stream)
                                  : sizeof(Workspace);
}

size_t WorkspaceSize(int /*level*/) {
  return offsetof(Workspace, dictionary_stream);
}

int InitWith(void* workspace, size_t workspace_bytes,
             const uzswap_compressor_parameters* p) {
  const int level =
      p->level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL ? kDefaultLevel : p->level;
  if (level < 1 || level > kMaxLevel) return EINVAL;
  if (workspace_bytes < WorkspaceSizeWith(p)) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  LZ4_initStreamHC(&w->stream, sizeof(w->stream));
  w->level = level;
  w->dictionary_bytes = 0;
  if (p->dictionary_bytes == 0) return 0;
  const size_t used = p->dictionary_bytes < kMaxDictionary ? p->dictionary_bytes
                                                           : kMaxDictionary;
  w->dictionary =
      static_cast<const char*>(p->dictionary) + p->dictionary_bytes - used;
  w->dictionary_bytes = static_cast<int>(used);
  LZ4_initStreamHC(&w->dictionary_stream, sizeof(w->dictionary_stream));
  LZ4_resetStreamHC_fast(&w->dictionary_stream, level);
  LZ4_loadDictHC(&w->dictionary_stream, w->dictionary, w->dictionary_bytes);
  return 0;
}

int Init(void* workspace, size_t workspace_bytes, int level) {
  const uzswap_compressor_parameters p = {sizeof(p), level, nullptr, 0};
  return InitWith(workspace, workspace_bytes, &p);
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  // More room than the worst case is never used, and must fit an int.
  constexpr size_t kBound = LZ4_COMPRESSBOUND(UZSWAP_COMPRESSOR_MAX_BYTES);
  const size_t room = destination_bytes < kBound ? destination_bytes : kBound;
  auto* w = static_cast<Workspace*>(workspace);
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(destination);
  int n;
  if (w->dictionary_bytes == 0) {
    n = LZ4_compress_HC_extStateHC_fastReset(&w->stream, from, to,
                                             static_cast<int>(source_bytes),
                                             static_cast<int>(room), w->level);
  } else {
    LZ4_resetStreamHC_fast(&w->stream, w->level);
    LZ4_attach_HC_dictionary(&w->stream, &w->dictionary_stream);
    n = LZ4_compress_HC_continue(&w->stream, from, to,
                                 static_cast<int>(source_bytes),
                                 static_cast<int>(room));
  }
  if (n <= 0) {
    // A failed compression leaves a stream that must not be reused as it is.
    LZ4_initStreamHC(&w->stream, sizeof(w->stream));
    return ENOSPC;
  }
  *produced = static_cast<size_t>(n);
  return 0;
}

int Decompress(void* workspace, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  if (source_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
  if (destination_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
  const auto* w = static_cast<const Workspace*>(workspace);
  const int n = LZ4_decompress_safe_usingDict(
      static_cast<const char*>(source), static_cast<char*>(destination),
      static_cast<int>(source_bytes), static_cast<int>(destination_bytes),
      w->dictionary, w->dictionary_bytes);
  return n == static_cast<int>(destination_bytes) ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(lz4hc) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "lz4hc",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    kMaxLevel,
    kDefaultLevel,
    WorkspaceSizeWith,
    InitWith,
};
