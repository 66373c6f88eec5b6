// SPDX-License-Identifier: Apache-2.0
// How every check of the command ends: nothing, or one sentence that says what
// failed, on which value and what to do, and the exit code that goes with it
// (the ones of timeout(1), env(1) and nice(1)).
#ifndef UZSWAP_CLI_FAIL_H_
#define UZSWAP_CLI_FAIL_H_

#include <optional>
#include <string>

namespace uzswap::cli {

inline constexpr int kExitUzswap = 125;     // uzswap itself failed
inline constexpr int kExitCannotRun = 126;  // found, but it cannot be run
inline constexpr int kExitNotFound = 127;

struct Failure {
  std::string sentence;
  int exit_code = kExitUzswap;
};
// Nothing: all is well.
using Check = std::optional<Failure>;

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_FAIL_H_
