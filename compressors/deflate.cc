// SPDX-License-Identifier: Apache-2.0
// Raw DEFLATE (RFC 1951) with libdeflate. The library takes its memory from a
// hook that is one for the process, and it only does so while it makes a
// compressor or decompressor. Ours hands out the workspace then, and passes
// everybody else in the process (who may use libdeflate, too) on to malloc.
#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <uzswap/compressor.h>

namespace {

constexpr int kMinLevel = 1;  // 0 would only copy
constexpr int kMaxLevel = 12;
constexpr int kDefaultLevel = 6;

struct alignas(64) Workspace {
  libdeflate_compressor* compress;
  libdeflate_decompressor* decompress;
};

// Where the library's next allocation comes from. Without room, it fails, and
// all that is left of it is the size that was wanted.
struct Room {
  char* at;
  size_t bytes;
  size_t wanted;
};

// Of this thread: nobody needs a lock, and a signal handler that does the same
// in between puts back what it found (WithRoom). Initial-exec, so that even the
// first access allocates nothing.
constinit thread_local Room* current
    __attribute__((tls_model("initial-exec"))) = nullptr;

void* Allocate(size_t bytes) {
  if (current == nullptr) return malloc(bytes);
  current->wanted = bytes;
  return bytes <= current->bytes ? current->at : nullptr;
}

void Free(void* p) {
  if (current == nullptr) free(p);
}

template <typename Make>
auto WithRoom(Room* room, Make make) {
  Room* const outer = current;
  current = room;
  libdeflate_set_memory_allocator(Allocate, Free);
  auto* made = make();
  current = outer;
  return made;
}

libdeflate_compressor* MakeCompressor(Room* room, int level) {
  return WithRoom(room, [level] { return libdeflate_alloc_compressor(level); });
}

libdeflate_decompressor* MakeDecompressor(Room* room) {
  return WithRoom(room, [] { return libdeflate_alloc_decompressor(); });
}

size_t Align(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

// What the library really asks for, from the library that is linked in.
size_t CompressorBytes(int level) {
  Room room = {};
  MakeCompressor(&room, level);
  return Align(room.wanted);
}

size_t DecompressorBytes() {
  Room room = {};
  MakeDecompressor(&room);
  return Align(room.wanted);
}

bool LevelIsKnown(int* level) {
  if (*level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL) *level = kDefaultLevel;
  return *level >= kMinLevel && *level <= kMaxLevel;
}

size_t WorkspaceSize(int level) {
  if (!LevelIsKnown(&level)) return 0;
  return sizeof(Workspace) + CompressorBytes(level) + DecompressorBytes();
}

int Init(void* workspace, size_t workspace_bytes, int level) {
  if (!LevelIsKnown(&level)) return EINVAL;
  if (workspace_bytes < WorkspaceSize(level)) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  char* at = static_cast<char*>(workspace) + sizeof(Workspace);
  Room room = {at, CompressorBytes(level), 0};
  w->compress = MakeCompressor(&room, level);
  room = {at + room.bytes, DecompressorBytes(), 0};
  w->decompress = MakeDecompressor(&room);
  return w->compress != nullptr && w->decompress != nullptr ? 0 : EINVAL;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  const size_t n = libdeflate_deflate_compress(
      w->compress, source, source_bytes, destination, destination_bytes);
  if (n == 0) return ENOSPC;
  *produced = n;
  return 0;
}

int Decompress(void* workspace, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  auto* w = static_cast<Workspace*>(workspace);
  size_t used = 0;
  // Without a place for the length it must be the one expected.
  const libdeflate_result r = libdeflate_deflate_decompress_ex(
      w->decompress, source, source_bytes, destination, destination_bytes,
      &used, nullptr);
  return r == LIBDEFLATE_SUCCESS && used == source_bytes ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(deflate) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "deflate",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    kMinLevel,
    kMaxLevel,
    kDefaultLevel,
};
