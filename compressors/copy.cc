// SPDX-License-Identifier: Apache-2.0
// The example to start a compressor from, and the codec for tests: it copies
// bytes, shortens runs of equal ones, and checks everything it reads back. Use
// lz4 or zstd for real work.
//
// Format: Header, then packets. A packet is one byte c and
//   c < 128: c + 1 bytes to copy;  c >= 128: one byte, repeated c - 124 times.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <uzswap/compressor.h>

// The name under which the same file is built as a stand-alone plug-in.
#ifndef UZSWAP_COPY_NAME
#define UZSWAP_COPY_NAME "copy"
#endif

namespace {

constexpr uint16_t kMagic = 0x7a75;
constexpr size_t kMaxCopy = 128;
constexpr size_t kMinRun = 4;  // a shorter run costs no less than copying it
constexpr size_t kMaxRun = 255 - 124;

struct Header {
  uint16_t magic;
  uint16_t bytes;  // of the content
  uint32_t check;  // of the content
};

// FNV-1a. Finds accidents; it does not stop a forger.
uint32_t Check(const uint8_t* data, size_t bytes) {
  uint32_t hash = 2166136261u;
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 16777619u;
  return hash;
}

size_t RunLength(const uint8_t* data, size_t bytes) {
  size_t n = 1;
  while (n < bytes && n < kMaxRun && data[n] == data[0]) ++n;
  return n;
}

// Bytes before the next run that is worth a packet of its own.
size_t CopyLength(const uint8_t* data, size_t bytes) {
  size_t n = 0;
  while (n < bytes && n < kMaxCopy &&
         RunLength(data + n, bytes - n) < kMinRun) {
    ++n;
  }
  return n;
}

size_t WorkspaceSize(int /*level*/) { return 0; }

int Init(void* /*workspace*/, size_t /*workspace_bytes*/, int level) {
  return level == UZSWAP_COMPRESSOR_DEFAULT_LEVEL || level == 1 ? 0 : EINVAL;
}

int Compress(void* /*workspace*/, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  if (destination_bytes < sizeof(Header)) return ENOSPC;
  const auto* in = static_cast<const uint8_t*>(source);
  auto* out = static_cast<uint8_t*>(destination);
  const Header header = {kMagic, static_cast<uint16_t>(source_bytes),
                         Check(in, source_bytes)};
  memcpy(out, &header, sizeof(header));
  size_t at = sizeof(header);
  for (size_t i = 0; i < source_bytes;) {
    const size_t run = RunLength(in + i, source_bytes - i);
    const bool copy = run < kMinRun;
    const size_t n = copy ? CopyLength(in + i, source_bytes - i) : run;
    const size_t body = copy ? n : 1;
    if (destination_bytes - at < 1 + body) return ENOSPC;
    out[at++] = static_cast<uint8_t>(copy ? n - 1 : n + 124);
    memcpy(out + at, in + i, body);
    at += body;
    i += n;
  }
  *produced = at;
  return 0;
}

int Decompress(void* /*workspace*/, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  const auto* in = static_cast<const uint8_t*>(source);
  auto* out = static_cast<uint8_t*>(destination);
  Header header;
  if (source_bytes < sizeof(header)) return EIO;
  memcpy(&header, in, sizeof(header));
  if (header.magic != kMagic || header.bytes != destination_bytes) return EIO;
  size_t at = 0;
  for (size_t i = sizeof(header); i < source_bytes;) {
    const uint8_t c = in[i++];
    const bool copy = c < kMaxCopy;
    const size_t n = copy ? c + 1u : c - 124u;
    const size_t body = copy ? n : 1;
    if (source_bytes - i < body || destination_bytes - at < n) return EIO;
    if (copy) {
      memcpy(out + at, in + i, n);
    } else {
      memset(out + at, in[i], n);
    }
    i += body;
    at += n;
  }
  if (at != destination_bytes) return EIO;
  return Check(out, at) == header.check ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(copy) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    UZSWAP_COPY_NAME,
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    1,
    1,
};
