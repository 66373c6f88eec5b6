// SPDX-License-Identifier: Apache-2.0
// Authenticated encryption as RFC 8439 has it, in general registers, without
// tables, branches or addresses that depend on secrets. Neither allocates nor
// calls anything.
#ifndef UZSWAP_DEVICE_CHACHA20_POLY1305_H_
#define UZSWAP_DEVICE_CHACHA20_POLY1305_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace uzswap::chacha20_poly1305 {

using Key = std::span<const std::byte, 32>;
using Nonce = std::array<std::byte, 12>;
using Tag = std::array<std::byte, 16>;

// One message. A nonce must never be used twice with the same key.
struct Message {
  Key key;
  Nonce nonce;
  std::span<const std::byte> additional = {};  // authenticated, not encrypted
};

// Writes as many bytes as `plain` has to `cipher`, which may be the same place
// or one that does not overlap.
Tag Encrypt(const Message& message, std::span<const std::byte> plain,
            std::byte* cipher);

// In place. False: the tag does not fit; the text is left as it was.
[[nodiscard]] bool Decrypt(const Message& message, std::span<std::byte> text,
                           const Tag& tag);

// The parts, for test vectors.
void Chacha20Block(const uint32_t state[16], uint32_t block[16]);
Tag Poly1305(Key key, std::span<const std::byte> text);

}  // namespace uzswap::chacha20_poly1305

#endif  // UZSWAP_DEVICE_CHACHA20_POLY1305_H_
