// SPDX-License-Identifier: Apache-2.0
// What lz4 and lz4hc have in common: the workspace, the dictionary, the room,
// and the whole way back, for both write one format. A dictionary is hashed
// once into a stream of the workspace; each page refers to that stream, which
// costs nothing.
#ifndef UZSWAP_COMPRESSORS_LZ4_COMMON_H_
#define UZSWAP_COMPRESSORS_LZ4_COMMON_H_

#include <errno.h>
#include <lz4.h>
#include <stddef.h>
#include <uzswap/compressor.h>

namespace {

// The way in of one of the two:
//   Stream, kMaxLevel, kDefaultLevel
//   InitStream(Stream*)                       afterwards any memory is a stream
//   LoadDictionary(Stream*, dictionary, bytes, level)
//   Compress(Stream*, from, to, bytes, room, level)
//   CompressWith(Stream*, dictionary Stream*, from, to, bytes, room, level)
// The last two return how many bytes there are, or nothing positive.
template <typename Way>
struct Lz4 {
  static constexpr size_t kMaxDictionary = 64 << 10;  // LZ4 reaches no farther

  // dictionary_stream is only there if there is a dictionary.
  struct Workspace {
    typename Way::Stream stream;  // always one that Way may go on with
    const char* dictionary;       // the last kMaxDictionary bytes of it
    int dictionary_bytes;         // 0: none
    int level;
    typename Way::Stream dictionary_stream;
  };

  static size_t WorkspaceSizeWith(const uzswap_compressor_parameters* p) {
    return p->dictionary_bytes == 0 ? offsetof(Workspace, dictionary_stream)
                                    : sizeof(Workspace);
  }

  static size_t WorkspaceSize(int /*level*/) {
    return offsetof(Workspace, dictionary_stream);
  }

  static int InitWith(void* workspace, size_t workspace_bytes,
                      const uzswap_compressor_parameters* p) {
    const int level = p->level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL
                          ? Way::kDefaultLevel
                          : p->level;
    if (level < 1 || level > Way::kMaxLevel) return EINVAL;
    if (workspace_bytes < WorkspaceSizeWith(p)) return EINVAL;
    auto* w = static_cast<Workspace*>(workspace);
    Way::InitStream(&w->stream);
    w->level = level;
    w->dictionary = nullptr;
    w->dictionary_bytes = 0;
    if (p->dictionary_bytes == 0) return 0;
    const size_t used = p->dictionary_bytes < kMaxDictionary
                            ? p->dictionary_bytes
                            : kMaxDictionary;
    w->dictionary =
        static_cast<const char*>(p->dictionary) + p->dictionary_bytes - used;
    w->dictionary_bytes = static_cast<int>(used);
    Way::InitStream(&w->dictionary_stream);
    Way::LoadDictionary(&w->dictionary_stream, w->dictionary,
                        w->dictionary_bytes, level);
    return 0;
  }

  static int Init(void* workspace, size_t workspace_bytes, int level) {
    const uzswap_compressor_parameters p = {sizeof(p), level, nullptr, 0};
    return InitWith(workspace, workspace_bytes, &p);
  }

  static int Compress(void* workspace, const void* source, size_t source_bytes,
                      void* destination, size_t destination_bytes,
                      size_t* produced) {
    if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
    // More room than the worst case is never used, and must fit an int.
    constexpr size_t kBound = LZ4_COMPRESSBOUND(UZSWAP_COMPRESSOR_MAX_BYTES);
    const int room = static_cast<int>(
        destination_bytes < kBound ? destination_bytes : kBound);
    auto* w = static_cast<Workspace*>(workspace);
    const auto* from = static_cast<const char*>(source);
    auto* to = static_cast<char*>(destination);
    const int bytes = static_cast<int>(source_bytes);
    const int n =
        w->dictionary_bytes == 0
            ? Way::Compress(&w->stream, from, to, bytes, room, w->level)
            : Way::CompressWith(&w->stream, &w->dictionary_stream, from, to,
                                bytes, room, w->level);
    if (n <= 0) {
      // A failed compression leaves a stream that must not be used as it is.
      Way::InitStream(&w->stream);
      return ENOSPC;
    }
    *produced = static_cast<size_t>(n);
    return 0;
  }

  static int Decompress(void* workspace, const void* source,
                        size_t source_bytes, void* destination,
                        size_t destination_bytes) {
    if (source_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
    if (destination_bytes > LZ4_MAX_INPUT_SIZE) return EIO;
    const auto* w = static_cast<const Workspace*>(workspace);
    const int n = LZ4_decompress_safe_usingDict(
        static_cast<const char*>(source), static_cast<char*>(destination),
        static_cast<int>(source_bytes), static_cast<int>(destination_bytes),
        w->dictionary, w->dictionary_bytes);
    return n == static_cast<int>(destination_bytes) ? 0 : EIO;
  }

  static constexpr uzswap_compressor Table(const char* name) {
    return {sizeof(uzswap_compressor),
            UZSWAP_COMPRESSOR_API_VERSION,
            name,
            WorkspaceSize,
            Init,
            Compress,
            Decompress,
            1,
            Way::kMaxLevel,
            Way::kDefaultLevel,
            WorkspaceSizeWith,
            InitWith};
  }
};

}  // namespace

#endif  // UZSWAP_COMPRESSORS_LZ4_COMMON_H_
