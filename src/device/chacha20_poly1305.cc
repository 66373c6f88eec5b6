// SPDX-License-Identifier: Apache-2.0
#include "device/chacha20_poly1305.h"

#include <bit>
#include <cstring>

namespace uzswap::chacha20_poly1305 {
namespace {

static_assert(std::endian::native == std::endian::little);

using Wide = unsigned __int128;

constexpr size_t kBlockBytes = 64;

uint64_t Load64(const std::byte* from) {
  uint64_t word;
  memcpy(&word, from, sizeof(word));
  return word;
}

// So that what was secret does not stay on the stack.
void Wipe(void* memory, size_t bytes) {
  memset(memory, 0, bytes);
  __asm__ volatile("" : : "r"(memory) : "memory");
}

inline void QuarterRound(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
  a += b;
  d = std::rotl(d ^ a, 16);
  c += d;
  b = std::rotl(b ^ c, 12);
  a += b;
  d = std::rotl(d ^ a, 8);
  c += d;
  b = std::rotl(b ^ c, 7);
}

struct State {
  uint32_t word[16];

  explicit State(const Message& message) {
    constexpr uint32_t kConstants[] = {0x61707865, 0x3320646e, 0x79622d32,
                                       0x6b206574};
    memcpy(&word[0], kConstants, sizeof(kConstants));
    memcpy(&word[4], message.key.data(), message.key.size());
    word[12] = 0;
    memcpy(&word[13], message.nonce.data(), message.nonce.size());
  }
  ~State() { Wipe(word, sizeof(word)); }
};

// Keystream from block 1 on; block 0 makes the key of the authenticator.
void Chacha20Xor(State& state, std::span<const std::byte> from, std::byte* to) {
  uint32_t block[16];
  for (size_t at = 0; at < from.size(); at += kBlockBytes) {
    ++state.word[12];
    Chacha20Block(state.word, block);
    const auto* stream = reinterpret_cast<const std::byte*>(block);
    const size_t bytes = from.size() - at;
    if (bytes >= kBlockBytes) {
      for (size_t i = 0; i < kBlockBytes; i += 8) {
        const uint64_t word = Load64(&from[at + i]) ^ Load64(&stream[i]);
        memcpy(&to[at + i], &word, sizeof(word));
      }
    } else {
      for (size_t i = 0; i < bytes; ++i) to[at + i] = from[at + i] ^ stream[i];
    }
  }
  Wipe(block, sizeof(block));
}

// Evaluates a polynomial over 2^130 - 5 at r, in limbs of 64, 64 and a few
// bits. Invariant between blocks: h2 is below 8.
class Authenticator {
 public:
  // `key`: 32 bytes that are used for one message only.
  explicit Authenticator(const std::byte* key)
      : r0_(Load64(key) & 0x0ffffffc0fffffff),
        r1_(Load64(key + 8) & 0x0ffffffc0ffffffc),
        s1_(r1_ + (r1_ >> 2)),
        end0_(Load64(key + 16)),
        end1_(Load64(key + 24)) {}
  ~Authenticator() { Wipe(this, sizeof(*this)); }
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  // A last block that is short counts a byte 1 behind its end.
  void Add(std::span<const std::byte> text) {
    size_t at = 0;
    for (; at + 16 <= text.size(); at += 16) Block(&text[at], 1);
    if (at == text.size()) return;
    std::byte last[16] = {};
    memcpy(last, &text[at], text.size() - at);
    last[text.size() - at] = std::byte{1};
    Block(last, 0);
  }
  // A last block that is short is filled with zeros.
  void AddPadded(std::span<const std::byte> text) {
    const size_t whole = text.size() & ~size_t{15};
    Add(text.first(whole));
    if (whole == text.size()) return;
    std::byte last[16] = {};
    memcpy(last, &text[whole], text.size() - whole);
    Block(last, 1);
  }
  void AddLengths(uint64_t additional, uint64_t text) {
    std::byte block[16];
    memcpy(block, &additional, 8);
    memcpy(block + 8, &text, 8);
    Block(block, 1);
  }
  Tag Finish();

