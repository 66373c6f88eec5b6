// SPDX-License-Identifier: Apache-2.0
// The little of string.h that reading /proc needs (rule F1 allows no more of
// libc than memcpy and its kin).
#ifndef UZSWAP_PAGER_TEXT_H_
#define UZSWAP_PAGER_TEXT_H_

namespace uzswap {

// Both are terminated strings.
inline bool StartsWith(const char* text, const char* prefix) {
  for (; *prefix != '\0'; ++text, ++prefix) {
    if (*text != *prefix) return false;
  }
  return true;
}

}  // namespace uzswap

#endif  // UZSWAP_PAGER_TEXT_H_
