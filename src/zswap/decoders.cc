// SPDX-License-Identifier: Apache-2.0
#include "zswap/decoders.h"

#include <cstring>

#include "base/os.h"

namespace uzswap {

constinit LockClass Decoders::lock_class_{"decoder"};

Result<DecoderIndex> Decoders::Acquire(const uzswap_compressor& plugin,
                                       int level) {
  unsigned free = kMax;
  for (unsigned i = 0; i < kMax; ++i) {
    if (TryShare(decoders_[i], plugin, level)) {
      return static_cast<DecoderIndex>(i);
    }
    if (free == kMax && decoders_[i].references.load() == 0) free = i;
  }
  if (free == kMax) return Status::Error(ENOSPC);
  Decoder& decoder = decoders_[free];
  const size_t bytes = kPageSize + PageCeil(plugin.workspace_size(level));
  const Result<void*> memory = os::Map(bytes);
  if (!memory.ok()) return memory.status();
  decoder.plugin = &plugin;
  decoder.level = level;
  decoder.memory = static_cast<std::byte*>(memory.value());
  decoder.memory_bytes = bytes;
  decoder.ready = false;
  decoder.references.store(1, std::memory_order_release);
  return static_cast<DecoderIndex>(free);
}

// A reference to it, if it is of this kind and somebody has one.
bool Decoders::TryShare(Decoder& decoder, const uzswap_compressor& plugin,
                        int level) {
  uint32_t references = decoder.references.load(std::memory_order_acquire);
  do {
    if (references == 0 || references == kEnding) return false;
    if (decoder.plugin != &plugin || decoder.level != level) return false;
  } while (
      !decoder.references.compare_exchange_weak(references, references + 1));
  return true;
}

void Decoders::Hold(DecoderIndex index) {
  const uint32_t before = decoders_[index].references.fetch_add(1);
  DCHECK(before != 0 && before < kEnding);
}

void Decoders::Drop(DecoderIndex index) {
  Decoder& decoder = decoders_[index];
  uint32_t references = decoder.references.load();
  do {
    CHECK(references != 0 && references != kEnding);
  } while (!decoder.references.compare_exchange_weak(
      references, references == 1 ? kEnding : references - 1));
  if (references != 1) return;
  // Nobody else knows it until it is free.
  if (decoder.ready) bytes_.fetch_sub(decoder.memory_bytes);
  CHECK(os::Unmap(decoder.memory, decoder.memory_bytes).ok());
  decoder.memory = nullptr;
  decoder.references.store(0, std::memory_order_release);
}

Status Decoders::Decode(DecoderIndex index, MutablePage page, size_t bytes) {
  Decoder& decoder = decoders_[index];
  DCHECK(bytes < kPageSize);
  ScopedLock lock(decoder.mutex);
  std::byte* const source = decoder.memory;
  std::byte* const workspace = decoder.memory + kPageSize;
  if (!decoder.ready) {
    const int error = decoder.plugin->init(
        workspace, decoder.plugin->workspace_size(decoder.level),
        decoder.level);
    if (error != 0) return Status::Error(EIO);
    decoder.ready = true;
    bytes_.fetch_add(decoder.memory_bytes);
  }
  memcpy(source, page.data(), bytes);
  const int error = decoder.plugin->decompress(workspace, source, bytes,
                                               page.data(), kPageSize);
  return error == 0 ? kOk : Status::Error(EIO);
}

void Decoders::ResetLocksInChild() {
  for (Decoder& decoder : decoders_) decoder.mutex.ResetInChild();
}

}  // namespace uzswap
