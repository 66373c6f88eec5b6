// SPDX-License-Identifier: Apache-2.0
// LZ4: the fastest to bring a page back, hence the default. The level is the
// acceleration: 1 compresses best, each step more gives a little speed.
#define LZ4_STATIC_LINKING_ONLY  // LZ4_compress_fast_extState_fastReset
#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <uzswap/compressor.h>

namespace {

constexpr int kDefaultAcceleration = 1;
constexpr int kMaxAcceleration = 65537;  // larger ones mean this one to LZ4

struct Workspace {
  LZ4_stream_t stream;  // always "correctly initialized" in the sense of lz4.h
  int acceleration;
};

size_t WorkspaceSize(int /*level*/) { return sizeof(Workspace); }

int Init(void* workspace, size_t workspace_bytes, int level) {
  if (level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) level = kDefaultAcceleration;
  if (level < 1 || level > kMaxAcceleration) return EINVAL;
  if (workspace_bytes < sizeof(Workspace)) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  if (LZ4_initStream(&w->stream, sizeof(w->stream)) == nullptr) return EINVAL;
  w->acceleration = level;
  return 0;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  // More room than the worst case is never used, and must fit an int.
  constexpr size_t kBound = LZ4_COMPRESSBOUND(UZSWAP_COMPRESSOR_MAX_BYTES);
  const size_t room = destination_bytes < kBound ? destination_bytes : kBound;
  auto* w = static_cast<Workspace*>(workspace);
  const int n = LZ4_compress_fast_extState_fastReset(
      &w->stream, static_cast<const char*>(source),
      static_cast<char*>(destination), static_cast<int>(source_bytes),
      static_cast<int>(room), w->acceleration);
  if (n <= 0) {
    // A failed compression leaves a stream that must not be reused as it is.
    LZ4_initStream(&w->stream, sizeof(w->stream));
    return ENOSPC;
  }
  *produced = static_cast<size_t>(n);
  return 0;
}

int Decompress(void* /*workspace*/, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  if (source_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
  if (destination_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
  const int n = LZ4_decompress_safe(
      static_cast<const char*>(source), static_cast<char*>(destination),
      static_cast<int>(source_bytes), static_cast<int>(destination_bytes));
  return n == static_cast<int>(destination_bytes) ? 0 : EIO;
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
};
