// SPDX-License-Identifier: Apache-2.0
// Size classes as text, in the layout of the kernel's debugfs file
// zsmalloc/NAME/classes.
#ifndef UZSWAP_CLI_CLASS_TABLE_H_
#define UZSWAP_CLI_CLASS_TABLE_H_

#include <string>
#include <vector>

#include "uzswap/uzswap.h"

namespace uzswap::cli {

// A line for each class, a blank one, and the totals.
std::string FormatClasses(const std::vector<uzswap_class>& classes);

}  // namespace uzswap::cli

#endif  // UZSWAP_CLI_CLASS_TABLE_H_
