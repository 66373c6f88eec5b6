// SPDX-License-Identifier: Apache-2.0
// The compressors that are linked in: all of compressors/ but the GPL one.
#ifndef UZSWAP_COMPRESS_BUILTIN_H_
#define UZSWAP_COMPRESS_BUILTIN_H_

namespace uzswap::registry {

// Makes them known; harmless when repeated. REQUIRES: before Seal, and before
// anything else takes one of their names.
void RegisterBuiltins();

}  // namespace uzswap::registry

#endif  // UZSWAP_COMPRESS_BUILTIN_H_
