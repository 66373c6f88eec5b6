// SPDX-License-Identifier: Apache-2.0
// Status is an errno in four bytes: no message, no allocation, and the
// compiler refuses to let one go unread. Result<T> is a Status or a T.
#ifndef UZSWAP_BASE_STATUS_H_
#define UZSWAP_BASE_STATUS_H_

#include <cerrno>
#include <cstdint>

#include "base/check.h"

namespace uzswap {

class [[nodiscard]] Status {
 public:
  constexpr Status() = default;
  // REQUIRES: error >= 0 (an errno value, positive; 0 is success).
  static constexpr Status Error(int error) { return Status(error); }
  // From a raw system call: -errno or a non-negative result.
  static constexpr Status FromReturn(int64_t r) {
    return Status(r < 0 ? static_cast<int>(-r) : 0);
  }
  constexpr bool ok() const { return error_ == 0; }
  constexpr int error() const { return error_; }
  // For the rare place where failure truly changes nothing; say why there.
  constexpr void Ignore() const {}
  friend constexpr bool operator==(Status, Status) = default;

 private:
  explicit constexpr Status(int error) : error_(error) {}
  int error_ = 0;
};

inline constexpr Status kOk{};

// T must be trivially copyable and default-constructible: pointers, handles.
template <typename T>
class [[nodiscard]] Result {
 public:
  constexpr Result(T value) : value_(value) {}         // NOLINT: implicit
  constexpr Result(Status status) : status_(status) {  // NOLINT: implicit
    DCHECK(!status.ok());
  }
  constexpr bool ok() const { return status_.ok(); }
  constexpr Status status() const { return status_; }
  constexpr int error() const { return status_.error(); }
  constexpr T value() const {
    CHECK(status_.ok());
    return value_;
  }

 private:
  T value_{};
  Status status_;
};

}  // namespace uzswap

#define UZSWAP_RETURN_IF_ERROR(expr)              \
  do {                                            \
    if (::uzswap::Status s_ = (expr); !s_.ok()) { \
      return s_;                                  \
    }                                             \
  } while (0)

#endif  // UZSWAP_BASE_STATUS_H_
