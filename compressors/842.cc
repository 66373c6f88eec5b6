// SPDX-License-Identifier: Apache-2.0
// 842, the format of IBM POWER's compression engines in the variant of the
// kernel's software codec (lib/842): for interoperation, not for speed.
//
// A stream of bits, the highest of a byte first. Groups of eight bytes, each
// behind five bits of template:
//   0 ... 24  5 * A + B: A says the first four bytes, B the others. Half 0 is
//             the bytes; 1 is two bytes and an index; 2 an index and two bytes;
//             3 two indices; 4 one index of four bytes
//   25        one index of eight bytes
//   27 N(6)   the eight bytes before, N + 1 times more
//   28        eight zeros
//   29 N(3)   the last N bytes, 1 to 7
//   30        the end; CRC-32 of the content, zeros up to a multiple of 8 bytes
// An index names an aligned place in the last 256 * 2, 512 * 4 or 256 * 8 bytes
// before the group, counted from the start and modulo 256, 512, 256.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <uzswap/compressor.h>

#include <array>

namespace {

enum Half : unsigned { kBytes, kBytesIndex, kIndexBytes, kIndices, kIndex };
constexpr unsigned kHalves = 5;
constexpr unsigned kTemplateBits = 5;
constexpr unsigned kIndex8 = 25;
constexpr unsigned kRepeat = 27;
constexpr unsigned kRepeatBits = 6;
constexpr unsigned kZeros = 28;
constexpr unsigned kShort = 29;
constexpr unsigned kShortBits = 3;
constexpr unsigned kEnd = 30;
constexpr size_t kGroup = 8;

// What an index of `Bytes` bytes can reach.
template <size_t Bytes>
struct Window {
  static constexpr unsigned kBits = Bytes == 4 ? 9 : 8;
  static constexpr size_t kBytes = Bytes << kBits;
};

// Numbers of 2, 4 or 8 bytes, the highest byte first.
template <size_t Bytes>
uint64_t Load(const uint8_t* p) {
  uint64_t value = 0;
  memcpy(&value, p, Bytes);
  return __builtin_bswap64(value) >> (64 - 8 * Bytes);
}
template <size_t Bytes>
void Store(uint8_t* p, uint64_t value) {
  value = __builtin_bswap64(value << (64 - 8 * Bytes));
  memcpy(p, &value, Bytes);
}

// ---- CRC-32, highest bit first, starting with 0, eight bytes at a time -----

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

constexpr CrcTables MakeCrcTables() {
  CrcTables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte << 24;
    for (int i = 0; i < 8; ++i) {
      crc = crc << 1 ^ ((crc >> 31) != 0 ? 0x04c11db7u : 0);
    }
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < tables.size(); ++k) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = crc << 8 ^ tables[0][crc >> 24];
    }
  }
  return tables;
}
constexpr CrcTables kCrc = MakeCrcTables();

uint32_t Crc(const uint8_t* p, size_t bytes) {
  uint32_t crc = 0;
  for (; bytes >= 8; bytes -= 8, p += 8) {
    const uint64_t x = Load<8>(p) ^ uint64_t { crc } << 32;
    crc = 0;
    for (unsigned k = 0; k < 8; ++k) crc ^= kCrc[k][x >> (8 * k) & 255];
  }
  for (; bytes > 0; --bytes, ++p) crc = crc << 8 ^ kCrc[0][crc >> 24 ^ *p];
  return crc;
}

// ---- bits ------------------------------------------------------------------

// Invariant: the lowest used_ (< 64) bits of bits_ are not yet stored.
class BitWriter {
 public:
  BitWriter(uint8_t* to, size_t room) : start_(to), at_(to), end_(to + room) {}

  // REQUIRES: count <= 64, value < 2^count.
  void Put(uint64_t value, unsigned count) {
    const unsigned room = 64 - used_;
    if (count < room) {
      bits_ = bits_ << count | value;
      used_ += count;
      return;
    }
    const unsigned rest = count - room;
    // Two shifts: one by 64 is none.
    Flush((bits_ << (room - 1)) << 1 | value >> rest);
    bits_ = value;  // what is above used_ is shifted out later
    used_ = rest;
  }

  // The length, a multiple of eight; 0 if it did not fit.
  size_t End() {
    if (used_ != 0) Flush(bits_ << (64 - used_));
    return full_ ? 0 : at_ - start_;
  }

  bool full() const { return full_; }

 private:
  void Flush(uint64_t word) {
    if (end_ - at_ < 8) {
      full_ = true;
      return;
    }
    Store<8>(at_, word);
    at_ += 8;
  }

  uint8_t* const start_;
  uint8_t* at_;
  uint8_t* const end_;
  uint64_t bits_ = 0;
  unsigned used_ = 0;
  bool full_ = false;
};

// Invariant: the upper left_ bits of word_ are the next ones. The source is a
// multiple of eight bytes.
class BitReader {
 public:
  BitReader(const uint8_t* from, size_t bytes)
      : at_(from), end_(from + bytes) {}

