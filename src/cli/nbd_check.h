// SPDX-License-Identifier: Apache-2.0
// Looks at an NBD export before a program is started with it. With libnbd,
// which may do here what a page fault may not; the engine has its own client.
#ifndef UZSWAP_CLI_NBD_CHECK_H_
#define UZSWAP_CLI_NBD_CHECK_H_

#include <cstdint>
#include <string>

#include "cli/fail.h"

namespace uzswap::cli {

// Begins like a URI of one of NBD's kinds.
bool IsNbdUri(const std::string& text);

// Connects, says what is wrong, and how large the export is. *uri becomes the
// form that the engine takes: the host's number in place of its name.
Check CheckNbd(std::string* uri, uint64_t* bytes);

// One run at a time on this machine: the number of a descriptor to be kept
// open for as long as the export is in use. Other machines are not seen.
Check ClaimNbd(const std::string& uri, int* descriptor);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_NBD_CHECK_H_
