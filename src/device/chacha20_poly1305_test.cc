// SPDX-License-Identifier: Apache-2.0
// The vectors of RFC 8439, and what no vector says.
#include "device/chacha20_poly1305.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace uzswap::chacha20_poly1305 {
namespace {

using Bytes = std::vector<std::byte>;

Bytes FromHex(const std::string& text) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(std::byte(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}
Bytes FromText(const char* text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text);
  return {begin, begin + strlen(text)};
}
template <typename T>
Bytes Of(const T& array) {
  const auto* begin = reinterpret_cast<const std::byte*>(array.data());
  return {begin, begin + array.size()};
}
Key KeyOf(const Bytes& bytes) { return Key(bytes.data(), 32); }
Nonce NonceOf(const std::string& hex) {
  Nonce nonce;
  memcpy(nonce.data(), FromHex(hex).data(), nonce.size());
  return nonce;
}

// 2.3.2
TEST(Chacha20, BlockIsTheOneOfTheRfc) {
  uint32_t state[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (uint32_t i = 0; i < 32; ++i) {
    reinterpret_cast<std::byte*>(&state[4])[i] = std::byte(i);
  }
  state[12] = 1;
  state[13] = 0x09000000;
  state[14] = 0x4a000000;
  uint32_t block[16];
  Chacha20Block(state, block);
  const uint32_t expected[16] = {
      0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3, 0xc7f4d1c7, 0x0368c033,
      0x9aaa2204, 0x4e6cd4c3, 0x466482d2, 0x09aa9f07, 0x05d7c214, 0xa2028bd9,
      0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2};
  for (int i = 0; i < 16; ++i) EXPECT_EQ(block[i], expected[i]) << i;
}

// 2.5.2
TEST(Poly1305, TagIsTheOneOfTheRfc) {
  const Bytes key = FromHex(
      "85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b");
  const Bytes text = FromText("Cryptographic Forum Research Group");
  EXPECT_EQ(Of(Poly1305(KeyOf(key), text)),
            FromHex("a8061dc1305136c6c22b8baf0c0127a9"));
}

// A.3, vectors 7 to 11: carries and the reduction at the end.
TEST(Poly1305, CarriesAndTheLastReductionAreRight) {
  const struct {
    const char* r;
    const char* text;
    const char* tag;
  } kCases[] = {
      {"02000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
       "03000000000000000000000000000000"},
      {"01000000000000000000000000000000",
       "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff"
       "11000000000000000000000000000000",
       "05000000000000000000000000000000"},
      {"01000000000000000000000000000000",
       "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe"
       "01010101010101010101010101010101",
       "00000000000000000000000000000000"},
      {"02000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
       "faffffffffffffffffffffffffffffff"},
      {"01000000000000000400000000000000",
       "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000"
       "000000000000000000000000000000001000000000000000000000000000000",
       "14000000000000005500000000000000"},
  };
  for (const auto& c : kCases) {
    Bytes key = FromHex(c.r);
    key.resize(32);
    EXPECT_EQ(Of(Poly1305(KeyOf(key), FromHex(c.text))), FromHex(c.tag))
        << c.r << " " << c.text;
  }
}

// Vector 6 of A.3: the other half of the key is added without a carry out.
TEST(Poly1305, TheSecondHalfOfTheKeyIsAddedModulo128Bits) {
  Bytes key = FromHex(
      "02000000000000000000000000000000"
      "ffffffffffffffffffffffffffffffff");
  EXPECT_EQ(
      Of(Poly1305(KeyOf(key), FromHex("02000000000000000000000000000000"))),
      FromHex("03000000000000000000000000000000"));
}

// 2.8.2
TEST(Aead, EncryptsAsTheRfc) {
  const Bytes key = FromHex(
      "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
  const Bytes additional = FromHex("50515253c0c1c2c3c4c5c6c7");
  const Message message{KeyOf(key), NonceOf("070000004041424344454647"),
                        additional};
  const Bytes plain = FromText(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one "
      "tip for the future, sunscreen would be it.");
  Bytes text(plain.size());
  const Tag tag = Encrypt(message, plain, text.data());
  EXPECT_EQ(text, FromHex("d31a8d34648e60db7b86afbc53ef7ec2"
                          "a4aded51296e08fea9e2b5a736ee62d6"
                          "3dbea45e8ca9671282fafb69da92728b"
                          "1a71de0a9e060b2905d6a5b67ecd3b36"
                          "92ddbd7f2d778b8c9803aee328091b58"
                          "fab324e4fad675945585808b4831d7bc"
                          "3ff4def08e4b7a9de576d26586cec64b"
                          "6116"));
  EXPECT_EQ(Of(tag), FromHex("1ae10b594f09e26a7e902ecbd0600691"));
  ASSERT_TRUE(Decrypt(message, text, tag));
  EXPECT_EQ(text, plain);
}

TEST(Aead, EveryLengthComesBackAlsoInPlace) {
  std::mt19937_64 random(1);
  Bytes key(32);
  for (std::byte& b : key) b = std::byte(random());
  Message message{KeyOf(key), {}};
  for (size_t bytes = 0; bytes <= 4096; bytes += bytes < 300 ? 1 : 61) {
    Bytes plain(bytes);
    for (std::byte& b : plain) b = std::byte(random());
    message.nonce[0] = std::byte(bytes);
    message.nonce[1] = std::byte(bytes >> 8);
    Bytes aside(bytes);
    const Tag tag = Encrypt(message, plain, aside.data());
    Bytes text = plain;
    EXPECT_EQ(Of(Encrypt(message, text, text.data())), Of(tag));
    EXPECT_EQ(text, aside);
    EXPECT_TRUE(bytes < 16 || text != plain);
    ASSERT_TRUE(Decrypt(message, text, tag)) << bytes;
    EXPECT_EQ(text, plain);
  }
}

TEST(Aead, OneWrongBitAnywhereIsRefusedAndTheTextIsLeft) {
  Bytes key(32, std::byte{7});
  const Message message{KeyOf(key), NonceOf("000102030405060708090a0b")};
  Bytes text(77, std::byte{'x'});
  const Tag tag = Encrypt(message, text, text.data());
  const Bytes right = text;
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    Bytes wrong = right;
    wrong[bit / 8] ^= std::byte(1 << bit % 8);
    const Bytes before = wrong;
    ASSERT_FALSE(Decrypt(message, wrong, tag)) << bit;
    ASSERT_EQ(wrong, before);
  }
  for (size_t bit = 0; bit < tag.size() * 8; ++bit) {
    Tag wrong = tag;
    wrong[bit / 8] ^= std::byte(1 << bit % 8);
    ASSERT_FALSE(Decrypt(message, text, wrong)) << bit;
  }
  Message other = message;
  other.nonce[11] ^= std::byte{1};
  EXPECT_FALSE(Decrypt(other, text, tag));
  EXPECT_FALSE(Decrypt(message, std::span(text).first(text.size() - 1), tag));
  EXPECT_TRUE(Decrypt(message, text, tag));
}

// A sanitizer's frames lie elsewhere.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void UndoQuarter(uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
  b = std::rotr(b, 7) ^ c;
  c -= d;
  d = std::rotr(d, 8) ^ a;
  a -= b;
  b = std::rotr(b, 12) ^ c;
  c -= d;
  d = std::rotr(d, 16) ^ a;
  a -= b;
}

// What the rounds began with; true if that is a state, whose words 4 to 11 are
// a key.
bool UndoRounds(const uint32_t* from, uint32_t* x) {
  memcpy(x, from, 64);
  for (int i = 0; i < 10; ++i) {
    for (const int k : {3, 2, 1, 0}) {
      UndoQuarter(x[k], x[4 + (k + 1) % 4], x[8 + (k + 2) % 4],
                  x[12 + (k + 3) % 4]);
    }
    for (const int k : {3, 2, 1, 0}) {
      UndoQuarter(x[k], x[4 + k], x[8 + k], x[12 + k]);
    }
  }
  return x[0] == 0x61707865 && x[1] == 0x3320646e;
}

constexpr size_t kStackWords = 4096;

__attribute__((noinline)) void EncryptSomething(std::byte* to) {
  std::array<std::byte, 32> key;
  key.fill(std::byte{0xa5});
  const std::byte plain[200] = {};
  (void)chacha20_poly1305::Encrypt({chacha20_poly1305::Key(key), {}}, plain,
                                   to);
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
__attribute__((noinline)) void CopyStack(uint32_t* to) {
  volatile uint32_t left_there[kStackWords];
  for (size_t i = 0; i < kStackWords; ++i) to[i] = left_there[i];
}
#pragma GCC diagnostic pop

TEST(ChaCha20Poly1305, LeavesNoKeyOnTheStackNorWhatLeadsToIt) {
  static uint32_t stack[kStackWords];
  static std::byte cipher[256];
  EncryptSomething(cipher);
  CopyStack(stack);
  unsigned found = 0;
  for (size_t i = 0; i + 16 <= kStackWords; ++i) {
    uint32_t x[16];
    found += UndoRounds(&stack[i], x);
  }
  EXPECT_EQ(found, 0u);
}

#endif

}  // namespace
}  // namespace uzswap::chacha20_poly1305
