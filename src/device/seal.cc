// SPDX-License-Identifier: Apache-2.0
#include "device/seal.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "base/os.h"
#include "base/page.h"
#include "device/chacha20_poly1305.h"

// The engine has no vector registers and no allocator.
#define XXH_INLINE_ALL
#define XXH_VECTOR 0
#define XXH_NO_STREAM
#define XXH_NO_STDLIB
#include <xxhash.h>

namespace uzswap {
namespace {

int64_t Raw(const void* pointer) { return reinterpret_cast<int64_t>(pointer); }

void Wipe(void* memory, size_t bytes) {
  memset(memory, 0, bytes);
  __asm__ volatile("" : : "r"(memory) : "memory");
}

chacha20_poly1305::Nonce NonceOf(const Stamp& stamp) {
  chacha20_poly1305::Nonce nonce;
  memcpy(&nonce[0], &stamp.offset, sizeof(stamp.offset));
  memcpy(&nonce[4], &stamp.serial, sizeof(stamp.serial));
  return nonce;
}

// Offsets are far below 2^20, serial numbers below 2^44.
uint64_t Checksum(const Stamp& stamp, std::span<const std::byte> content) {
  return XXH3_64bits_withSeed(content.data(), content.size(),
                              stamp.serial << 20 | stamp.offset);
}

}  // namespace

size_t Sealer::bytes() const {
  return keys_ == nullptr ? 0 : PageCeil(sizeof(Keys));
}

Status Sealer::Init(Protection protection) {
  protection_ = protection;
  users_[0] = 1;
  if (!encrypts()) return kOk;
  const Result<void*> memory = os::Map(PageCeil(sizeof(Keys)));
  if (!memory.ok()) return memory.status();
  keys_ = static_cast<Keys*>(memory.value());
  GuardMemory();
  return MakeKey(0);
}

// A process that may not lock a page goes on without: the key can then reach
// the system's swap, as the pages that it protects can.
void Sealer::GuardMemory() {
  (void)os::Syscall(SYS_mlock, Raw(keys_), PageCeil(sizeof(Keys)));
  (void)os::Syscall(SYS_madvise, Raw(keys_), PageCeil(sizeof(Keys)),
                    MADV_DONTDUMP);
}

void Sealer::Release() {
  if (keys_ == nullptr) return;
  Wipe(keys_, sizeof(*keys_));
  CHECK(os::Unmap(keys_, PageCeil(sizeof(Keys))).ok());
  keys_ = nullptr;
}

Status Sealer::MakeKey(uint8_t key) {
  for (;;) {
    const int64_t r =
        os::Syscall(SYS_getrandom, Raw(keys_->key[key]), kKeyBytes, 0);
    if (r == kKeyBytes) return kOk;
    if (r == -EINTR) continue;
    return r < 0 ? Status::FromReturn(r) : Status::Error(EIO);
  }
}

uint8_t Sealer::HoldCurrent() {
  ++users_[current_];
  return current_;
}

void Sealer::Drop(uint8_t key) {
  CHECK(users_[key] > 0);
  if (--users_[key] == 0 && keys_ != nullptr) Wipe(keys_->key[key], kKeyBytes);
}

Status Sealer::ChildAfterFork() {
  if (!encrypts()) return kOk;
  GuardMemory();  // a lock is not inherited
  uint8_t free = 0;
  while (free < kKeys && users_[free] != 0) ++free;
  if (free == kKeys) return Status::Error(ENOSPC);
  UZSWAP_RETURN_IF_ERROR(MakeKey(free));
  const uint8_t old = current_;
  users_[free] = 1;
  current_ = free;
  Drop(old);
  return kOk;
}

void Sealer::Seal(const Stamp& stamp, std::span<const std::byte> content,
                  std::byte* to) const {
  if (encrypts()) {
    const chacha20_poly1305::Message message{
        chacha20_poly1305::Key(keys_->key[stamp.key]), NonceOf(stamp)};
    const chacha20_poly1305::Tag tag =
        chacha20_poly1305::Encrypt(message, content, to);
    memcpy(to + content.size(), tag.data(), tag.size());
  } else {
    const uint64_t tag = Checksum(stamp, content);
    if (to != content.data()) memcpy(to, content.data(), content.size());
    memcpy(to + content.size(), &tag, sizeof(tag));
  }
}

bool Sealer::Open(const Stamp& stamp, std::span<std::byte> content,
                  const std::byte* tag) const {
  if (encrypts()) {
    const chacha20_poly1305::Message message{
        chacha20_poly1305::Key(keys_->key[stamp.key]), NonceOf(stamp)};
    chacha20_poly1305::Tag expected;
    memcpy(expected.data(), tag, expected.size());
    return chacha20_poly1305::Decrypt(message, content, expected);
  }
  uint64_t expected;
  memcpy(&expected, tag, sizeof(expected));
  return Checksum(stamp, content) == expected;
}

}  // namespace uzswap
