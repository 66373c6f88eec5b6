// SPDX-License-Identifier: Apache-2.0
// Can uzswap be loaded into this program? Looked at before it is started,
// because the alternatives are a loader that ignores LD_PRELOAD in silence and
// a program that dies half way.
#ifndef UZSWAP_CLI_ELF_CHECK_H_
#define UZSWAP_CLI_ELF_CHECK_H_

#include <string>

#include "cli/fail.h"

namespace uzswap::cli {

// Where execvp would find `name`. Fails with 127 (no such file) or 126 (a
// directory, or not executable).
Check FindProgram(const std::string& name, std::string* path);

// The file at `path` and, if it is a script, its interpreters (through env).
// Refused, with exit code 126: static, not x86-64, 32-bit, not glibc, run with
// other rights than ours (setuid, setgid, file capabilities: the loader then
// ignores LD_PRELOAD), linked with a sanitizer that manages memory itself.
// *shell becomes true if only a shell can run the file (no "#!" line), as
// execvp does.
Check CheckProgram(const std::string& path, bool* shell);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_ELF_CHECK_H_
