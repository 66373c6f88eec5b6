// SPDX-License-Identifier: Apache-2.0
#ifndef UZSWAP_CLI_VERSION_H_
#define UZSWAP_CLI_VERSION_H_

namespace uzswap::cli {

#ifndef UZSWAP_VERSION
#define UZSWAP_VERSION "unknown"
#endif
inline constexpr char kVersion[] = UZSWAP_VERSION;

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_VERSION_H_