  // 1 <= count <= 64. Behind the end there are zeros, and `bad`.
  uint64_t Get(unsigned count) {
    if (count <= left_) return Take(count);
    const unsigned missing = count - left_;
    const uint64_t high = left_ == 0 ? 0 : Take(left_);
    if (at_ == end_) {
      bad_ = true;
      return 0;
    }
    word_ = Load<8>(at_);
    left_ = 64;
    at_ += 8;
    const uint64_t low = Take(missing);
    return missing == 64 ? low : high << missing | low;
  }

  bool bad() const { return bad_; }
  // Nothing but zeros of the last word is left.
  bool AtEnd() const { return !bad_ && at_ == end_ && word_ == 0; }

 private:
  // 1 <= count <= left_
  uint64_t Take(unsigned count) {
    const uint64_t value = word_ >> (64 - count);
    word_ = count == 64 ? 0 : word_ << count;
    left_ -= count;
    return value;
  }

  const uint8_t* at_;
  const uint8_t* const end_;
  uint64_t word_ = 0;
  unsigned left_ = 0;
  bool bad_ = false;
};

// ---- compression -----------------------------------------------------------

// Invariant: seen_[h] is 0, or 1 + the number of a unit that came out before
// this group and has hash h.
template <size_t Bytes, unsigned HashBits>
class Units {
 public:
  // The index of `value` for a group at `total`, or -1.
  int Find(const uint8_t* in, size_t total, uint64_t value) const {
    if (seen_[Hash(value)] == 0) return -1;
    const size_t unit = seen_[Hash(value)] - 1u;
    if (total - unit * Bytes > Window<Bytes>::kBytes) return -1;
    if (Load<Bytes>(in + unit * Bytes) != value) return -1;
    return static_cast<int>(unit & ((1u << Window<Bytes>::kBits) - 1));
  }
  void Add(size_t at, uint64_t value) {
    seen_[Hash(value)] = static_cast<uint16_t>(at / Bytes + 1);
  }

 private:
  static size_t Hash(uint64_t value) {
    return (value * 0x9e3779b97f4a7c15u) >> (64 - HashBits);
  }
  uint16_t seen_[1u << HashBits];
};

struct Workspace {
  Units<2, 10> two;
  Units<4, 10> four;
  Units<8, 9> eight;

  void Add(size_t at, uint64_t group) {
    for (size_t i = 0; i < 4; ++i) {
      two.Add(at + 2 * i, group >> (48 - 16 * i) & 0xffff);
    }
    four.Add(at, group >> 32);
    four.Add(at + 4, group & 0xffffffff);
    eight.Add(at, group);
  }
};
static_assert(UZSWAP_COMPRESSOR_MAX_BYTES / 2 < UINT16_MAX);

// Half a group as it will be written.
struct CodedHalf {
  Half half;
  unsigned bits;
  uint64_t value;
};

CodedHalf Code(const Workspace& w, const uint8_t* in, size_t total,
               uint64_t value) {
  const int whole = w.four.Find(in, total, value);
  if (whole >= 0) return {kIndex, 9, static_cast<uint64_t>(whole)};
  const uint64_t high = value >> 16;
  const uint64_t low = value & 0xffff;
  const int a = w.two.Find(in, total, high);
  const int b = w.two.Find(in, total, low);
  if (a >= 0 && b >= 0) {
    return {kIndices, 16, static_cast<uint64_t>(a << 8 | b)};
  }
  if (a >= 0) return {kIndexBytes, 24, static_cast<uint64_t>(a) << 16 | low};
  if (b >= 0) return {kBytesIndex, 24, high << 8 | static_cast<uint64_t>(b)};
  return {kBytes, 32, value};
}

void PutGroup(const Workspace& w, const uint8_t* in, size_t total,
              uint64_t group, BitWriter* out) {
  if (group == 0) return out->Put(kZeros, kTemplateBits);
  const int whole = w.eight.Find(in, total, group);
  if (whole >= 0) {
    out->Put(kIndex8, kTemplateBits);
    return out->Put(static_cast<uint64_t>(whole), Window<8>::kBits);
  }
  const CodedHalf a = Code(w, in, total, group >> 32);
  const CodedHalf b = Code(w, in, total, group & 0xffffffff);
  out->Put(kHalves * a.half + b.half, kTemplateBits);
  out->Put(a.value << b.bits | b.value, a.bits + b.bits);
}

size_t WorkspaceSize(int /*level*/) { return sizeof(Workspace); }

// There is one level.
int Init(void* /*workspace*/, size_t workspace_bytes, int level) {
  if (level != UZSWAP_COMPRESSOR_DEFAULT_LEVEL && level != 1) return EINVAL;
  return workspace_bytes < sizeof(Workspace) ? EINVAL : 0;
}

