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

template <typename F>
void Pool::CompressGroup(std::span<const std::byte* const> pages,
                         Stored* stored, F keep) {
  AcompContext& context = compressor_->Lock();
  Batch batch(AcompOp::kCompress, {&compressor_->plugin(), context.workspace});
  for (unsigned i = 0; i < pages.size(); ++i) {
    batch.Add(ConstPage(pages[i], kPageSize), {context.buffers[i], kPageSize});
  }
  acomp_.Run(batch);
  for (unsigned i = 0; i < pages.size(); ++i) {
    stored[i] = {};
    stored[i].compress_error = batch.error(i);
    if (batch.error(i) == 0) keep(i, batch.result(i));
  }
  compressor_->Unlock(context);
}

void Pool::StoreGroup(std::span<const std::byte* const> pages, Stored* stored) {
  CompressGroup(pages, stored,
                [&](unsigned i, std::span<const std::byte> bytes) {
                  Keep(bytes, stored[i]);
                });
  // Kept all the same: it keeps its turn in the LRU and is not tried again.
  for (unsigned i = 0; i < pages.size(); ++i) {
    if (stored[i].compress_error != 0) Keep({pages[i], kPageSize}, stored[i]);
  }
}

void Pool::StoreSmaller(std::span<const std::byte* const> pages,
                        const ByteCount* before, Stored* stored) {
  CompressGroup(pages, stored,
                [&](unsigned i, std::span<const std::byte> bytes) {
                  if (Pays(before[i], bytes.size())) {
                    Keep(bytes, stored[i]);
                  } else {
                    stored[i].allocate_error = ENOSPC;
                  }
                });
  for (unsigned i = 0; i < pages.size(); ++i) {
    if (stored[i].compress_error != 0) stored[i].allocate_error = ENOSPC;
  }
}

// A smaller size class (as zram demands), and by an eighth at least: what is
// gained less is paid for by each load, which takes longer.
bool Pool::Pays(ByteCount before, ByteCount after) const {
  const ByteCount old_size = zpool_->Footprint(before);
  return zpool_->Footprint(after) + old_size / 8 <= old_size;
}

void Pool::Keep(std::span<const std::byte> bytes, Stored& stored) {
  const Result<Handle> handle = zpool_->Store(bytes);
  stored.allocate_error = handle.error();
  if (!handle.ok()) return;
  stored.handle = handle.value();
  stored.length = bytes.size();
}

Status Pool::Load(Handle handle, ByteCount length, MutablePage page) {
  Wanted wanted{handle, length, page.data(), kOk};
  LoadGroup({&wanted, 1});
  return wanted.status;
}

void Pool::LoadGroup(std::span<Wanted> group) {
  CHECK(group.size() <= kMaxBatch);
  Wanted* compressed[kMaxBatch];
  unsigned count = 0;
  for (Wanted& wanted : group) {
    CHECK(wanted.length >= 1 && wanted.length <= kPageSize);
    if (wanted.length < kPageSize) {
      compressed[count++] = &wanted;
    } else {
      Copy(wanted.handle, kPageSize, MutablePage(wanted.page, kPageSize));
      wanted.status = kOk;
    }
  }
  if (count == 0) return;
  AcompContext& context = compressor_->Lock();
  Batch batch(AcompOp::kDecompress,
              {&compressor_->plugin(), context.workspace});
  for (unsigned i = 0; i < count; ++i) {
    const Wanted& wanted = *compressed[i];
    batch.Add(zpool_->ReadBegin(wanted.handle, wanted.length,
                                MutablePage(context.buffers[i], kPageSize)),
              MutablePage(wanted.page, kPageSize));
  }
  acomp_.Run(batch);
  for (unsigned i = 0; i < count; ++i) {
    zpool_->ReadEnd(compressed[i]->handle);
    compressed[i]->status = Status::Error(batch.error(i));
  }
  compressor_->Unlock(context);
}

void Pool::Copy(Handle handle, ByteCount length, MutablePage page) {
  const std::span<const std::byte> bytes =
      zpool_->ReadBegin(handle, length, page);
  if (bytes.data() != page.data()) memcpy(page.data(), bytes.data(), length);
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
