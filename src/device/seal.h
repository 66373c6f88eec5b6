// SPDX-License-Identifier: Apache-2.0
// What an object looks like outside: its bytes, encrypted or not, and a tag
// behind them by which Open knows that they are the ones that were sealed.
//
// No nonce is used twice with a key: a nonce is the serial number of a segment
// and an offset in it; serial numbers only rise; each process has a key of its
// own to seal with, made after the fork, and keeps those of its ancestors for
// opening what they sealed. Keys lie in one page of their own, which is locked
// where the process may lock memory, is in no core dump, and is wiped at the
// end. Without encryption the tag is XXH3 with the same stamp as its seed, so
// that bytes of another time or place do not fit either.
#ifndef UZSWAP_DEVICE_SEAL_H_
#define UZSWAP_DEVICE_SEAL_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "device/device.h"

namespace uzswap {

// Where and when an object was sealed.
struct Stamp {
  uint64_t serial;  // of the segment
  uint32_t offset;  // in it
  uint8_t key;
};

// Invariant: users_[k] = segments with key k, and one more for the current key;
// a key without users is all zeros. Not locked: the log does that; Seal and
// Open may run at any time for a key that is held.
class Sealer {
 public:
  static constexpr size_t kMaxTagBytes = 16;
  static constexpr unsigned kKeys = 64;

  // EINVAL or what getrandom and mmap said.
  Status Init(Protection protection);
  // Wipes the keys. Safe to repeat.
  void Release();

  size_t tag_bytes() const {
    return protection_ == Protection::kEncrypted ? kMaxTagBytes
                                                 : kChecksumBytes;
  }
  bool encrypts() const { return protection_ == Protection::kEncrypted; }

  // The key to seal with, held once more.
  uint8_t HoldCurrent();
  void Drop(uint8_t key);
  // A fresh key for this process to seal with. ENOSPC: objects of 63 ancestors
  // are still there. On error nothing may be sealed any more.
  Status ChildAfterFork();

  // Writes content.size() + tag_bytes() bytes; `to` may be where the content
  // is.
  void Seal(const Stamp& stamp, std::span<const std::byte> content,
            std::byte* to) const;
  // In place. False: these are other bytes.
  [[nodiscard]] bool Open(const Stamp& stamp, std::span<std::byte> content,
                          const std::byte* tag) const;

  unsigned users(uint8_t key) const { return users_[key]; }
  uint8_t current() const { return current_; }
  size_t bytes() const;

 private:
  static constexpr size_t kKeyBytes = 32;
  static constexpr size_t kChecksumBytes = 8;
  struct Keys {
    std::byte key[kKeys][kKeyBytes];
  };

  Status MakeKey(uint8_t key);
  void GuardMemory();

  Protection protection_ = Protection::kEncrypted;
  Keys* keys_ = nullptr;
  uint8_t current_ = 0;
  uint32_t users_[kKeys] = {};
};

}  // namespace uzswap

#endif  // UZSWAP_DEVICE_SEAL_H_
