// SPDX-License-Identifier: Apache-2.0
#include "preload/argument_table.h"

#include <asm/unistd_64.h>

#include <array>
#include <cstddef>

namespace uzswap::preload {
namespace {

constexpr size_t kRows = 480;

// The words of argument_table.def.
constexpr Argument None{};
constexpr Argument String{Kind::kString};
constexpr Argument Sockaddr{Kind::kFixed, 0, 128};  // the kernel copies no more
constexpr Argument Sigset8{Kind::kFixed, 0, 8};     // it takes no other size
constexpr Argument Siginfo{Kind::kFixed, 0, 128};
constexpr Argument Time{Kind::kFixed, 0, 16};  // timespec, timeval

constexpr Argument TwoWaiters{Kind::kWaiters, 0, 2};

constexpr uint8_t Int(uint8_t by) { return by | kIntArgument; }
constexpr Argument FdSet{Kind::kBits, Int(0), 0};

constexpr Argument Fixed(uint16_t bytes) { return {Kind::kFixed, 0, bytes}; }
constexpr Argument Bytes(uint8_t by, uint16_t more = 0) {
  return {Kind::kBytes, by, more};
}
constexpr Argument Transfer(uint8_t by) { return {Kind::kTransfer, by, 0}; }
constexpr Argument AtLeast(uint8_t by, uint16_t bytes) {
  return {Kind::kAtLeast, by, bytes};
}
constexpr Argument Items(uint8_t by, uint16_t bytes) {
  return {Kind::kItems, by, bytes};
}
constexpr Argument Scan(uint16_t bytes) { return {Kind::kScan, 0, bytes}; }
constexpr Argument By(Kind kind, uint8_t by) { return {kind, by, 0}; }
constexpr Argument Is(Kind kind) { return {kind, 0, 0}; }
constexpr Argument Sends(Kind kind, uint8_t by = 0) { return {kind, by, 0}; }
constexpr Argument Receives(Kind kind, uint8_t by = 0) { return {kind, by, 1}; }

constexpr Row Listed(Argument a = {}, Argument b = {}, Argument c = {},
                     Argument d = {}, Argument e = {}, Argument f = {}) {
  return {{a, b, c, d, e, f}, true};
}

constexpr std::array<Row, kRows> MakeTable() {
  std::array<Row, kRows> table{};
#define CALL(number, name, ...) table[number] = Listed(__VA_ARGS__);
#include "preload/argument_table.def"
#undef CALL
#undef CALL_NEW
  return table;
}

constexpr std::array<Row, kRows> kTable = MakeTable();

// A row at the wrong number would pin the wrong memory without a trace.
#define CALL(number, name, ...) static_assert((number) == __NR_##name);
#define CALL_NEW(number, name, ...)
#include "preload/argument_table.def"
#undef CALL
#undef CALL_NEW

}  // namespace

const Row* FindRow(int64_t number) {
  if (static_cast<uint64_t>(number) >= kRows) return nullptr;
  const Row& row = kTable[static_cast<size_t>(number)];
  return row.listed ? &row : nullptr;
}

}  // namespace uzswap::preload
