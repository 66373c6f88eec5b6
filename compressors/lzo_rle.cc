// SPDX-License-Identifier: Apache-2.0
// LZO-RLE, zram's own default: bitstream version 1 of LZO1X, as the kernel's
// Documentation/staging/lzo.rst describes it. Written from that description, so
// it needs no library. Reads version 0 (plain LZO1X), too.
//
// Stream: 17, 1, literals, instructions. Each instruction but the long literal
// is a copy from what came out before, or a run of zeros, and says in two bits
// ("state") how many literals, 0 to 3, follow it:
//   000DDSS H..H           state 1-3: 2 bytes, distance HD + 1
//                          state 4 (>= 4 literals): 3 bytes, HD + 2049
//   0000LLLL               state 0: 3 + L literals
//   0001HLLL D..DSS        2 + L bytes, distance 16384 + HD; 16384 is the end
//   00011LLL 1..1SS X      4 + XL zeros
//   001LLLLL D..DSS        2 + L bytes, distance D + 1
//   LLLDDDSS H..H (L >= 2) 1 + L bytes, distance HD + 1
// L = 0 of the long forms: 2^bits - 1, and 255 for each 0 byte, and one byte.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <uzswap/compressor.h>

namespace {

constexpr uint8_t kVersionMark = 17;
constexpr uint8_t kVersion = 1;
constexpr uint8_t kEnd[] = {17, 0, 0};
constexpr size_t kNearDistance = 2048;  // of LLLDDDSS
constexpr size_t kNearLength = 8;
constexpr size_t kFarLength = 33;      // of 001LLLLL without more bytes
constexpr size_t kMaxFirst = 238;      // literals that the first byte can say
constexpr size_t kShortLiterals = 18;  // of 0000LLLL without more bytes
constexpr size_t kMinRun = 4;
constexpr size_t kMaxRun = 4 + 2047;
// Four bytes say a run; copies of earlier zeros take two or three, if there are
// such zeros.
constexpr size_t kWorthyRun = 6;
constexpr size_t kGoodRun = 34;
constexpr unsigned kHashBits = 12;

// Where four bytes of this hash were seen last.
struct Workspace {
  uint16_t seen[1 << kHashBits];
};
static_assert(UZSWAP_COMPRESSOR_MAX_BYTES <= UINT16_MAX);

template <typename T>
T Read(const uint8_t* p) {
  T value;
  memcpy(&value, p, sizeof(value));
  return value;
}

unsigned Hash(uint32_t four) {
  return (four * 2654435761u) >> (32 - kHashBits);
}

// How far a and b agree; both within the same buffer, a before b, b up to end.
size_t Agree(const uint8_t* a, const uint8_t* b, const uint8_t* end) {
  const uint8_t* const start = b;
  for (; end - b >= 8; a += 8, b += 8) {
    const uint64_t differ = Read<uint64_t>(a) ^ Read<uint64_t>(b);
    if (differ != 0) return b - start + (__builtin_ctzll(differ) / 8);
  }
  while (b < end && *a == *b) ++a, ++b;
  return b - start;
}

size_t ZeroRun(const uint8_t* p, const uint8_t* end) {
  const uint8_t* const start = p;
  if (end - p > static_cast<ptrdiff_t>(kMaxRun)) end = p + kMaxRun;
  for (; end - p >= 8; p += 8) {
    const uint64_t differ = Read<uint64_t>(p);
    if (differ != 0) return p - start + (__builtin_ctzll(differ) / 8);
  }
  while (p < end && *p == 0) ++p;
  return p - start;
}

// Bytes of a length of which `n` is more than the instruction itself can hold.
size_t MoreBytes(size_t n) { return (n + 254) / 255; }

// Writes instructions; sets `full` instead of writing behind the room.
// Invariant: state_ is the byte of the last copy that tells how many literals
// follow it, null before the first.
class Writer {
 public:
  Writer(uint8_t* to, size_t room) : start_(to), at_(to), end_(to + room) {
    if (!Room(2)) return;
    Put(kVersionMark);
    Put(kVersion);
  }

  // REQUIRES: the call before was none of Literals.
  void Literals(const uint8_t* from, size_t n) {
    if (n == 0) return;
    const bool first = at_ == start_ + 2;
    if (first && n <= kMaxFirst) {
      if (!Room(1 + n)) return;
      Put(kVersionMark + n);
    } else if (n < 4) {
      if (!Room(n)) return;
      *state_ = static_cast<uint8_t>(*state_ | n);
    } else if (n <= kShortLiterals) {
      if (!Room(1 + n)) return;
      Put(n - 3);
    } else {
      if (!Room(1 + MoreBytes(n - kShortLiterals) + n)) return;
      Put(0);
      PutMore(n - kShortLiterals);
    }
    memcpy(at_, from, n);
    at_ += n;
  }

