// SPDX-License-Identifier: Apache-2.0
#include "base/check.h"

#include <string.h>

#include "base/os.h"

namespace uzswap {
namespace {

constinit DeathHook death_hook = nullptr;

}  // namespace

void Line::Put(char c) {
  if (size_ < kCapacity) {
    text_[size_++] = c;
  } else if (size_ == kCapacity) {
    for (int i = 0; i < 3; ++i) text_[size_++] = '.';
  }
}

Line& Line::operator<<(const char* s) {
  for (; *s != '\0'; ++s) Put(*s);
  return *this;
}

Line& Line::operator<<(uint64_t v) {
  char digits[20];
  int n = 0;
  do {
    digits[n++] = static_cast<char>('0' + v % 10);
    v /= 10;
  } while (v != 0);
  while (n > 0) Put(digits[--n]);
  return *this;
}

Line& Line::operator<<(int64_t v) {
  if (v < 0) {
    Put('-');
    return *this << (~static_cast<uint64_t>(v) + 1);
  }
  return *this << static_cast<uint64_t>(v);
}

Line& Line::Hex(uint64_t v) {
  Put('0');
  Put('x');
  int shift = 60;
  while (shift > 0 && (v >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) Put("0123456789abcdef"[(v >> shift) & 15]);
  return *this;
}

const char* Line::c_str() {
  text_[size_] = '\0';
  return text_;
}

void Log(Line& line) {
  // Larger than a full Line, so that the end of the line is never cut off.
  char whole[sizeof(Line) + 16];
  constexpr char kPrefix[] = "uzswap: ";
  size_t size = sizeof(kPrefix) - 1;
  memcpy(whole, kPrefix, size);
  memcpy(whole + size, line.c_str(), line.size());
  size += line.size();
  whole[size++] = '\n';
  os::WriteAll(2, whole, size);
}

void Log(const char* text) {
  Line line;
  line << text;
  Log(line);
}

DeathHook SetDeathHook(DeathHook hook) {
  DeathHook old = death_hook;
  death_hook = hook;
  return old;
}

void Die(Line& line) {
  if (death_hook != nullptr) death_hook(line.c_str());
  Log(line);
  os::Abort();
}

void DieAtCheck(const char* file, int line, const char* condition) {
  Line message;
  message << file << ":" << line << ": check failed: " << condition
          << ". This is a bug in uzswap; please report it.";
  Die(message);
}

}  // namespace uzswap
