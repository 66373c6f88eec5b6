// SPDX-License-Identifier: Apache-2.0
// What must be true of this system before a program is started: a failure then
// costs nothing and can be explained, a failure inside the program can not.
#ifndef UZSWAP_CLI_PREFLIGHT_H_
#define UZSWAP_CLI_PREFLIGHT_H_

#include "cli/fail.h"
#include "cli/layout.h"
#include "cli/options.h"

namespace uzswap::cli {

// userfaultfd and Syscall User Dispatch exist and are allowed; the address
// space is not limited. Names the cause: old kernel, seccomp filter, ulimit.
Check CheckKernel();

Check CheckCompressor(const Layout& layout, const std::string& option,
                      const std::string& name);
// As CheckCompressor, of NAME[:LEVEL] or none.
Check CheckRecompressor(const Layout& layout, const std::string& choice);

// options->backing exists, can be written and has room. Chooses
// options->backing_size if the user did not: 16 times the memory, at most what
// is free.
Check CheckBacking(Options* options);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_PREFLIGHT_H_