  // REQUIRES: something was written before.
  void Match(size_t length, size_t distance) {
    const size_t d = distance - 1;
    if (length <= kNearLength && distance <= kNearDistance) {
      if (!Room(2)) return;
      state_ = at_;
      Put((length - 1) << 5 | (d & 7) << 2);
      Put(d >> 3);
      return;
    }
    if (length <= kFarLength) {
      if (!Room(3)) return;
      Put(32 | (length - 2));
    } else {
      if (!Room(3 + MoreBytes(length - kFarLength))) return;
      Put(32);
      PutMore(length - kFarLength);
    }
    state_ = at_;
    Put(d << 2);
    Put(d >> 6);
  }

  // REQUIRES: something was written before: the first byte means literals.
  void Zeros(size_t n) {
    if (!Room(4)) return;
    const size_t code = n - kMinRun;
    Put(0x18 | (code & 7));
    state_ = at_;
    Put(0xfc);
    Put(0xff);
    Put(code >> 3);
  }

  // The length of it all; 0 if it did not fit.
  size_t End() {
    if (!Room(sizeof(kEnd))) return 0;
    memcpy(at_, kEnd, sizeof(kEnd));
    return at_ + sizeof(kEnd) - start_;
  }

  bool full() const { return full_; }

 private:
  bool Room(size_t n) {
    if (static_cast<size_t>(end_ - at_) < n) full_ = true;
    return !full_;
  }
  void Put(size_t byte) { *at_++ = static_cast<uint8_t>(byte); }
  void PutMore(size_t n) {
    for (; n > 255; n -= 255) Put(0);
    Put(n);
  }

  uint8_t* const start_;
  uint8_t* at_;
  uint8_t* const end_;
  uint8_t* state_ = nullptr;
  bool full_ = false;
};

size_t WorkspaceSize(int /*level*/) { return sizeof(Workspace); }

// There is one level.
int Init(void* /*workspace*/, size_t workspace_bytes, int level) {
  if (level != UZSWAP_COMPRESSOR_DEFAULT_LEVEL && level != 1) return EINVAL;
  return workspace_bytes < sizeof(Workspace) ? EINVAL : 0;
}

// What is best said at `at`: a run of zeros, a match, or neither.
struct Found {
  size_t zeros = 0;
  size_t length = 0;
  const uint8_t* match = nullptr;
};

Found Search(Workspace* w, const uint8_t* in, const uint8_t* at,
             const uint8_t* end) {
  Found found;
  const uint32_t four = Read<uint32_t>(at);
  const size_t run = four == 0 ? ZeroRun(at, end) : 0;
  if (run >= kGoodRun) {
    found.zeros = run;
    return found;
  }
  uint16_t& seen = w->seen[Hash(four)];
  const uint8_t* match = in + seen;
  seen = static_cast<uint16_t>(at - in);
  if (match < at && Read<uint32_t>(match) == four) {
    found.match = match;
    found.length = 4 + Agree(match + 4, at + 4, end);
  }
  if (run > found.length && run >= kWorthyRun) found.zeros = run;
  return found;
}

int Compress(void* workspace, const void* source, size_t source_bytes,
             void* destination, size_t destination_bytes, size_t* produced) {
  if (source_bytes > UZSWAP_COMPRESSOR_MAX_BYTES) return EINVAL;
  auto* w = static_cast<Workspace*>(workspace);
  memset(w->seen, 0, sizeof(w->seen));
  const auto* const in = static_cast<const uint8_t*>(source);
  const uint8_t* const end = in + source_bytes;
  Writer out(static_cast<uint8_t*>(destination), destination_bytes);
  const uint8_t* literals = in;
  // A stream cannot begin with a copy.
  for (const uint8_t* at = in + 1; end - at >= 4 && !out.full();) {
    const Found found = Search(w, in, at, end);
    if (found.zeros != 0) {
      out.Literals(literals, at - literals);
      out.Zeros(found.zeros);
      at += found.zeros;
      literals = at;
    } else if (found.length != 0) {
      const uint8_t* match = found.match;
      const uint8_t* const match_end = at + found.length;
      while (at > literals && at > in + 1 && match > in && at[-1] == match[-1])
        --at, --match;
      out.Literals(literals, at - literals);
      out.Match(match_end - at, at - match);
      at = match_end;
      literals = at;
    } else {
      at += 1 + ((at - literals) >> 5);  // less and less hope
    }
  }
  out.Literals(literals, end - literals);
  const size_t n = out.End();
  if (n == 0) return ENOSPC;
  *produced = n;
  return 0;
}

// Reads a stream and writes what it says; every step checks both buffers.
class Reader {
 public:
  Reader(const uint8_t* from, size_t bytes, uint8_t* to, size_t room)
      : in_(from),
        in_end_(from + bytes),
        start_(to),
        out_(to),
        out_end_(to + room) {}

