// SPDX-License-Identifier: Apache-2.0
// LZ4: the fastest to bring a page back, hence the default. The level is the
// acceleration: 1 compresses best, each step more gives a little speed.
#define LZ4_STATIC_LINKING_ONLY  // fastReset, LZ4_attach_dictionary
#include "lz4_common.h"

namespace {

struct Fast {
  using Stream = LZ4_stream_t;
  static constexpr int kDefaultLevel = 1;
  static constexpr int kMaxLevel = 65537;  // larger ones mean this one to LZ4

  static void InitStream(Stream* stream) {
    LZ4_initStream(stream, sizeof(*stream));
  }
  static void LoadDictionary(Stream* stream, const char* dictionary, int bytes,
                             int /*level*/) {
    LZ4_loadDict(stream, dictionary, bytes);
  }
  static int Compress(Stream* stream, const char* from, char* to, int bytes,
                      int room, int level) {
    return LZ4_compress_fast_extState_fastReset(stream, from, to, bytes, room,
                                                level);
  }
  static int CompressWith(Stream* stream, const Stream* dictionary,
                          const char* from, char* to, int bytes, int room,
                          int level) {
    LZ4_resetStream_fast(stream);
    LZ4_attach_dictionary(stream, dictionary);
    return LZ4_compress_fast_continue(stream, from, to, bytes, room, level);
  }
};

}  // namespace

UZSWAP_COMPRESSOR(lz4) = Lz4<Fast>::Table("lz4");
