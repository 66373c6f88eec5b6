// SPDX-License-Identifier: Apache-2.0
// Looking at text without libc, whose string functions use vector registers
// (rule F7 of docs/design.md): for the lines of /proc.
#ifndef UZSWAP_BASE_TEXT_H_
#define UZSWAP_BASE_TEXT_H_

namespace uzswap {

// Never reads past the end of either.
constexpr bool StartsWith(const char* text, const char* prefix) {
  for (; *prefix != '\0'; ++text, ++prefix) {
    if (*text != *prefix) return false;
  }
  return true;
}

}  // namespace uzswap

#endif  // UZSWAP_BASE_TEXT_H_
