// SPDX-License-Identifier: Apache-2.0
// LZ4: the fastest to bring a page back, hence the default. The level is the
// acceleration: 1 compresses best, each step more gives a little speed. A
// dictionary is hashed once into a stream of the workspace; each page refers to
// that stream, which costs nothing.
#define LZ4_STATIC_LINKING_ONLY  // fastReset, LZ4_attach_dictionary
#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <uzswap/compressor.h>

namespace {

constexpr int kDefaultAcceleration = 1;
constexpr int kMaxAcceleration = 65537;      // larger ones mean this one to LZ4
constexpr size_t kMaxDictionary = 64 << 10;  // LZ4 reaches no farther back

// dictionary_stream is only there if there is a dictionary.
struct Workspace {
  LZ4_stream_t stream;     // always "correctly initialized" in the sense of
                           // lz4.h
  const char* dictionary;  // the last kMaxDictionary bytes of it
  int dictionary_bytes;    // 0: none
  int acceleration;
  LZ4_stream_t dictionary_stream;
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
  const int level = p->level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL
                        ? kDefaultAcceleration
                        : p->level;
  if (level < 1 || level > kMaxAcceleration) return EINVAL;
  if (workspace_bytes < WorkspaceSizeWith(p)) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  if (LZ4_initStream(&w->stream, sizeof(w->stream)) == nullptr) return EINVAL;
  w->acceleration = level;
  w->dictionary_bytes = 0;
  if (p->dictionary_bytes == 0) return 0;
  const size_t used = p->dictionary_bytes < kMaxDictionary ? p->dictionary_bytes
                                                           : kMaxDictionary;
  w->dictionary =
      static_cast<const char*>(p->dictionary) + p->dictionary_bytes - used;
  w->dictionary_bytes = static_cast<int>(used);
  LZ4_initStream(&w->dictionary_stream, sizeof(w->dictionary_stream));
  LZ4_loadDict(&w->dictionary_stream, w->dictionary, w->dictionary_bytes);
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
    n = LZ4_compress_fast_extState_fastReset(
        &w->stream, from, to, static_cast<int>(source_bytes),
        static_cast<int>(room), w->acceleration);
  } else {
    LZ4_resetStream_fast(&w->stream);
    LZ4_attach_dictionary(&w->stream, &w->dictionary_stream);
    n = LZ4_compress_fast_continue(&w->stream, from, to,
                                   static_cast<int>(source_bytes),
                                   static_cast<int>(room), w->acceleration);
  }
  if (n <= 0) {
    // A failed compression leaves a stream that must not be reused as it is.
    LZ4_initStream(&w->stream, sizeof(w->stream));
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
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(destination);
  const int size = static_cast<int>(source_bytes);
  const int room = static_cast<int>(destination_bytes);
  const int n =
      w->dictionary_bytes == 0
          ? LZ4_decompress_safe(from, to, size, room)
          : LZ4_decompress_safe_usingDict(from, to, size, room, w->dictionary,
                                          w->dictionary_bytes);
  return n == room ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(lz4) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "lz4",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    kMaxAcceleration,
    kDefaultAcceleration,
    WorkspaceSizeWith,
    InitWith,
};
