// SPDX-License-Identifier: Apache-2.0
// LZ4 with a thorough search: slow to write, as fast to read as lz4, whose
// format it is. Levels 10 to 12 are not offered: for them liblz4 calls malloc
// for each page.
#define LZ4_HC_STATIC_LINKING_ONLY  // LZ4_attach_HC_dictionary, fastReset
#include <lz4hc.h>

#include "lz4_common.h"

namespace {

struct Thorough {
  using Stream = LZ4_streamHC_t;
  static constexpr int kDefaultLevel = LZ4HC_CLEVEL_DEFAULT;
  static constexpr int kMaxLevel = 9;

  static void InitStream(Stream* stream) {
    LZ4_initStreamHC(stream, sizeof(*stream));
  }
  static void LoadDictionary(Stream* stream, const char* dictionary, int bytes,
                             int level) {
    LZ4_resetStreamHC_fast(stream, level);
    LZ4_loadDictHC(stream, dictionary, bytes);
  }
  static int Compress(Stream* stream, const char* from, char* to, int bytes,
                      int room, int level) {
    return LZ4_compress_HC_extStateHC_fastReset(stream, from, to, bytes, room,
                                                level);
  }
  static int CompressWith(Stream* stream, const Stream* dictionary,
                          const char* from, char* to, int bytes, int room,
                          int level) {
    LZ4_resetStreamHC_fast(stream, level);
    LZ4_attach_HC_dictionary(stream, dictionary);
    return LZ4_compress_HC_continue(stream, from, to, bytes, room);
  }
};

}  // namespace

UZSWAP_COMPRESSOR(lz4hc) = Lz4<Thorough>::Table("lz4hc");
