// SPDX-License-Identifier: Apache-2.0
// The four memory functions compilers call, private to the preload object:
// libc's use vector registers, which a system call must leave alone, and the
// program may have replaced libc's. `rep movs` is fast on every processor of
// the last ten years (ERMS).
#include <cstddef>
#include <cstdint>

// Hidden, so that every reference inside the preload object stays inside it
// (an attribute would contradict the compiler's own declarations).
asm(".hidden memcpy\n.hidden memmove\n.hidden memset\n.hidden memcmp\n"
    ".hidden strlen");

extern "C" {

void* memcpy(void* to, const void* from, size_t bytes) {
  void* result = to;
  if (bytes >= 8 && bytes <= 32) {
    // Overlapping words: short copies are most copies.
    auto* d = static_cast<char*>(to);
    auto* s = static_cast<const char*>(from);
    uint64_t word;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
      __builtin_memcpy(&word, s + i, 8);
      __builtin_memcpy(d + i, &word, 8);
    }
    __builtin_memcpy(&word, s + bytes - 8, 8);
    __builtin_memcpy(d + bytes - 8, &word, 8);
    return result;
  }
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
  return result;
}

void* memmove(void* to, const void* from, size_t bytes) {
  const auto d = reinterpret_cast<uintptr_t>(to);
  const auto s = reinterpret_cast<uintptr_t>(from);
  if (d - s >= bytes) {
    void* result = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return result;
  }
  auto* last_to = static_cast<char*>(to) + bytes - 1;
  auto* last_from = static_cast<const char*>(from) + bytes - 1;
  asm volatile("std; rep movsb; cld"
               : "+D"(last_to), "+S"(last_from), "+c"(bytes)
               :
               : "memory");
  return to;
}

void* memset(void* to, int value, size_t bytes) {
  void* result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return result;
}

int memcmp(const void* a, const void* b, size_t bytes) {
  auto* x = static_cast<const unsigned char*>(a);
  auto* y = static_cast<const unsigned char*>(b);
  for (size_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  }
  return 0;
}

size_t strlen(const char* s) {
  size_t n = 0;
  while (s[n] != '\0') ++n;
  return n;
}

}  // extern "C"