// How often the group before `at` comes again there, at most 64 times.
size_t Repeats(const uint8_t* in, size_t at, size_t bytes) {
  size_t n = 0;
  if (at == 0) return 0;
  const uint64_t last = Load<8>(in + at - kGroup);
  while (n < size_t{1} << kRepeatBits && bytes - at >= kGroup &&
         Load<8>(in + at) == last) {
    ++n;
    at += kGroup;
  }
  return n;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  memset(workspace, 0, sizeof(*w));
  const auto* const in = static_cast<const uint8_t*>(source);
  BitWriter out(static_cast<uint8_t*>(destination), destination_bytes);
  size_t at = 0;
  while (source_bytes - at >= kGroup && !out.full()) {
    if (const size_t n = Repeats(in, at, source_bytes); n != 0) {
      out.Put(kRepeat, kTemplateBits);
      out.Put(n - 1, kRepeatBits);
      at += n * kGroup;
    } else {
      PutGroup(*w, in, at, Load<8>(in + at), &out);
      at += kGroup;
    }
    const uint64_t last = Load<8>(in + at - kGroup);
    if (last != 0) w->Add(at - kGroup, last);
  }
  if (out.full()) return ENOSPC;
  if (at < source_bytes) {
    out.Put(kShort, kTemplateBits);
    out.Put(source_bytes - at, kShortBits);
    for (; at < source_bytes; ++at) out.Put(in[at], 8);
  }
  out.Put(kEnd, kTemplateBits);
  out.Put(Crc(in, source_bytes), 32);
  const size_t n = out.End();
  if (n == 0) return ENOSPC;
  *produced = n;
  return 0;
}

// ---- decompression ---------------------------------------------------------

// Every step checks the destination; the bits check the source.
class Decoder {
 public:
  Decoder(BitReader* in, uint8_t* to, size_t room)
      : in_(*in), start_(to), out_(to), end_(to + room) {}

  bool Run() {
    for (;;) {
      const auto code = static_cast<unsigned>(in_.Get(kTemplateBits));
      if (in_.bad()) return false;
      if (code == kEnd) return End();
      if (code == kShort) return Short();
      if (code == kRepeat) {
        if (!Repeat()) return false;
      } else {
        if (end_ - out_ < static_cast<ptrdiff_t>(kGroup)) return false;
        if (!Group(code)) return false;
        out_ += kGroup;
      }
    }
  }

 private:
  bool End() {
    const uint64_t crc = in_.Get(32);
    return in_.AtEnd() && out_ == end_ && crc == Crc(start_, end_ - start_);
  }

  // The end follows: groups are aligned.
  bool Short() {
    const size_t n = in_.Get(kShortBits);
    if (n == 0 || n > static_cast<size_t>(end_ - out_)) return false;
    for (size_t i = 0; i < n; ++i) *out_++ = static_cast<uint8_t>(in_.Get(8));
    return in_.Get(kTemplateBits) == kEnd && End();
  }

  bool Repeat() {
    const size_t n = in_.Get(kRepeatBits) + 1;
    if (out_ == start_ || n > static_cast<size_t>(end_ - out_) / kGroup) {
      return false;
    }
    for (size_t i = 0; i < n; ++i, out_ += kGroup) {
      memcpy(out_, out_ - kGroup, kGroup);
    }
    return true;
  }

  bool Group(unsigned code) {
    if (code == kZeros) {
      memset(out_, 0, kGroup);
      return true;
    }
    if (code == kIndex8) return Index<8>(out_);
    return code < kHalves * kHalves && PutHalf(code / kHalves, out_) &&
           PutHalf(code % kHalves, out_ + 4);
  }

  bool PutHalf(unsigned half, uint8_t* to) {
    switch (half) {
      case kBytes:
        Store<4>(to, in_.Get(32));
        return true;
      case kBytesIndex:
        Store<2>(to, in_.Get(16));
        return Index<2>(to + 2);
      case kIndexBytes:
        if (!Index<2>(to)) return false;
        Store<2>(to + 2, in_.Get(16));
        return true;
      case kIndices:
        return Index<2>(to) && Index<2>(to + 2);
      default:
        return Index<4>(to);
    }
  }

  // The latest unit of that number before this group, which begins at out_.
  template <size_t Bytes>
  bool Index(uint8_t* to) {
    const size_t index = in_.Get(Window<Bytes>::kBits);
    const size_t units = static_cast<size_t>(out_ - start_) / Bytes;
    if (index >= units) return false;
    const size_t back =
        (units - 1 - index) % (size_t{1} << Window<Bytes>::kBits);
    memcpy(to, start_ + (units - 1 - back) * Bytes, Bytes);
    return true;
  }

  BitReader& in_;
  uint8_t* const start_;
  uint8_t* out_;
  uint8_t* const end_;
};

int Decompress(void* /*workspace*/, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  if (source_bytes % sizeof(uint64_t) != 0) return EIO;
  BitReader in(static_cast<const uint8_t*>(source), source_bytes);
  Decoder decoder(&in, static_cast<uint8_t*>(destination), destination_bytes);
  return decoder.Run() ? 0 : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(842) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "842",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    1,
    1,
};
