// SPDX-License-Identifier: Apache-2.0
#include "zswap/pool.h"

#include <cstring>

namespace uzswap {

namespace {

bool SameText(const char* a, const char* b) {
  const size_t bytes = strlen(a) + 1;
  return strlen(b) + 1 == bytes && memcmp(a, b, bytes) == 0;
}

}  // namespace

bool operator==(const PoolKind& a, const PoolKind& b) {
  return a.compressor == b.compressor && a.level == b.level &&
         SameText(a.zpool, b.zpool);
}

Status Pool::Create(const PoolKind& kind) {
  const Result<Zpool*> created = CreateZpool(kind.zpool);
  if (!created.ok()) return created.status();
  const Result<Compressor*> compressor = Compressor::Create(
      *kind.compressor, {.level = kind.level, .buffers = kMaxBatch});
  if (!compressor.ok()) {
    created.value()->Destroy();
    return compressor.status();
  }
  zpool_ = created.value();
  compressor_ = compressor.value();
  kind_ = {kind.compressor, kind.level, zpool_->name()};
  return kOk;
}

void Pool::Destroy() {
  if (zpool_ != nullptr) zpool_->Destroy();
  if (compressor_ != nullptr) compressor_->Destroy();
  zpool_ = nullptr;
  compressor_ = nullptr;
}

Pool::Stored Pool::Store(ConstPage page) {
  Stored stored{};
  {
    AcompContext& context = compressor_->Lock();
    const Result<ByteCount> length = compressor_->Compress(context, page);
    stored.compress_error = length.error();
    if (length.ok()) Keep({context.buffers[0], length.value()}, stored);
    compressor_->Unlock(context);
  }
  // Kept all the same: it keeps its turn in the LRU and is not tried again.
  if (stored.compress_error != 0) Keep(page, stored);
  return stored;
}

void Pool::Keep(std::span<const std::byte> bytes, Stored& stored) {
  const Result<Handle> handle = zpool_->Allocate(bytes.size());
  stored.allocate_error = handle.error();
  if (!handle.ok()) return;
  zpool_->Write(handle.value(), bytes);
  stored.handle = handle.value();
  stored.length = bytes.size();
}

Status Pool::Load(Handle handle, ByteCount length, MutablePage page) {
  CHECK(length >= 1 && length <= kPageSize);
  if (length == kPageSize) {
    LoadRaw(handle, page);
    return kOk;
  }
  AcompContext& context = compressor_->Lock();
  const std::span<const std::byte> bytes = zpool_->ReadBegin(
      handle, length, MutablePage(context.buffers[0], kPageSize));
  const Status s = compressor_->Decompress(context, bytes, page);
  zpool_->ReadEnd(handle);
  compressor_->Unlock(context);
  return s;
}

void Pool::LoadRaw(Handle handle, MutablePage page) {
  const std::span<const std::byte> bytes =
      zpool_->ReadBegin(handle, kPageSize, page);
  if (bytes.data() != page.data()) {
    memcpy(page.data(), bytes.data(), kPageSize);
  }
  zpool_->ReadEnd(handle);
}

void Pool::LockAll() {
  compressor_->LockAll();
  zpool_->LockAll();
}

void Pool::UnlockAll() {
  zpool_->UnlockAll();
  compressor_->UnlockAll();
}

void Pool::ResetLocksInChild() {
  zpool_->ResetLocksInChild();
  compressor_->ResetLocksInChild();
}

}  // namespace uzswap