  // True if the stream is good, ends where it says and fills the destination.
  bool Run() {
    if (!Start()) return false;
    for (;;) {
      uint8_t code;
      if (!Get(&code)) return false;
      if (code < 16) {
        if (!Low(code)) return false;
      } else if (code < 32) {
        bool end = false;
        if (!Far(code, &end)) return false;
        if (end) return in_ == in_end_ && out_ == out_end_;
      } else if (code < 64) {
        size_t length = code & 31;
        uint16_t d;
        if (!More(31, &length) || !Get16(&d)) return false;
        if (!Copy(length + 2, (size_t{d} >> 2) + 1, d & 3)) return false;
      } else {
        uint8_t high;
        if (!Get(&high)) return false;
        const size_t distance = (size_t{high} << 3) + (code >> 2 & 7) + 1;
        if (!Copy((code >> 5) + 1u, distance, code & 3)) return false;
      }
    }
  }

 private:
  // The version, and the literals before the first instruction.
  bool Start() {
    if (in_end_ - in_ >= 5 && in_[0] == kVersionMark) {
      version_ = in_[1];
      if (version_ > kVersion) return false;
      in_ += 2;
    }
    if (in_ == in_end_ || *in_ <= kVersionMark) return true;
    const size_t n = *in_++ - size_t{kVersionMark};
    state_ = n < 4 ? n : 4;
    return Literals(n);
  }

  // 0000xxxx
  bool Low(uint8_t code) {
    if (state_ == 0) {
      size_t n = code;
      if (!More(15, &n)) return false;
      state_ = 4;
      return Literals(n + 3);
    }
    uint8_t high;
    if (!Get(&high)) return false;
    const size_t d = (size_t{high} << 2) + (code >> 2);
    return state_ == 4 ? Copy(3, d + kNearDistance + 1, code & 3)
                       : Copy(2, d + 1, code & 3);
  }

  // 0001Hxxx
  bool Far(uint8_t code, bool* end) {
    if (version_ != 0 && code >= 24 && in_end_ - in_ >= 3 &&
        (Read<uint16_t>(in_) & 0xfffc) == 0xfffc) {
      const size_t n = (size_t{in_[2]} << 3 | (code & 7)) + kMinRun;
      if (n > static_cast<size_t>(out_end_ - out_)) return false;
      memset(out_, 0, n);
      out_ += n;
      state_ = in_[0] & 3;
      in_ += 3;
      return Literals(state_);
    }
    size_t length = code & 7;
    uint16_t d;
    if (!More(7, &length) || !Get16(&d)) return false;
    const size_t distance =
        16384 + (size_t{code & 8u} << 11) + (size_t{d} >> 2);
    if (distance == 16384) {
      *end = code == kEnd[0] && d == 0;
      return *end;
    }
    return Copy(length + 2, distance, d & 3);
  }

  bool Get(uint8_t* byte) {
    if (in_ == in_end_) return false;
    *byte = *in_++;
    return true;
  }
  bool Get16(uint16_t* value) {
    if (in_end_ - in_ < 2) return false;
    *value = static_cast<uint16_t>(in_[0] | in_[1] << 8);
    in_ += 2;
    return true;
  }

  // Completes a length that did not fit into the instruction. The source's
  // length bounds it, so it cannot overflow.
  bool More(size_t longest, size_t* length) {
    if (*length != 0) return true;
    *length = longest;
    uint8_t byte;
    do {
      if (!Get(&byte)) return false;
      *length += byte != 0 ? byte : 255;
    } while (byte == 0);
    return true;
  }

  bool Literals(size_t n) {
    if (n > static_cast<size_t>(in_end_ - in_)) return false;
    if (n > static_cast<size_t>(out_end_ - out_)) return false;
    memcpy(out_, in_, n);
    in_ += n;
    out_ += n;
    return true;
  }

  // Then `state` literals.
  bool Copy(size_t length, size_t distance, size_t state) {
    if (distance > static_cast<size_t>(out_ - start_)) return false;
    if (length > static_cast<size_t>(out_end_ - out_)) return false;
    const uint8_t* from = out_ - distance;
    if (distance >= 8) {
      for (; length >= 8; length -= 8, out_ += 8, from += 8) {
        memcpy(out_, from, 8);
      }
    }
    for (; length > 0; --length) *out_++ = *from++;
    state_ = state;
    return Literals(state);
  }

  const uint8_t* in_;
  const uint8_t* const in_end_;
  uint8_t* const start_;
  uint8_t* out_;
  uint8_t* const out_end_;
  size_t state_ = 0;  // literals after the last instruction; 4: or more
  uint8_t version_ = 0;
};

int Decompress(void* /*workspace*/, const void* source, size_t source_bytes,
               void* destination, size_t destination_bytes) {
  return Reader(static_cast<const uint8_t*>(source), source_bytes,
                static_cast<uint8_t*>(destination), destination_bytes)
                 .Run()
             ? 0
             : EIO;
}

}  // namespace

UZSWAP_COMPRESSOR(lzo_rle) = {
    sizeof(struct uzswap_compressor),
    UZSWAP_COMPRESSOR_API_VERSION,
    "lzo-rle",
    WorkspaceSize,
    Init,
    Compress,
    Decompress,
    1,
    1,
    1,
};