 private:
  void Block(const std::byte* from, uint64_t high) {
    Wide sum = Wide{h0_} + Load64(from);
    h0_ = static_cast<uint64_t>(sum);
    sum = Wide{h1_} + Load64(from + 8) + static_cast<uint64_t>(sum >> 64);
    h1_ = static_cast<uint64_t>(sum);
    h2_ += high + static_cast<uint64_t>(sum >> 64);
    Multiply();
  }
  // The low two bits of r's upper half are clear, so what passes 2^130 comes
  // back as (x >> 2) * 5 = x + (x >> 2), which is in s1.
  void Multiply() {
    const Wide d0 = Wide{h0_} * r0_ + Wide{h1_} * s1_;
    Wide d1 = Wide{h0_} * r1_ + Wide{h1_} * r0_ + Wide{h2_ * s1_};
    uint64_t d2 = h2_ * r0_;
    d1 += static_cast<uint64_t>(d0 >> 64);
    d2 += static_cast<uint64_t>(d1 >> 64);
    const uint64_t carry = (d2 >> 2) + (d2 & ~uint64_t{3});
    Wide sum = Wide{static_cast<uint64_t>(d0)} + carry;
    h0_ = static_cast<uint64_t>(sum);
    sum = Wide{static_cast<uint64_t>(d1)} + static_cast<uint64_t>(sum >> 64);
    h1_ = static_cast<uint64_t>(sum);
    h2_ = (d2 & 3) + static_cast<uint64_t>(sum >> 64);
  }

  const uint64_t r0_, r1_, s1_, end0_, end1_;
  uint64_t h0_ = 0, h1_ = 0, h2_ = 0;
};

Tag Authenticator::Finish() {
  // h - p, kept if it is not negative: h is below 2p.
  Wide sum = Wide{h0_} + 5;
  const auto g0 = static_cast<uint64_t>(sum);
  sum = Wide{h1_} + static_cast<uint64_t>(sum >> 64);
  const auto g1 = static_cast<uint64_t>(sum);
  const uint64_t g2 = h2_ + static_cast<uint64_t>(sum >> 64);
  const uint64_t above = ~((g2 >> 2) - 1);  // all ones if h >= p
  uint64_t low = (h0_ & ~above) | (g0 & above);
  uint64_t high = (h1_ & ~above) | (g1 & above);
  sum = Wide{low} + end0_;
  low = static_cast<uint64_t>(sum);
  high += end1_ + static_cast<uint64_t>(sum >> 64);
  Tag tag;
  memcpy(tag.data(), &low, 8);
  memcpy(tag.data() + 8, &high, 8);
  return tag;
}

Tag Authenticate(State& state, const Message& message,
                 std::span<const std::byte> cipher) {
  uint32_t block[16];
  state.word[12] = 0;
  Chacha20Block(state.word, block);
  Authenticator authenticator(reinterpret_cast<const std::byte*>(block));
  Wipe(block, sizeof(block));
  authenticator.AddPadded(message.additional);
  authenticator.AddPadded(cipher);
  authenticator.AddLengths(message.additional.size(), cipher.size());
  return authenticator.Finish();
}

}  // namespace

void Chacha20Block(const uint32_t state[16], uint32_t block[16]) {
  uint32_t x[16];
  memcpy(x, state, sizeof(x));
  for (int round = 0; round < 10; ++round) {
    QuarterRound(x[0], x[4], x[8], x[12]);
    QuarterRound(x[1], x[5], x[9], x[13]);
    QuarterRound(x[2], x[6], x[10], x[14]);
    QuarterRound(x[3], x[7], x[11], x[15]);
    QuarterRound(x[0], x[5], x[10], x[15]);
    QuarterRound(x[1], x[6], x[11], x[12]);
    QuarterRound(x[2], x[7], x[8], x[13]);
    QuarterRound(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; ++i) block[i] = x[i] + state[i];
  Wipe(x, sizeof(x));  // the rounds can be run backwards, to the key
}

Tag Poly1305(Key key, std::span<const std::byte> text) {
  Authenticator authenticator(key.data());
  authenticator.Add(text);
  return authenticator.Finish();
}

Tag Encrypt(const Message& message, std::span<const std::byte> plain,
            std::byte* cipher) {
  State state(message);
  Chacha20Xor(state, plain, cipher);
  return Authenticate(state, message, {cipher, plain.size()});
}

bool Decrypt(const Message& message, std::span<std::byte> text,
             const Tag& tag) {
  State state(message);
  const Tag right = Authenticate(state, message, text);
  const uint64_t difference = (Load64(&right[0]) ^ Load64(&tag[0])) |
                              (Load64(&right[8]) ^ Load64(&tag[8]));
  if (difference != 0) return false;
  state.word[12] = 0;
  Chacha20Xor(state, text, text.data());
  return true;
}

}  // namespace uzswap::chacha20_poly1305
