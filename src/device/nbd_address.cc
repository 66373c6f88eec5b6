// SPDX-License-Identifier: Apache-2.0
#include "device/nbd_address.h"

#include <cstring>

namespace uzswap {
namespace {

constexpr char kUnix[] = "nbd+unix:///";
constexpr char kTcp[] = "nbd://";
constexpr char kSocket[] = "socket=";
constexpr uint16_t kDefaultPort = 10809;

bool Skip(const char*& p, const char* prefix) {
  const char* at = p;
  for (; *prefix != '\0'; ++prefix, ++at) {
    if (*at != *prefix) return false;
  }
  p = at;
  return true;
}

bool OneOf(char c, const char* of) {
  for (; *of != '\0'; ++of) {
    if (*of == c) return true;
  }
  return false;
}

int Digit(char c, int base) {
  int value = 99;
  if (c >= '0' && c <= '9') value = c - '0';
  if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
  if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
  return value < base ? value : -1;
}

// Copies up to one of `ends` or the end, %XX decoded; returns the bytes, or -1
// if they do not fit or are no such text.
int64_t Decode(const char*& p, const char* ends, char* to, size_t capacity) {
  size_t n = 0;
  for (; *p != '\0' && !OneOf(*p, ends); ++p) {
    char c = *p;
    if (c == '%') {
      const int high = Digit(p[1], 16);
      const int low = high < 0 ? -1 : Digit(p[2], 16);
      if (low < 0) return -1;
      c = static_cast<char>(high * 16 + low);
      p += 2;
    }
    if (n == capacity) return -1;
    to[n++] = c;
  }
  return static_cast<int64_t>(n);
}

bool Decimal(const char*& p, uint32_t most, uint32_t* value) {
  if (Digit(*p, 10) < 0) return false;
  for (*value = 0; Digit(*p, 10) >= 0; ++p) {
    *value = *value * 10 + static_cast<uint32_t>(Digit(*p, 10));
    if (*value > most) return false;
  }
  return true;
}

bool ParseV4(const char*& p, sockaddr_in* to) {
  uint32_t address = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t byte;
    if (i > 0 && *p++ != '.') return false;
    if (!Decimal(p, 255, &byte)) return false;
    address = address << 8 | byte;
  }
  to->sin_family = AF_INET;
  to->sin_addr.s_addr = __builtin_bswap32(address);
  return true;
}

// Groups of 16 bits with at most one "::", up to the closing bracket.
bool ParseV6(const char*& p, sockaddr_in6* to) {
  uint16_t groups[8] = {};
  int count = 0;
  int gap = -1;
  if (p[0] == ':' && p[1] == ':') {
    gap = 0;
    p += 2;
  }
  while (*p != ']') {
    if (count == 8 || Digit(*p, 16) < 0) return false;
    uint32_t group = 0;
    for (; Digit(*p, 16) >= 0; ++p) {
      group = group * 16 + static_cast<uint32_t>(Digit(*p, 16));
      if (group > 0xffff) return false;
    }
    groups[count++] = static_cast<uint16_t>(group);
    if (p[0] == ':' && p[1] == ':' && gap < 0) {
      gap = count;
      p += 2;
    } else if (p[0] == ':' && p[1] != ']') {
      ++p;
    } else if (*p != ']') {
      return false;
    }
  }
  ++p;
  if (gap < 0 ? count != 8 : count == 8) return false;
  const int after = gap < 0 ? 0 : count - gap;
  for (int i = 0; i < count; ++i) {
    const int at = gap >= 0 && i >= gap ? 8 - after + (i - gap) : i;
    to->sin6_addr.s6_addr[2 * at] = static_cast<uint8_t>(groups[i] >> 8);
    to->sin6_addr.s6_addr[2 * at + 1] = static_cast<uint8_t>(groups[i]);
  }
  to->sin6_family = AF_INET6;
  return true;
}

Status Export(const char*& p, const char* ends, NbdAddress* address) {
  const int64_t n =
      Decode(p, ends, address->export_name, NbdAddress::kMaxExport);
  if (n < 0) return Status::Error(EINVAL);
  address->export_bytes = static_cast<uint32_t>(n);
  return kOk;
}

Status ParseUnix(const char* p, NbdAddress* address) {
  sockaddr_un& to = address->socket.unix_socket;
  UZSWAP_RETURN_IF_ERROR(Export(p, "?", address));
  if (*p++ != '?' || !Skip(p, kSocket)) return Status::Error(EINVAL);
  const int64_t n = Decode(p, "&#", to.sun_path, sizeof(to.sun_path) - 1);
  if (n < 0) return Status::Error(ENAMETOOLONG);
  if (n == 0 || *p != '\0' || to.sun_path[0] != '/') {
    return Status::Error(EINVAL);
  }
  to.sun_family = AF_UNIX;
  address->socket_bytes = sizeof(to);
  return kOk;
}

Status ParseTcp(const char* p, NbdAddress* address) {
  const bool v6 = *p == '[';
  if (v6) ++p;
  if (!(v6 ? ParseV6(p, &address->socket.v6)
           : ParseV4(p, &address->socket.v4))) {
    return Status::Error(EINVAL);
  }
  uint32_t port = kDefaultPort;
  if (*p == ':' && (!Decimal(++p, 65535, &port) || port == 0)) {
    return Status::Error(EINVAL);
  }
  const uint16_t swapped = __builtin_bswap16(static_cast<uint16_t>(port));
  if (v6) {
    address->socket.v6.sin6_port = swapped;
    address->socket_bytes = sizeof(address->socket.v6);
  } else {
    address->socket.v4.sin_port = swapped;
    address->socket_bytes = sizeof(address->socket.v4);
  }
  if (*p == '/') ++p;
  UZSWAP_RETURN_IF_ERROR(Export(p, "?#", address));
  return *p == '\0' ? kOk : Status::Error(EINVAL);
}

}  // namespace

bool IsNbd(const char* text) {
  return Skip(text, "nbd:") || Skip(text, "nbd+") || Skip(text, "nbds");
}

Status ParseNbdAddress(const char* text, NbdAddress* address) {
  memset(address, 0, sizeof(*address));
  const char* p = text;
  if (Skip(p, kUnix)) return ParseUnix(p, address);
  if (Skip(p, kTcp)) return ParseTcp(p, address);
  return Status::Error(EINVAL);
}

}  // namespace uzswap
